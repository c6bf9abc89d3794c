"""The orientation that a camera or scanner notes with the pixels (EXIF and TIFF tag 274)."""

import numpy as np

TAG = 0x112


def upright(array: np.ndarray, orientation: object) -> np.ndarray:
    """Turn stored pixels as viewers show them.

    Args:
        array: [rows, columns, ...] as stored.
        orientation: 1 to 8; anything else counts as 1, as viewers take it.

    Returns:
        The pixels as shown, a view; 5 to 8 swap the first two axes.

    Example:
        >>> upright(np.array([[1, 2, 3]]), 6)[:, 0].tolist()
        [1, 2, 3]
        >>> upright(np.array([[1, 2, 3]]), 8)[:, 0].tolist()
        [3, 2, 1]
    """
    if swaps(orientation):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def swaps(orientation: object) -> bool:
    """Whether rows become columns."""
    return orientation in (5, 6, 7, 8)
