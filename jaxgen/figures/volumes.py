"""Volumes as images."""

import numpy as np


def middle(volumes: np.ndarray, axis: int = 2) -> np.ndarray:
    """The middle slice of each volume across an axis, the first of the other two across and the second upwards.

    Args:
        volumes: ``[n, x, y, z, c]``.
        axis: 0, 1 or 2.

    Returns:
        ``[n, z, y, c]``, ``[n, z, x, c]`` or ``[n, y, x, c]``.

    Example:
        >>> [middle(np.zeros((2, 3, 4, 5, 1)), axis).shape for axis in range(3)]
        [(2, 5, 4, 1), (2, 5, 3, 1), (2, 4, 3, 1)]
    """
    half = volumes[(slice(None),) * (1 + axis) + (volumes.shape[1 + axis] // 2,)]
    return half.swapaxes(1, 2)[:, ::-1]


def planes(volume: np.ndarray) -> list[np.ndarray]:
    """The `middle` slice of one volume across each axis.

    Args:
        volume: ``[x, y, z, c]``.

    Returns:
        ``[z, y, c]``, ``[z, x, c]`` and ``[y, x, c]``.

    Example:
        >>> [plane.shape for plane in planes(np.zeros((2, 3, 4, 1)))]
        [(4, 3, 1), (4, 2, 1), (3, 2, 1)]
    """
    return [middle(volume[None], axis)[0] for axis in range(3)]
