"""How far neighbouring slices of a volume are apart: flicker of volumes that are made slice by slice."""

import numpy as np


def slice_jump(volumes: np.ndarray) -> float:
    """The mean absolute difference of neighbouring slices, ``mean |x_{z+1} - x_z|``.

    Args:
        volumes: ``[n, x, y, z, c]``.

    Returns:
        The mean over volumes, neighbours and pixels.

    Example:
        >>> slice_jump(np.array([0.0, 1.0, -1.0]).reshape(1, 1, 1, 3, 1))
        1.5
    """
    return float(np.abs(np.diff(volumes, axis=3)).mean())


def excess_jump(volumes: np.ndarray, truth: np.ndarray) -> float:
    """By what share slices jump more than those of the true volumes; negative where they are too smooth.

    Args:
        volumes: ``[n, x, y, z, c]``.
        truth: of the same shape.

    Returns:
        ``slice_jump(volumes) / slice_jump(truth) - 1``.

    Example:
        >>> truth = np.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3, 1)
        >>> excess_jump(1.25 * truth, truth), excess_jump(0 * truth, truth)
        (0.25, -1.0)
    """
    return slice_jump(volumes) / slice_jump(truth) - 1
