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


def side(masks: np.ndarray) -> np.ndarray:
    """The middle of masks of volumes across the second axis, the first axis across and the third upwards.

    Args:
        masks: bool ``[n, x, y, z]``.

    Returns:
        ``[n, z, x, 1]``, 1 inside and -1 outside.

    Example:
        >>> side(np.ones((2, 3, 4, 5), bool)).shape
        (2, 5, 3, 1)
    """
    return 2.0 * masks[:, :, masks.shape[2] // 2, ::-1].swapaxes(1, 2)[..., None] - 1
