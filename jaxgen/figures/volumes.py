"""Volumes as images."""

import numpy as np


def planes(volume: np.ndarray) -> list[np.ndarray]:
    """The middle slice of one volume across each axis, the first of the other two across and the second upwards.

    Args:
        volume: ``[x, y, z, c]``.

    Returns:
        ``[z, y, c]``, ``[z, x, c]`` and ``[y, x, c]``.

    Example:
        >>> [plane.shape for plane in planes(np.zeros((2, 3, 4, 1)))]
        [(4, 3, 1), (4, 2, 1), (3, 2, 1)]
    """
    halves = (np.take(volume, n // 2, axis) for axis, n in enumerate(volume.shape[:3]))
    return [half.swapaxes(0, 1)[::-1] for half in halves]


def middle(volumes: np.ndarray) -> np.ndarray:
    """The middle slice across the last axis of each volume, the first axis across and the second upwards.

    Args:
        volumes: ``[n, x, y, z, c]``.

    Returns:
        ``[n, y, x, c]``.

    Example:
        >>> middle(np.zeros((2, 3, 4, 5, 1))).shape
        (2, 4, 3, 1)
    """
    return volumes[:, :, ::-1, volumes.shape[3] // 2].swapaxes(1, 2)


def upright_middle(volumes: np.ndarray) -> np.ndarray:
    """The middle plane across the second axis of each volume, the first axis across and the slices upwards.

    Args:
        volumes: ``[n, x, y, z, c]``.

    Returns:
        ``[n, z, x, c]``.

    Example:
        >>> upright_middle(np.zeros((2, 3, 4, 5, 1))).shape
        (2, 5, 3, 1)
    """
    return volumes[:, :, volumes.shape[2] // 2, ::-1].swapaxes(1, 2)
