"""Phantom `contrast3d`: one brain volume in T1 and in T2, from the same tissues."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.brain import CONTRASTS, LESIONS
from jaxgen.data.phantoms.brain3d import COVARIATES, THICKNESS, draw_shape, regions
from jaxgen.data.phantoms.texture import generator
from jaxgen.data.phantoms.tumour import coordinates

TISSUE_OF_REGION = np.array([0, 1, 2, 3, 1], np.uint8)
"""Head and ventricles are cerebrospinal fluid, see `jaxgen.data.phantoms.brain.TISSUES`."""

RADIUS = (0.10, 0.22)
"""The least and the largest of a lesion, where the volume is 2 wide along each axis."""

BIAS, TEXTURE, NOISE = 0.06, 0.02, 0.01
"""Largest change by the bias field; standard deviations of the texture, which both contrasts share, and the noise."""

_FINE = 2
"""Points per voxel along each axis: a voxel on a border holds the mean of what it covers."""


def contrast3d(seed: int, index: int, size: int | Sequence[int] = (64, 64, 32)) -> dict[str, np.ndarray]:
    """A brain volume in T1 and in T2; every second subject has a lesion that is bright in both.

    The head is that of `jaxgen.data.phantoms.brain3d`, its tissues as bright as those of
    `jaxgen.data.phantoms.brain.CONTRASTS` plus N(0, 0.015) for each subject. From T1 to T2 the order of tissues
    changes, and no map of single intensities knows lesions or voxels on borders. A lesion is an ellipsoid within the
    brain that adds 0.3. Both contrasts are multiplied by one smooth bias field within 1 +- 0.06, one smooth texture is
    added, and white noise to each; outside of the head both are 0.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube.

    Returns:
        ``image`` (T2) and ``source`` (T1) ``[*size, 1]`` float32, about 0 to 1; ``mask [*size]`` uint8 of the lesion;
        ``tissue [*size]`` uint8, see `jaxgen.data.phantoms.brain.TISSUES`.

    Raises:
        ValueError: if the size is too small.

    Example:
        >>> pair = contrast3d(0, 1, 16)
        >>> pair["source"].shape, np.unique(pair["tissue"]).tolist(), pair["mask"].max().item()
        ((16, 16, 16, 1), [0, 1, 2, 3], 1)
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"contrast3d needs three axes of 16 voxels or more, got {size}")
    rng = generator("contrast3d", seed, index)
    form, brain, ventricles = draw_shape(rng), *(rng.uniform(*COVARIATES[name]) for name in ("brain", "ventricles"))
    fine = TISSUE_OF_REGION[
        regions(form, brain, ventricles, rng.uniform(THICKNESS[1], THICKNESS[0]), tuple(_FINE * n for n in shape))
    ]
    table = np.array([CONTRASTS["t1"], CONTRASTS["t2"]])
    levels = (table + (table > 0) * rng.normal(0, 0.015, table.shape)).astype(np.float32)
    bias = 1 + BIAS * _smooth(rng, shape, 1 / 4)
    texture = _smooth(rng, shape, 1 / 32)
    texture *= TEXTURE / texture.std()
    noise = NOISE * rng.standard_normal((2, *shape), np.float32)
    blocks = [k for n in shape for k in (n, _FINE)]
    tissue = fine.reshape(blocks)[:, _FINE // 2, :, _FINE // 2, :, _FINE // 2]
    lesion = _lesion(rng, tissue) if index % 2 else np.zeros(shape, np.float32)

    def render(k: int) -> np.ndarray:
        clean = levels[k][fine].reshape(blocks).mean((1, 3, 5)) + LESIONS["L1"].value * lesion
        return ((clean * bias + texture + noise[k]) * (tissue > 0)).astype(np.float32)[..., None]

    return {
        "image": render(1),
        "source": render(0),
        "mask": (lesion >= 0.5).astype(np.uint8),
        "tissue": np.ascontiguousarray(tissue),
    }


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], width: float) -> np.ndarray:
    """A smooth field whose largest value is 1 or -1; `width` is that of its blur, as a share of each axis."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), [width * n for n in shape], mode="reflect", truncate=3)
    return field / np.abs(field).max()


def _lesion(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """How much of each voxel an ellipsoid takes, whose centre is in grey or white matter; its edge is a voxel wide."""
    inside = np.argwhere(tissue >= 2)
    place = coordinates(tissue.shape)
    centre = place[(slice(None), *inside[rng.integers(len(inside))])]
    radii = rng.uniform(*RADIUS) * rng.uniform(0.8, 1.2, 3)
    distance = np.sqrt((((place - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0))
    voxels = radii.mean() / (2 / np.mean(tissue.shape))
    return (np.clip(0.5 + (1 - distance) * voxels, 0, 1) * (tissue > 0)).astype(np.float32)
