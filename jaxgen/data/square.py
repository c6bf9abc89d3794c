"""One image as a network sees it, and maps of it back on its own grid."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxgen.data.images import fit_shape, resize, sides_of

Back = Callable[[np.ndarray], np.ndarray]
"""``map [size, size] -> map [h, w]``, and of volumes ``[*size] -> [x, y, z]``."""


def to_square(
    image: np.ndarray, size: int | Sequence[int], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, Back]:
    """An image padded to a square, or to another shape, resized, and brought to a unit range without cutting off.

    Args:
        image: raw values ``[h, w, c]``, of a volume ``[x, y, z, c]``.
        size: pixels along one side, or one number per axis.
        low: the raw value of each channel ``[c]`` that goes to -1; padding holds it too.
        high: that which goes to 1; a channel whose `high` is its `low` is 0.

    Returns:
        The image ``[size, size, c]`` or ``[*size, c]``, and what brings maps of it back to the grid of the image.

    Example:
        >>> x, back = to_square(np.array([[[0.0], [2.0]]]), 2, np.zeros(1), np.ones(1))
        >>> x.shape, back(x[..., 0]).tolist()
        ((2, 2, 1), [[-1.0, 3.0]])
    """
    sides = sides_of(size)
    whole = fit_shape(image, sides, "pad", low)
    resized, width = resize(whole, sides), np.where(high > low, high - low, 1)
    x = np.where(high > low, 2 * (resized - low) / width - 1, 0).astype(np.float32)

    def back(value: np.ndarray) -> np.ndarray:
        value = resize(value[..., None].astype(np.float32), whole.shape[:-1])[..., 0]
        starts = [(p - n) // 2 for p, n in zip(whole.shape, image.shape[:-1], strict=False)]
        return value[tuple(slice(s, s + n) for s, n in zip(starts, image.shape, strict=False))]

    return x, back
