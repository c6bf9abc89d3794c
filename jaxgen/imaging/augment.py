"""Random flips, quarter turns and crops on the device, the same for every array of an example.

Every function maps ``(key, batch) -> batch`` for a batch of arrays ``[b, *spatial, ...]``: spatial axis 0 is array axis
1. The draw of an example is shared by the named entries (image, mask, signed distance), so they stay aligned; nothing
is interpolated, so masks stay masks and distance maps stay distances. With a key array ``[b]`` the draw of an example
does not depend on the rest of its batch (`jaxgen.draws`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.types import Array, Batch, Key


def named(batch: Batch, names: Sequence[str] | None, rank: int) -> tuple[str, ...]:
    """The entries to change, all of them if `names` is None; an error unless they agree in batch and spatial axes."""
    names = tuple(batch) if names is None else tuple(names)
    missing = [name for name in names if name not in batch]
    if missing or not names:
        raise ValueError(f"no entry {missing} in a batch of {sorted(batch)}")
    spatial = batch[names[0]].shape[: rank + 1]
    for name in names:
        if len(batch[name].shape) < rank + 1 or batch[name].shape[: rank + 1] != spatial:
            raise ValueError(
                f"{name} has shape {batch[name].shape}; its batch and {rank} spatial axes must be those of "
                f"{names[0]}, {spatial}"
            )
    return names


def _choose(condition: Array, yes: Array, no: Array) -> Array:
    return jnp.where(condition.reshape(condition.shape + (1,) * (yes.ndim - 1)), yes, no)


def random_flip(
    key: Key, batch: Batch, *, axes: Sequence[int] = (0, 1), names: Sequence[str] | None = None
) -> dict[str, Array]:
    """Mirror each example along each of `axes` with probability one half.

    Args:
        key: a key, or keys ``[b]``.
        batch: arrays ``[b, *spatial, ...]``.
        axes: spatial axes that may be mirrored, counted from 0.
        names: the entries to mirror, all if None; the others pass through untouched.

    Returns:
        The batch with the named entries mirrored.

    Raises:
        ValueError: if the named entries differ in their batch or spatial axes, or one is missing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch = {"image": jnp.arange(3.0).reshape(1, 3, 1)}
        >>> random_flip(jax.random.key(1), batch, axes=(0,))["image"].shape
        (1, 3, 1)
    """
    names = named(batch, names, max(axes) + 1)
    size = batch[names[0]].shape[0]
    flips = draws.uniform(key, (size, len(axes))) < 0.5
    out = dict(batch)
    for name in names:
        for i, axis in enumerate(axes):
            out[name] = _choose(flips[:, i], jnp.flip(out[name], axis + 1), out[name])
    return out


def random_quarter_turn(
    key: Key, batch: Batch, *, axes: tuple[int, int] = (0, 1), names: Sequence[str] | None = None
) -> dict[str, Array]:
    """Turn each example by 0, 90, 180 or 270 degrees in the plane of two spatial axes of equal length.

    Args:
        key: a key, or keys ``[b]``.
        batch: arrays ``[b, *spatial, ...]``.
        axes: the two spatial axes of the plane.
        names: the entries to turn, all if None.

    Returns:
        The batch with the named entries turned.

    Raises:
        ValueError: if the plane is not square, or the named entries do not agree.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> random_quarter_turn(jax.random.key(0), {"mask": jnp.eye(4)[None]})["mask"].sum().item()
        4.0
    """
    names = named(batch, names, max(axes) + 1)
    first = batch[names[0]].shape
    if first[axes[0] + 1] != first[axes[1] + 1]:
        raise ValueError(f"quarter turns need axes {axes} of equal length, got shape {first}")
    turns = jnp.floor(4 * draws.uniform(key, first[:1])).astype(jnp.int32)
    a, b = axes[0] + 1, axes[1] + 1
    out = dict(batch)
    for name in names:
        x = out[name]
        x = _choose(turns % 2 == 1, jnp.rot90(x, 1, (a, b)), x)
        out[name] = _choose(turns >= 2, jnp.flip(x, (a, b)), x)
    return out


def random_crop(key: Key, batch: Batch, size: Sequence[int], *, names: Sequence[str] | None = None) -> dict[str, Array]:
    """Cut a window of `size` out of each example, its corner uniform over all places.

    Args:
        key: a key, or keys ``[b]``.
        batch: arrays ``[b, *spatial, ...]``.
        size: the window, one number a spatial axis.
        names: the entries to crop, all if None.

    Returns:
        The batch with the named entries cropped to ``[b, *size, ...]``.

    Raises:
        ValueError: if the window is larger than the image, or the named entries do not agree.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> random_crop(jax.random.key(0), {"image": jnp.zeros((2, 8, 8, 3))}, (4, 6))["image"].shape
        (2, 4, 6, 3)
    """
    names = named(batch, names, len(size))
    b, *spatial = batch[names[0]].shape[: len(size) + 1]
    room = jnp.asarray([n - s + 1 for n, s in zip(spatial, size, strict=True)])
    if any(s < 1 or s > n for n, s in zip(spatial, size, strict=True)):
        raise ValueError(f"cannot cut a window of {tuple(size)} out of {tuple(spatial)}")
    uniform = draws.uniform(key, (b, len(size)))
    corners = jnp.minimum((uniform * room).astype(jnp.int32), room - 1)  # the product can round up to `room`

    def cut(x: Array, corner: Array) -> Array:
        rest = x.ndim - len(size)
        return lax.dynamic_slice(x, (*corner, *(0,) * rest), (*size, *x.shape[len(size) :]))

    return {name: jax.vmap(cut)(x, corners) if name in names else x for name, x in batch.items()}
