"""Random turns, zooms and shifts on the device, interpolated: variety for sets of a few hundred images."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxgen import draws
from jaxgen.imaging.augment import named
from jaxgen.types import Array, Batch, Key


def random_affine(
    key: Key,
    batch: Batch,
    *,
    rotation: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    rank: int = 2,
    names: Sequence[str] | None = None,
) -> dict[str, Array]:
    """Turn, zoom and shift each example about its middle, by amounts drawn uniformly.

    The value at p, in pixels from the middle, is that of the example at ``R p / s - d``: R turns by an angle from
    ``[-rotation, rotation]`` in every plane of two axes, ``log s`` is from ``[-log(1 + zoom), log(1 + zoom)]``, each
    entry of d from ``[-shift, shift]`` of its axis. Between pixels floating-point entries are interpolated linearly and
    all others, masks and labels, take the nearest pixel. What lies outside is as the nearest edge.

    Args:
        key: a key, or keys ``[b]``.
        batch: arrays ``[b, *spatial, ...]``.
        rotation: the largest angle, in radians.
        zoom: the largest enlargement less 1; as likely as shrinking by as much.
        shift: the largest shift, as a share of an axis.
        rank: spatial axes, 2 or 3; pixels are taken for square, voxels for cubes.
        names: the entries to move, all if None; all alike.

    Returns:
        The batch with the named entries moved.

    Raises:
        ValueError: if an amount is negative, `rank` is neither 2 nor 3, or the named entries do not agree.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch = {"image": jnp.ones((2, 8, 8, 1)), "mask": jnp.zeros((2, 8, 8), bool)}
        >>> moved = random_affine(jax.random.key(0), batch, rotation=0.2, zoom=0.1)
        >>> moved["image"].shape, moved["mask"].dtype.name
        ((2, 8, 8, 1), 'bool')
    """
    if min(rotation, zoom, shift) < 0 or rank not in (2, 3):
        raise ValueError(f"needs amounts of 0 and more and rank 2 or 3, got {rotation=}, {zoom=}, {shift=}, {rank=}")
    names = named(batch, names, rank)
    b, *spatial = batch[names[0]].shape[: rank + 1]
    planes = list(itertools.combinations(range(rank), 2))
    amounts = [rotation] * len(planes) + [float(np.log1p(zoom))] + [shift * n for n in spatial]
    drawn = (2 * draws.uniform(key, (b, len(amounts))) - 1) * jnp.asarray(amounts)

    middle = (np.asarray(spatial, np.float32) - 1) / 2
    grid = np.stack(np.meshgrid(*(np.arange(n) - m for n, m in zip(spatial, middle, strict=True)), indexing="ij"))

    def move(amounts: Array, *entries: Array) -> list[Array]:
        place = jnp.asarray(grid, jnp.float32).reshape(rank, -1)
        for (i, j), angle in zip(planes, amounts, strict=False):
            cos, sin = jnp.cos(angle), jnp.sin(angle)
            turned = cos * place[i] - sin * place[j], sin * place[i] + cos * place[j]
            place = place.at[i].set(turned[0]).at[j].set(turned[1])
        place = place * jnp.exp(-amounts[len(planes)]) - amounts[len(planes) + 1 :, None] + middle[:, None]
        return [_at(x, place, spatial) for x in entries]

    moved = jax.vmap(move)(drawn, *(batch[name] for name in names))
    return {**batch, **dict(zip(names, moved, strict=True))}


def _at(x: Array, place: Array, spatial: Sequence[int]) -> Array:
    """The values of one example at places ``[rank, n]``."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        last = jnp.asarray(spatial)[:, None] - 1
        return x[tuple(jnp.clip(jnp.round(place).astype(jnp.int32), 0, last))].reshape(x.shape)
    layers = x.reshape(*spatial, -1).astype(jnp.promote_types(x.dtype, jnp.float32))
    found = jax.vmap(lambda x: map_coordinates(x, list(place), 1, mode="nearest"), -1, -1)(layers)
    return found.reshape(x.shape).astype(x.dtype)
