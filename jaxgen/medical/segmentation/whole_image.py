"""Run a function of equal tiles over whole images of any size."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.tiles import blend_tiles, extract_tiles, tiling
from jaxgen.types import Array, Key


def by_tiles(
    function: Callable[[Key, Array], Array],
    key: Key,
    images: Sequence[np.ndarray],
    size: int,
    *,
    overlap: int,
    chunk: int = 8,
    first: int = 0,
) -> list[np.ndarray]:
    """Apply a function of tiles to whole images, tiles of several images together, and blend the overlaps.

    Every call sees `chunk` tiles of one size, so there is one program to compile however many images there are and
    whatever their sizes. Tile k of image i is drawn with ``fold_in(fold_in(key, first + i), k)``: a result does not
    depend on which other images are there.

    Args:
        function: ``(keys [chunk], tiles [chunk, *size, c]) -> [..., chunk, *size, d]``: the axis of tiles is the one
            before the spatial axes; leading axes (members of an ensemble) are kept.
        key: one key.
        images: each ``[*spatial, c]`` float.
        size: of a tile along every axis.
        overlap: pixels that neighbouring tiles share at least.
        chunk: tiles a call.
        first: the number of the first image, where images are handed over in several calls to bound memory.

    Returns:
        For each image ``[..., *spatial, d]`` float32.
    """
    plans = [tiling(image.shape[:-1], size, min(overlap, size - 1)) for image in images]
    owners = [(i, k) for i, plan in enumerate(plans) for k in range(len(plan.starts))]
    tiles = np.concatenate([extract_tiles(plan, image) for plan, image in zip(plans, images, strict=True)])
    rank = images[0].ndim - 1
    keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(key, first + i), k) for i, k in owners])
    out = []
    for start in range(0, len(tiles), chunk):
        # The last chunk is filled up with repeats of its first tile.
        rows = np.arange(start, start + chunk)
        rows[rows >= len(tiles)] = start
        result = np.asarray(function(keys[rows], jnp.asarray(tiles[rows])), np.float32)
        out.append(np.moveaxis(result, -(rank + 2), 0))
    results = np.concatenate(out)
    whole, first = [], 0
    for plan in plans:
        mine = results[first : first + len(plan.starts)]
        first += len(plan.starts)
        lead = mine.shape[1 : mine.ndim - rank - 1]
        flat = np.moveaxis(mine.reshape(len(mine), -1, *mine.shape[-rank - 1 :]), 1, -1)
        blended = flat[0][tuple(slice(0, n) for n in plan.shape)] if len(flat) == 1 else blend_tiles(plan, flat)
        whole.append(np.moveaxis(blended, -1, 0).reshape(*lead, *plan.shape, mine.shape[-1]))
    return whole
