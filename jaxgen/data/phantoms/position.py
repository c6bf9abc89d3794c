"""Phantom `pos3d`: equal blobs in a volume, of which only those in the left half are lesions."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.phantoms.texture import generator
from jaxgen.data.phantoms.tumour import FIELD, coordinates

BLOBS, RADIUS, NOISE = (2, 4), (0.14, 0.24), 0.1
"""Blobs in each half, their radii as shares of half the volume, and the standard deviation of the white noise."""


def pos3d(seed: int, index: int, size: int | Sequence[int] = 32) -> dict[str, np.ndarray]:
    """Bright balls of one distribution in both halves of a volume; those in the half x < 0 are marked.

    Nothing but its place tells a marked ball from another: a network that sees a patch without knowing where it lies
    can do no better than to mark all of them or none. No ball crosses the middle.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube; x is the first axis.

    Returns:
        ``image [*size, 1]`` float32; ``mask [*size]`` uint8, 1 in the balls of the left half; ``balls [*size]`` uint8,
        1 in all of them; ``spacing [3]`` float32, millimetres.

    Raises:
        ValueError: if there are not three axes of 16 voxels or more.

    Reference:
        For the need of positions in patches: Bieder et al. 2023, "Memory-efficient 3D denoising diffusion models for
        medical image processing", arXiv 2303.15288.

    Example:
        >>> example = pos3d(0, 0, 16)
        >>> bool(example["mask"][8:].any()), bool(example["balls"][8:].any())
        (False, True)
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"pos3d needs three axes of 16 voxels or more, got {size}")
    rng = generator("pos3d", seed, index)
    place, inside = coordinates(shape), [np.zeros(shape, bool) for _ in range(2)]
    for half, sign in zip(inside, (-1, 1), strict=True):
        for _ in range(rng.integers(BLOBS[0], BLOBS[1] + 1)):
            radius = rng.uniform(*RADIUS)
            centre = rng.uniform(-0.95 + radius, 0.95 - radius, 3)
            centre[0] = sign * rng.uniform(radius + 0.08, 0.95 - radius)
            half |= np.linalg.norm(place - centre[:, None, None, None], axis=0) <= radius
    balls = inside[0] | inside[1]
    image = balls + NOISE * rng.standard_normal(shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": inside[0].astype(np.uint8),
        "balls": balls.astype(np.uint8),
        "spacing": (FIELD / np.array(shape)).astype(np.float32),
    }
