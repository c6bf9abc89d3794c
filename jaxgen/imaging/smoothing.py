"""Filters that smooth images, on the host: what a denoising network must beat."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

WIDTHS: dict[str, tuple[float, ...]] = {
    "gaussian filter": (0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0),
    "median filter": (3, 5, 7),
}
"""Widths to choose from, pixels: standard deviations of the Gaussian, sides of the median's window."""


def gaussian_filter(x: np.ndarray, std: float) -> np.ndarray:
    """Images ``[n, h, w, c]`` smoothed by a Gaussian with this standard deviation in pixels.

    Example:
        >>> gaussian_filter(np.ones((1, 3, 3, 1)), 1.0).round(3).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    return ndimage.gaussian_filter(x, (0, std, std, 0))


def median_filter(x: np.ndarray, width: float) -> np.ndarray:
    """The median of images ``[n, h, w, c]`` over squares with this side in pixels.

    Example:
        >>> float(median_filter(np.eye(3)[None, ..., None], 3)[0, 1, 1, 0])
        0.0
    """
    return ndimage.median_filter(x, (1, int(width), int(width), 1))


FILTERS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "gaussian filter": gaussian_filter,
    "median filter": median_filter,
}


def best_width(name: str, noisy: np.ndarray, clean: np.ndarray) -> float:
    """The width of a filter that has the least squared error.

    Args:
        name: one of `FILTERS`.
        noisy: images ``[n, h, w, c]``, of validation.
        clean: the same without noise.

    Example:
        >>> best_width("median filter", np.ones((1, 9, 9, 1)), np.ones((1, 9, 9, 1)))
        3
    """
    errors = {width: float(np.square(FILTERS[name](noisy, width) - clean).mean()) for width in WIDTHS[name]}
    return min(errors, key=lambda width: errors[width] if np.isfinite(errors[width]) else np.inf)


def coarse(x: np.ndarray) -> np.ndarray:
    """Averages over blocks, 16 of them along a side.

    Args:
        x: images ``[n, h, w, c]``; the sides must be multiples of the blocks.

    Returns:
        Images of the same shape, constant in each block.

    Example:
        >>> coarse(np.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
        [1.5, 1.5, 1.5, 1.5]
    """
    n, h, w, c = x.shape
    factor = max(2, h // 16)
    small = x.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))
    return small.repeat(factor, 1).repeat(factor, 2)
