"""Masks for couplings: what a layer keeps (True) and conditions on, and what it transforms (False)."""

from collections.abc import Sequence

import numpy as np


def checkerboard(spatial: Sequence[int], *, flip: bool = False) -> np.ndarray:
    """Every other pixel, as on a chess board.

    Args:
        spatial: the spatial shape.
        flip: keep the others.

    Returns:
        Booleans ``[*spatial, 1]``.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", section 3.4.

    Example:
        >>> checkerboard((2, 2))[..., 0].tolist()
        [[True, False], [False, True]]
    """
    return ((np.indices(tuple(spatial)).sum(0) % 2 == 0) ^ flip)[..., None]


def alternating(features: int, *, flip: bool = False) -> np.ndarray:
    """Every other channel, or number of a vector.

    Args:
        features: length of the last axis.
        flip: keep the others.

    Returns:
        Booleans ``[features]``.

    Example:
        >>> alternating(3).tolist()
        [True, False, True]
    """
    return (np.arange(features) % 2 == 0) ^ flip
