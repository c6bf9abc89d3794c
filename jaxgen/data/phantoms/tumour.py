"""Phantom `tumor4c`: a head in four contrasts with a lesion of three nested parts, as an image or as a volume.

Coordinates run from -1 to 1 over the image along each axis, so that any shape will do; the field of view is `FIELD`
millimetres wide along each axis.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator

CLASSES = ("oedema", "core", "enhancing")
"""The name of each number in ``mask``, from 1: the outer part of the lesion, the middle one and the inner one."""

CONTRASTS = ("FLAIR", "T1", "contrast-enhanced T1", "T2")
"""The name of each channel."""

TISSUE = np.array([[0.35, 0.60], [0.55, 0.75], [0.50, 0.70], [0.65, 0.45]], np.float32)
"""Intensity of the shell and the inside of the head in each channel."""

LESION = np.array([[0.45, 0.45, 0.45], [0.0, -0.35, -0.35], [0.0, 0.0, 0.45], [0.0, 0.0, 0.0]], np.float32)
"""What each part of the lesion adds in each channel: one shows where it ends, one its middle, one its inside."""

NESTED = (1.0, 0.68, 0.40)
"""Radii of the three blobs as shares of that of the outer one."""

FIELD, NOISE = 192.0, 0.05
"""Millimetres along each axis, and the standard deviation of the white noise."""


def coordinates(shape: Sequence[int]) -> np.ndarray:
    """Places of the voxels' centres ``[rank, *shape]``, from -1 to 1 along each axis.

    Example:
        >>> coordinates((2, 4))[:, 0, 0].tolist()
        [-0.5, -0.75]
    """
    axes = [(np.arange(n) + 0.5) * 2 / n - 1 for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def tumor4c(seed: int, index: int, size: int | Sequence[int] = 64) -> dict[str, np.ndarray]:
    """A head in four contrasts with a lesion of three nested blobs, each of which ends visibly in another contrast.

    In FLAIR the whole lesion is bright, in T1 its core and what is in it is dark, with contrast agent its inside is
    bright, and T2 shows the head alone. So no channel tells all three classes, and all four together do, exactly but
    for white noise and a blur of half a voxel.

    Args:
        seed: of the set.
        index: of the example.
        size: one number for a square image, or one for each of two or three axes; 16 or more.

    Returns:
        ``image [*size, 4]`` float32, about 0 to 1.2, its channels `CONTRASTS`; ``mask [*size]`` uint8, 0 and the
        numbers of `CLASSES` from 1; ``spacing`` float32, millimetres of a voxel along each axis.

    Raises:
        ValueError: if an axis is shorter than 16, or there are other than two or three.

    Reference:
        Made after the data of Menze et al. 2015, "The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS)".

    Example:
        >>> example = tumor4c(0, 0, (16, 24, 16))
        >>> example["image"].shape, np.unique(example["mask"]).tolist(), example["spacing"].tolist()
        ((16, 24, 16, 4), [0, 1, 2, 3], [12.0, 8.0, 12.0])
    """
    shape = (size,) * 2 if isinstance(size, int) else tuple(size)
    if len(shape) not in (2, 3) or min(shape) < 16:
        raise ValueError(f"tumor4c needs two or three axes of 16 pixels or more, got {size}")
    rng = generator("tumor4c", seed, index)
    rank = len(shape)
    place = coordinates(shape).reshape(rank, -1).T
    axes, shift = rng.uniform(0.78, 0.95, rank), rng.uniform(-0.04, 0.04, rank)
    head = np.linalg.norm((place - shift) / axes, axis=-1)
    direction = rng.normal(size=rank)
    centre = shift + direction / np.linalg.norm(direction) * rng.uniform(0.05, 0.38)
    radii = rng.uniform(0.26, 0.38) * rng.uniform(0.85, 1.15, rank)
    waves, phases = rng.normal(size=(3, rank)) * 5, rng.uniform(0, 2 * np.pi, 3)
    ripple = 1 + 0.06 * np.sin((place - centre) @ waves.T + phases).sum(-1)
    blob = np.linalg.norm((place - centre) / radii, axis=-1) * ripple
    mask = np.sum([blob <= radius for radius in NESTED], axis=0, dtype=np.uint8)
    tissue = TISSUE[:, (head <= 0.82).astype(int)] * (head <= 1)
    added = np.concatenate([np.zeros_like(LESION[:, :1]), LESION], axis=1)
    values = (tissue + added[:, mask]).reshape(len(CONTRASTS), *shape)
    image = np.stack([ndimage.gaussian_filter(channel, 0.5) for channel in values], axis=-1)
    return {
        "image": (image + NOISE * rng.standard_normal(image.shape)).astype(np.float32),
        "mask": mask.reshape(shape),
        "spacing": (FIELD / np.array(shape)).astype(np.float32),
    }
