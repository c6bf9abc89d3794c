"""What the metrics of whole sets share: features as float64 on the host, and distances in blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK = 2**24
"""Numbers held at once while distances are computed."""


def features(*sets: Any) -> list[np.ndarray]:
    """Each set as float64 ``[n, d]``: images are flattened.

    Raises:
        ValueError: if a set has no second axis, a value is not finite, or the widths differ.
    """
    flat = []
    for values in sets:
        array = np.asarray(values)
        if array.ndim < 2 or not len(array):
            raise ValueError(f"features need the shape [n, d] with n >= 1, got {array.shape}")
        flat.append(array.reshape(len(array), -1).astype(np.float64))
        if not np.isfinite(flat[-1]).all():
            raise ValueError("features hold NaN or infinity")
    if len({array.shape[1] for array in flat}) > 1:
        raise ValueError(f"features differ in width: {[array.shape[1] for array in flat]}")
    return flat


def distance_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Euclidean distances of some rows of `a` to all of `b`, block by block; both are features."""
    centre = b.mean(0)  # products of what lies near 0 lose fewer digits
    a, b = a - centre, b - centre
    squares = np.einsum("ij,ij->i", b, b)
    rows = max(1, BLOCK // len(b))
    for start in range(0, len(a), rows):
        part = a[start : start + rows]
        squared = np.einsum("ij,ij->i", part, part)[:, None] + squares - 2 * part @ b.T
        yield slice(start, start + len(part)), np.sqrt(np.maximum(squared, 0))
