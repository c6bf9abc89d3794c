"""Phantom `dimpled3d`: one cell in a volume, an ellipsoid whose flat sides are dented by a depth of its own."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator
from jaxgen.data.phantoms.tumour import FIELD, coordinates

WIDE, THICK, DENT = (0.45, 0.8), (0.25, 0.6), (0.0, 0.7)
"""Semi-axes in the plane and along z as shares of half the volume, and how much of the thickness a dent takes."""
WAVES, TILT = 0.06, 0.1
"""Largest change of the outline by each of three waves, and largest slope of the middle surface."""
BLUR, NOISE = 0.15, 0.05
"""Standard deviation of the blur along z as a share of the volume, and of the white noise."""


def dimpled3d(seed: int, index: int, size: int | Sequence[int] = 32) -> dict[str, np.ndarray]:
    """A cell like a red blood cell, about the middle of the volume, and its image by a microscope that blurs along z.

    Its half thickness over the place ``(r, phi)`` in the plane, with r = 1 on the outline, is
    ``c sqrt(1 - r^2) (1 - d exp(-(r / 0.45)^2))``. The outline in the middle slice says nothing of c or d; how bright
    that slice is does, for it collects the light of what lies above and below.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube; z is the last axis.

    Returns:
        ``image [*size, 1]`` float32; ``mask [*size]`` uint8; ``spacing [3]`` float32, millimetres.

    Raises:
        ValueError: if there are not three axes of 16 voxels or more.

    Reference:
        For such cells and the task to find their shape from one slice: Waibel et al. 2022, "A diffusion model predicts
        3D shapes from 2D microscopy images", arXiv 2208.14125.

    Example:
        >>> example = dimpled3d(0, 0, 16)
        >>> example["image"].shape, bool(example["mask"][:, :, 8].any())
        ((16, 16, 16, 1), True)
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"dimpled3d needs three axes of 16 voxels or more, got {size}")
    rng = generator("dimpled3d", seed, index)
    x, y, z = coordinates(shape)
    axes, turn = rng.uniform(*WIDE, 2), rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    angle = np.arctan2(v / axes[1], u / axes[0])
    amplitudes, phases = rng.uniform(-WAVES, WAVES, 3), rng.uniform(0, 2 * np.pi, 3)
    outline = 1 + sum(a * np.cos(k * angle + phase) for k, a, phase in zip((2, 3, 4), amplitudes, phases, strict=True))
    r = np.hypot(u / axes[0], v / axes[1]) / outline
    thickness, dent, slopes = rng.uniform(*THICK), rng.uniform(*DENT), rng.uniform(-TILT, TILT, 2)
    half = thickness * np.sqrt(np.clip(1 - r**2, 0, None)) * (1 - dent * np.exp(-((r / 0.45) ** 2)))
    mask = (np.abs(z - slopes[0] * x - slopes[1] * y) <= half) & (r < 1)
    image = ndimage.gaussian_filter(mask.astype(np.float32), (0.5, 0.5, BLUR * shape[2]))
    image += NOISE * rng.standard_normal(shape).astype(np.float32)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": mask.astype(np.uint8),
        "spacing": (FIELD / np.array(shape)).astype(np.float32),
    }
