"""Volumes from the outline of their middle slice alone: inflated, or as thick everywhere."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage


def inflated(mask: np.ndarray, depth: int, thickness: float) -> np.ndarray:
    """A volume whose half thickness is ``k sqrt(d (2 R - d))`` at distance d from the outline: of a disc an ellipsoid.

    R is the largest distance from the outline. A disc of radius R has ``d = R - r``, so that its half thickness is
    ``k sqrt(R^2 - r^2)``: with `thickness` k = 1 a ball.

    Args:
        mask: ``[h, w]``, not zero inside.
        depth: slices of the result.
        thickness: k, the half thickness in the middle over R.

    Returns:
        bool ``[h, w, depth]``, symmetric about its middle.

    Example:
        >>> mask = np.hypot(*(np.indices((9, 9)) - 4)) < 4
        >>> inflated(mask, 9, 1.0).sum(2)[4].tolist()
        [0, 5, 7, 7, 9, 7, 7, 5, 0]
    """
    distance = _distance(mask)
    half = thickness * np.sqrt(np.clip(distance * (2 * distance.max() - distance), 0, None))
    return _within(half, mask, depth)


def cylinder(mask: np.ndarray, depth: int, thickness: float) -> np.ndarray:
    """The outline, as thick everywhere: its half thickness is `thickness` times R of `inflated`.

    Example:
        >>> mask = np.hypot(*(np.indices((9, 9)) - 4)) < 4
        >>> cylinder(mask, 9, 0.5).sum(2)[4].tolist()
        [0, 5, 5, 5, 5, 5, 5, 5, 0]
    """
    return _within(np.full(np.shape(mask), thickness * _distance(mask).max()), mask, depth)


def fit_thickness(
    make: Callable[[np.ndarray, int, float], np.ndarray], outlines: np.ndarray, volumes: np.ndarray
) -> float:
    """The thickness with which volumes made from outlines have the largest mean Dice with true ones.

    Args:
        make: `inflated` or `cylinder`.
        outlines: bool ``[n, h, w]``.
        volumes: bool ``[n, h, w, depth]``.

    Returns:
        One of 29 numbers from 0.1 to 1.5.

    Example:
        >>> disc = np.hypot(*(np.indices((9, 9)) - 4)) < 4
        >>> round(fit_thickness(inflated, disc[None], inflated(disc, 9, 1.0)[None]), 2)
        1.0
    """

    def dice(k: float) -> float:
        made = np.stack([make(mask, volumes.shape[-1], k) for mask in outlines])
        shared, sizes = ((x.reshape(len(x), -1).sum(1)) for x in (made & volumes, made.astype(int) + volumes))
        return float(np.mean(2 * shared / np.maximum(sizes, 1)))

    return float(max(np.linspace(0.1, 1.5, 29), key=dice))


def _distance(mask: np.ndarray) -> np.ndarray:
    """From the centres of pixels to the nearest one outside, the border of the image being outside."""
    return ndimage.distance_transform_edt(np.pad(np.asarray(mask) != 0, 1))[1:-1, 1:-1]


def _within(half: np.ndarray, mask: np.ndarray, depth: int) -> np.ndarray:
    z = np.abs(np.arange(depth) - (depth - 1) / 2)
    return (z <= half[..., None]) & (np.asarray(mask) != 0)[..., None]
