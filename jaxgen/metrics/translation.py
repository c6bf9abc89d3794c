"""What translated images keep of the anatomy: tissues told by their intensity, and the contrast of lesions."""

import numpy as np
from scipy import ndimage

from jaxgen.metrics.overlap import dice

RING = 3
"""Pixels around a lesion, from the second on, that it is compared with."""


def intensity_levels(values: np.ndarray, classes: int = 4, *, iterations: int = 100) -> np.ndarray:
    """The k-means of intensities, ascending; they start at evenly spaced values of the range.

    Args:
        values: intensities, of any shape.
        classes: how many.
        iterations: at most.

    Returns:
        ``[classes]``; a class without a pixel keeps its place.

    Reference:
        Lloyd 1982, "Least squares quantization in PCM".

    Example:
        >>> intensity_levels(np.array([0.0, 0.1, 0.9, 1.1, 3.0]), 3).round(3).tolist()
        [0.05, 1.0, 3.0]
    """
    found, count = np.unique(np.asarray(values, np.float64), return_counts=True)
    levels = np.linspace(found[0], found[-1], classes)
    for _ in range(iterations):
        label = nearest_level(found, levels)
        total, mass = (np.bincount(label, w, minlength=classes) for w in (count * found, count))
        moved = np.where(mass > 0, total / np.maximum(mass, 1), levels)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return levels


def nearest_level(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The number of the nearest of ascending levels, of every pixel.

    Example:
        >>> nearest_level(np.array([-1.0, 0.4, 0.6]), np.array([0.0, 1.0])).tolist()
        [0, 0, 1]
    """
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, x)


def tissue_dice(x: np.ndarray, truth: np.ndarray, levels: np.ndarray) -> float:
    """The Dice coefficient of tissues told by their intensity, the mean over tissues and images.

    Args:
        x: images ``[n, h, w]``.
        truth: those that they should be, of the same shape.
        levels: of the tissues, ascending, as `intensity_levels` finds them in true images; the first, the background,
            is left out.

    Returns:
        1 for equal images.

    Example:
        >>> tissue_dice(np.array([[[0.1, 0.9]]]), np.array([[[0.0, 1.0]]]), np.array([0.0, 1.0]))
        1.0
    """
    found, true = (nearest_level(np.asarray(image), levels) for image in (x, truth))
    return float(np.mean([np.mean(dice(found == k, true == k)) for k in range(1, len(levels))]))


def lesion_contrast(x: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How much brighter each lesion is than a ring of three pixels around it, one pixel away from it.

    Args:
        x: images ``[n, h, w]``.
        masks: of the lesions, ``[n, h, w]``.

    Returns:
        ``[n]``, NaN where there is no lesion.

    Example:
        >>> x = np.zeros((1, 9, 9))
        >>> x[0, 4, 4] = 2.0
        >>> lesion_contrast(x, x > 0).tolist()
        [2.0]
    """
    found = np.full(len(x), np.nan)
    for i, (image, mask) in enumerate(zip(x, masks > 0, strict=True)):
        if mask.any():
            ring = ndimage.binary_dilation(mask, iterations=1 + RING) & ~ndimage.binary_dilation(mask)
            found[i] = image[mask].mean() - image[ring].mean()
    return found


def patches(x: np.ndarray, side: int) -> np.ndarray:
    """The squares that images are tiled with, without those that are constant.

    Args:
        x: images ``[n, h, w, c]``; what is left over at the lower and right border is cut off.
        side: of a square in pixels.

    Returns:
        ``[m, side, side, c]``.

    Example:
        >>> patches(np.arange(16.0).reshape(1, 4, 4, 1), 2).shape
        (4, 2, 2, 1)
    """
    n, h, w, c = x.shape
    rows, columns = h // side, w // side
    cut = x[:, : rows * side, : columns * side].reshape(n, rows, side, columns, side, c)
    tiles = cut.swapaxes(2, 3).reshape(-1, side, side, c)
    return tiles[np.ptp(tiles.reshape(len(tiles), -1), axis=1) > 0]
