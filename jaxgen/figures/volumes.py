"""Volumes as images."""

import numpy as np


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
