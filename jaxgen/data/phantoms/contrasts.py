"""Phantoms of paired images: one brain slice in two contrasts, or as two scanners show it."""

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.brain import LESIONS, brain2d
from jaxgen.data.phantoms.texture import generator, smooth_field

BIAS, BLUR, NOISE = 0.3, 0.8, 0.03
"""Of the worse scanner: its largest change of intensities, standard deviations of its blur (pixels of 64) and noise."""


def contrast_pair(
    seed: int, index: int, size: int = 64, *, source: str = "t1", target: str = "t2"
) -> dict[str, np.ndarray]:
    """The slice `jaxgen.data.phantoms.brain2d` in two contrasts; every second subject has a bright lesion in both.

    From ``t1`` to ``t1b`` intensities keep their order, so that matched histograms are almost right; from ``t1`` to
    ``t2`` they do not.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.
        source: one of `CONTRASTS`.
        target: another.

    Returns:
        ``image`` and ``source`` ``[size, size, 1]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the lesion;
        ``tissue``, see `TISSUES`.

    Example:
        >>> pair = contrast_pair(0, 1, 32)
        >>> pair["source"].shape, pair["mask"].max().item(), contrast_pair(0, 0, 32)["mask"].max().item()
        ((32, 32, 1), 1, 0)
    """
    example = brain2d(seed, index, size, contrast=target, lesion=LESIONS["L1"] if index % 2 else None)
    return {"image": example[target], "source": example[source], "mask": example["mask"], "tissue": example["tissue"]}


def scanner_pair(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A T1 slice, and as a worse scanner shows it: bias field, blur and noise, which no map of intensities undoes.

    ``source = (blurred image) (1 + 0.3 b) + 0.03 n`` within the head, b smooth and within [-1, 1], n white.

    Args:
        seed: of the set.
        index: of the example; every second has a bright lesion.
        size: side of the image in pixels, 16 or more.

    Returns:
        As of `contrast_pair`.

    Example:
        >>> pair = scanner_pair(0, 0, 32)
        >>> bool((pair["source"] != pair["image"]).any()), float(pair["source"][0, 0, 0])
        (True, 0.0)
    """
    pair = contrast_pair(seed, index, size, source="t1", target="t1")
    rng = generator("scanner_pair", seed, index)
    field = smooth_field(rng, size, size / 4)
    field = field / np.abs(field).max()
    blurred = ndimage.gaussian_filter(pair["image"][..., 0], BLUR * size / 64)
    seen = blurred * (1 + BIAS * field) + NOISE * rng.standard_normal((size, size))
    return pair | {"source": np.where(pair["tissue"] > 0, seen, 0).astype(np.float32)[..., None]}
