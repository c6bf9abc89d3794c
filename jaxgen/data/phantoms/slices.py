"""Many slices of phantom brains at once, in the range of images."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxgen.data.phantoms.brain import Lesion, brain2d


def brain_slices(
    seed: int, n: int, size: int, lesion: Lesion | None = None, *, first: int = 0
) -> dict[str, np.ndarray]:
    """Slices in T2; values from 0 to about 1 become -1 to about 1, and brighter ones are kept.

    Args:
        seed: of the set; no two sets share a subject.
        n: the number of slices, each of another subject.
        size: side of the images in pixels.
        lesion: the kind of lesion; None for healthy brains.
        first: the number of the first subject.

    Returns:
        ``image [n, h, w, 1]``, ``healthy [n, h, w, 1]``, its healthy twin, and ``mask [n, h, w]``.

    Example:
        >>> brain_slices(0, 2, 16)["image"].shape
        (2, 16, 16, 1)
    """
    draw = functools.partial(brain2d, seed, size=size, contrast="t2", lesion=lesion)
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(draw, range(first, first + n)))
    stacked = {name: np.stack([example[name] for example in drawn]) for name in ("image", "healthy", "mask")}
    return stacked | {name: (2 * stacked[name] - 1).astype(np.float32) for name in ("image", "healthy")}
