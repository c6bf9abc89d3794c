"""Run a function of equal tiles over whole images of any size."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.tiles import Tiling, extract_tiles, padded_shape, tile_window, tiling
from jaxgen.types import Array, Key


def by_tiles(
    function: Callable[..., Array],
    key: Key,
    images: Sequence[np.ndarray],
    size: int | Sequence[int],
    *,
    overlap: int | Sequence[int],
    chunk: int = 8,
    first: int = 0,
    window: Callable[[Sequence[int]], np.ndarray] = tile_window,
    noise: int = 0,
) -> list[np.ndarray]:
    """Apply a function of tiles to whole images, tiles of several images together, and blend the overlaps.

    Every call sees `chunk` tiles of one size, so there is one program to compile however many images there are and
    whatever their sizes. Tile k of image i is drawn with ``fold_in(fold_in(key, first + i), k)``: a result does not
    depend on which other images are there. Tiles are cut and blended as they come: only whole results are held.

    Args:
        function: ``(keys [chunk], tiles [chunk, *size, c]) -> [..., chunk, *size, d]``: the axis of tiles is the one
            before the spatial axes; leading axes (members of an ensemble) are kept. With `noise` a third argument is
            ``[chunk, *size, noise]``.
        key: one key.
        images: each ``[*spatial, c]`` float.
        size: of a tile, one number or one an axis.
        overlap: pixels that neighbouring tiles share at least, one number or one an axis; less where a tile is smaller.
        chunk: tiles a call.
        first: the number of the first image, where images are handed over in several calls to bound memory.
        window: ``window(size)``, the weights of a tile's pixels where several overlap.
        noise: channels of white Gaussian noise of which each image has one field, cut as the image is: tiles that
            overlap then see the same noise where they do.

    Returns:
        For each image ``[..., *spatial, d]`` float32.

    Example:
        >>> image = np.arange(12.0).reshape(3, 4, 1)
        >>> (same,) = by_tiles(lambda keys, tiles: tiles, jax.random.key(0), [image], (3, 2), overlap=1, chunk=2)
        >>> bool(np.allclose(same, image))
        True
    """
    plans = [_plan(image, size, overlap) for image in images]
    owners = [(i, k) for i, plan in enumerate(plans) for k in range(len(plan.starts))]
    keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(key, first + i), k) for i, k in owners])
    fields = [_field(jax.random.fold_in(key, first + i), plan, noise) for i, plan in enumerate(plans)] if noise else []
    weights, sums = window(plans[0].tile), [_Sum(plan) for plan in plans]
    for start in range(0, len(owners), chunk):
        # The last chunk is filled up with repeats of its first tile.
        rows = np.arange(start, start + chunk)
        rows[rows >= len(owners)] = start
        arrays = [_cut(plans, images, owners, rows)] + ([_cut(plans, fields, owners, rows)] if noise else [])
        result = np.asarray(function(keys[rows], *map(jnp.asarray, arrays)), np.float32)
        result = np.moveaxis(result, -(len(plans[0].tile) + 2), 0)
        for row, tile in zip(rows[: len(owners) - start], result, strict=False):
            number, k = owners[row]
            sums[number].add(k, tile, weights)
    return [total.mean(weights) for total in sums]


def _plan(image: np.ndarray, size: int | Sequence[int], overlap: int | Sequence[int]) -> Tiling:
    tile = np.broadcast_to(size, image.ndim - 1)
    return tiling(image.shape[:-1], tile.tolist(), np.minimum(overlap, tile - 1).tolist())


def _field(key: Key, plan: Tiling, channels: int) -> np.ndarray:
    return np.asarray(jax.random.normal(key, (*padded_shape(plan), channels)))


def _cut(plans: Sequence[Tiling], arrays: Sequence[np.ndarray], owners: Any, rows: np.ndarray) -> np.ndarray:
    """The tiles of these rows."""
    found = []
    for number, k in (owners[row] for row in rows):
        plan, array = plans[number], arrays[number]
        plan = plan._replace(shape=array.shape[: len(plan.shape)], starts=plan.starts[k : k + 1])
        found.append(extract_tiles(plan, array)[0])
    return np.stack(found)


class _Sum:
    """The weighted sum of the tiles of one image, so far."""

    def __init__(self, plan: Tiling) -> None:
        self._plan, self._total = plan, np.zeros(())

    def _window(self, k: int) -> tuple[slice, ...]:
        start, tile = self._plan.starts[k], self._plan.tile
        return tuple(slice(int(s), int(s) + n) for s, n in zip(start, tile, strict=True))

    def add(self, k: int, tile: np.ndarray, weights: np.ndarray) -> None:
        """Add tile k, ``[..., *tile, d]``; a single one is kept as it is."""
        if len(self._plan.starts) == 1:
            self._total = tile
            return
        rank = len(self._plan.tile)
        if not self._total.ndim:
            self._total = np.zeros((*tile.shape[: -rank - 1], *padded_shape(self._plan), tile.shape[-1]))
        inside: Any = (..., *self._window(k), slice(None))
        self._total[inside] += tile.astype(np.float64) * weights[..., None]

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """The weighted mean over the image, ``[..., *spatial, d]`` float32."""
        inside = tuple(slice(n) for n in self._plan.shape)
        whole: Any = (..., *inside, slice(None))
        total = self._total[whole]
        if len(self._plan.starts) == 1:
            return total
        weight = np.zeros(padded_shape(self._plan))
        for k in range(len(self._plan.starts)):
            weight[self._window(k)] += weights
        return (total / weight[inside][..., None]).astype(np.float32)
