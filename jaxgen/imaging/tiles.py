"""Cut an image or volume into overlapping tiles and blend the results back. NumPy in, NumPy out; JAX in, JAX out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Tiling(NamedTuple):
    """Where the tiles of one image lie.

    Attributes:
        shape: the image's spatial shape.
        tile: the tiles' spatial shape.
        starts: int array ``[n, rank]``, the corner of each tile in the image, or in the image padded at its far end
            up to one tile where it is smaller than that.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    starts: np.ndarray


def tiling(shape: Sequence[int], tile: int | Sequence[int], overlap: int | Sequence[int] = 0) -> Tiling:
    """Place the fewest tiles that cover an image with at least the given overlap, evenly spaced.

    Args:
        shape: the image's spatial shape.
        tile: the tiles' size in pixels, one number or one an axis.
        overlap: pixels that neighbours share at least, one number or one an axis, less than `tile`.

    Returns:
        The `Tiling`; along an axis shorter than the tile there is one tile, which reaches past the image.

    Raises:
        ValueError: if a size is not positive, or the overlap is negative or not less than the tile.

    Example:
        >>> tiling((10, 3), 4, 1).starts.tolist()
        [[0, 0], [3, 0], [6, 0]]
    """
    shape = tuple(int(n) for n in shape)
    sizes = np.broadcast_to(tile, len(shape)).tolist()
    overlaps = np.broadcast_to(overlap, len(shape)).tolist()
    axes = []
    for n, size, shared in zip(shape, sizes, overlaps, strict=True):
        if n < 1 or size < 1 or not 0 <= shared < size:
            raise ValueError(f"cannot cover {n} pixels with tiles of {size} overlapping by {shared}")
        count = 1 if n <= size else 1 + -(-(n - size) // (size - shared))
        axes.append(np.floor(np.linspace(0, max(n - size, 0), count)).astype(int))
    grid = np.meshgrid(*axes, indexing="ij")
    return Tiling(shape, tuple(sizes), np.stack([g.ravel() for g in grid], axis=-1))


def tile_window(tile: Sequence[int], floor: float = 1e-3) -> np.ndarray:
    """Weights of a tile's pixels in the blend: a product of raised cosines, largest in the middle.

    ``w(i) = floor + (1 - floor) sin^2(pi (i + 1/2) / n)`` along each axis, so that no pixel has weight 0.

    Args:
        tile: the tile's spatial shape.
        floor: the least weight along an axis, in (0, 1].

    Returns:
        float64 ``[*tile]``.

    Raises:
        ValueError: if `floor` is not in (0, 1].

    Example:
        >>> tile_window((3,)).round(2).tolist(), bool((tile_window((8, 8)) > 0).all())
        ([0.25, 1.0, 0.25], True)
    """
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be in (0, 1], got {floor}")
    window = np.ones(())
    for n in tile:
        window = window[..., None] * (floor + (1 - floor) * np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2)
    return window


def gaussian_window(tile: Sequence[int], width: float = 0.125) -> np.ndarray:
    """Weights of a tile's pixels in the blend: a Gaussian about its middle, largest there.

    ``w(p) = exp(-sum_i (p_i - (n_i - 1) / 2)^2 / (2 (width n_i)^2))``, and at least 0.001.

    Args:
        tile: the tile's spatial shape.
        width: standard deviation along each axis, as a share of the tile.

    Returns:
        float64 ``[*tile]``, at most 1.

    Raises:
        ValueError: if `width` is not positive.

    Reference:
        Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation";
        the window of MONAI's ``sliding_window_inference(mode="gaussian")``.

    Example:
        >>> gaussian_window((3,)).round(3).tolist()
        [0.029, 1.0, 0.029]
    """
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    window = np.ones(())
    for n in tile:
        window = window[..., None] * np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (width * n)) ** 2)
    return np.maximum(window, 1e-3)


def _slices(plan: Tiling, start: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(s), int(s) + n) for s, n in zip(start, plan.tile, strict=True))


def padded_shape(plan: Tiling) -> tuple[int, ...]:
    """The spatial shape of an image that is at least as large as a tile along every axis.

    Example:
        >>> padded_shape(tiling((5, 2), 3))
        (5, 3)
    """
    return tuple(max(n, t) for n, t in zip(plan.shape, plan.tile, strict=True))


def extract_tiles(plan: Tiling, image: Any) -> Any:
    """Cut the tiles of a plan out of an image.

    Args:
        plan: from `tiling`.
        image: NumPy or JAX array ``[*plan.shape, ...]``; padded with its edge values where smaller than a tile.

    Returns:
        ``[n, *tile, ...]``, of the kind and number type of `image`.

    Raises:
        ValueError: if the image does not have the plan's shape.

    Example:
        >>> import numpy as np
        >>> extract_tiles(tiling((5,), 3, 1), np.arange(5)).tolist()
        [[0, 1, 2], [2, 3, 4]]
    """
    rank = len(plan.shape)
    if image.shape[:rank] != plan.shape:
        raise ValueError(f"a plan for {plan.shape} cannot cut an image of shape {image.shape}")
    xp = jnp if isinstance(image, jax.Array) else np
    far = [(0, p - n) for p, n in zip(padded_shape(plan), plan.shape, strict=True)]
    if any(after for _, after in far):
        image = xp.pad(image, far + [(0, 0)] * (image.ndim - rank), mode="edge")
    return xp.stack([image[_slices(plan, start)] for start in plan.starts])


def blend_tiles(plan: Tiling, tiles: Any, window: np.ndarray | None = None) -> Any:
    """Put tiles back together as the weighted mean of all tiles over each pixel.

    ``out(p) = sum_k w(p - s_k) tile_k(p - s_k) / sum_k w(p - s_k)``; tiles cut from one image give that image back.

    Args:
        plan: from `tiling`.
        tiles: NumPy or JAX array ``[n, *tile, ...]``.
        window: weights ``[*tile]``, above 0; `tile_window` if None.

    Returns:
        Floating-point ``[*plan.shape, ...]``, of the kind of `tiles`; NumPy sums in float64 and returns float32.

    Raises:
        ValueError: if the tiles do not fit the plan.

    Example:
        >>> import numpy as np
        >>> plan = tiling((5,), 3, 1)
        >>> blend_tiles(plan, extract_tiles(plan, np.arange(5.0))).tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    rank = len(plan.shape)
    if tiles.shape[: rank + 1] != (len(plan.starts), *plan.tile):
        raise ValueError(f"tiles of shape {tiles.shape} do not fit a plan of {len(plan.starts)} tiles of {plan.tile}")
    on_device = isinstance(tiles, jax.Array)
    xp, dtype = (jnp, jnp.float32) if on_device else (np, np.float64)
    rest = tiles.shape[rank + 1 :]
    weights = np.asarray(tile_window(plan.tile) if window is None else window, np.float64)
    weight = np.zeros(padded_shape(plan))
    for start in plan.starts:
        weight[_slices(plan, start)] += weights
    total = xp.zeros(padded_shape(plan) + rest, dtype)
    weighted = tiles.astype(dtype) * xp.asarray(weights.reshape(weights.shape + (1,) * len(rest)), dtype)
    for start, tile in zip(plan.starts, weighted, strict=True):
        if on_device:
            total = total.at[_slices(plan, start)].add(tile)
        else:
            total[_slices(plan, start)] += tile
    inside = tuple(slice(n) for n in plan.shape)
    mean = total[inside] / xp.asarray(weight[inside].reshape(plan.shape + (1,) * len(rest)), dtype)
    return mean if on_device else mean.astype(np.float32)
