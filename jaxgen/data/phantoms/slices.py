"""Many slices of phantom brains at once, in the range of images."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxgen.data.phantoms.brain import LESIONS, Lesion, brain2d


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


def labelled_slices(seed: int, n: int, size: int, kinds: tuple[str, str]) -> dict[str, np.ndarray]:
    """Slices of which half have a lesion of one of two kinds, each of another subject.

    Args:
        seed: of the set.
        n: the number of slices.
        size: side of the images in pixels.
        kinds: names of lesions (`LESIONS`).

    Returns:
        ``image [n, h, w, 1]`` and ``label [n]``, 1 where there is a lesion.

    Example:
        >>> labelled_slices(0, 4, 16, ("L1", "L4"))["label"].tolist()
        [0, 0, 1, 1]
    """
    quarter, half = n // 4, n // 2
    counts = ((n - half, None), (quarter, LESIONS[kinds[0]]), (half - quarter, LESIONS[kinds[1]]))
    starts = (0, n - half, n - half + quarter)
    drawn = [
        brain_slices(seed, count, size, lesion, first=start)["image"]
        for (count, lesion), start in zip(counts, starts, strict=True)
    ]
    return {"image": np.concatenate(drawn), "label": (np.arange(n) >= n - half).astype(np.int32)}
