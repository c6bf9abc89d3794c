"""Phantom `ct2d_lesions`: chests with a lesion of low contrast in soft tissue, which noise hides."""

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator
from jaxgen.data.phantoms.thorax import ct2d

CONTRAST, RADIUS = (30.0, 60.0), (2.0, 3.5)
"""Hounsfield units that a lesion is denser than its tissue, and its radius in pixels of 64."""
SOFT = (2, 4)
"""Numbers of `ORGANS` in which it may lie: muscle, heart and vessels."""


def ct2d_lesions(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """The chest `jaxgen.data.phantoms.ct2d` with a disc 30 to 60 HU denser than the soft tissue that it lies in.

    Every fourth slice has none; nor has one without a place for it.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32 in Hounsfield units; ``tissue [size, size]`` uint8; ``mask [size,
        size]`` uint8 of the lesion.

    Example:
        >>> [int(ct2d_lesions(0, i, 64)["mask"].any()) for i in range(4)]
        [1, 1, 1, 0]
    """
    example, rng = ct2d(seed, index, size), generator("ct2d_lesions", seed, index)
    mask = np.zeros((size, size), np.uint8)
    radius = rng.uniform(*RADIUS) * size / 64
    depth = ndimage.distance_transform_edt(np.isin(example["tissue"], SOFT))
    places = np.argwhere(depth > radius + size / 64)
    if index % 4 < 3 and len(places):
        centre = places[rng.integers(len(places))]
        distance = np.hypot(*(np.indices((size, size)) - centre[:, None, None]))
        covered = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
        mask = (distance <= radius).astype(np.uint8)
        example["image"] = (example["image"] + rng.uniform(*CONTRAST) * covered).astype(np.float32)
    return {"image": example["image"], "tissue": example["tissue"], "mask": mask}
