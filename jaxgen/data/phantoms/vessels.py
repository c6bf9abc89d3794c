"""Phantom `vessels3d`: structures one or two voxels thick, which half the resolution blurs away."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.phantoms.texture import generator
from jaxgen.data.phantoms.tumour import FIELD, coordinates

VESSELS, SHEETS, BALLS = (3, 6), (1, 2), (2, 4)
"""The least and the largest number of each."""
RADIUS, NOISE = (0.14, 0.24), 0.2
"""Radii of the balls as shares of half the volume, and the standard deviation of the white noise."""


def vessels3d(seed: int, index: int, size: int | Sequence[int] = 32) -> dict[str, np.ndarray]:
    """Bright curved vessels and sheets, one or two voxels thick, which are marked, and balls as bright, which are not.

    Vessels run through the whole volume, each with a course of its own along one of the axes; sheets are waves over a
    disc across an axis. How bright a voxel is says nothing of whether it is marked: how thick what it is in is does.

    Args:
        seed: of the set.
        index: of the example.
        size: of the array, three axes of 16 voxels or more, or one number for a cube.

    Returns:
        ``image [*size, 1]`` float32; ``mask [*size]`` uint8, 1 in vessels and sheets; ``balls [*size]`` uint8, 1 in
        balls where nothing thin is; ``spacing [3]`` float32, millimetres.

    Raises:
        ValueError: if there are not three axes of 16 voxels or more.

    Example:
        >>> example = vessels3d(0, 0, 16)
        >>> example["image"].shape, 0.02 < float(example["mask"].mean()) < 0.3
        ((16, 16, 16, 1), True)
    """
    shape = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(shape) != 3 or min(shape) < 16:
        raise ValueError(f"vessels3d needs three axes of 16 voxels or more, got {size}")
    rng = generator("vessels3d", seed, index)
    thin, thick, place = np.zeros(shape, bool), np.zeros(shape, bool), coordinates(shape)
    for _ in range(rng.integers(VESSELS[0], VESSELS[1] + 1)):
        _mark(thin, _vessel(rng, shape), np.full(3, rng.integers(1, 3)))
    for _ in range(rng.integers(SHEETS[0], SHEETS[1] + 1)):
        _mark(thin, *_sheet(rng, shape))
    for _ in range(rng.integers(BALLS[0], BALLS[1] + 1)):
        radius = rng.uniform(*RADIUS)
        centre = rng.uniform(-0.95 + radius, 0.95 - radius, 3)
        thick |= np.linalg.norm(place - centre[:, None, None, None], axis=0) <= radius
    image = (thin | thick) + NOISE * rng.standard_normal(shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": thin.astype(np.uint8),
        "balls": (thick & ~thin).astype(np.uint8),
        "spacing": (FIELD / np.array(shape)).astype(np.float32),
    }


def _vessel(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Points ``[n, 3]`` in voxels, less than one apart, from one face to the other one."""
    axis, t = rng.integers(3), np.linspace(0, 1, 8 * max(shape))
    course = np.empty((len(t), 3))
    for k, n in enumerate(shape):
        middle, swing, phase = rng.uniform(0.25, 0.75), rng.uniform(0.05, 0.2), rng.uniform(0, 2 * np.pi)
        across = middle + swing * np.sin(2 * np.pi * rng.uniform(0.3, 1) * t + phase)
        course[:, k] = (n - 1) * (t if k == axis else across)
    return course


def _sheet(rng: np.random.Generator, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[n, 3]`` of a wave over a disc, and its thickness in voxels along each axis: 1 but across it."""
    axis = int(rng.integers(3))
    others = [k for k in range(3) if k != axis]
    u, v = np.meshgrid(*(np.linspace(-1, 1, 4 * shape[k]) for k in others), indexing="ij")
    centre, radius, phase = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.3, 0.5), rng.uniform(0, 2 * np.pi)
    height = rng.uniform(-0.6, 0.6) + 0.1 * np.sin(np.pi * (u + v) * rng.uniform(0.3, 1) + phase)
    inside = np.hypot(u - centre[0], v - centre[1]) <= radius
    points = np.empty((int(inside.sum()), 3))
    for k, line in zip((*others, axis), (u, v, height), strict=True):
        points[:, k] = (line[inside] + 1) / 2 * (shape[k] - 1)
    thickness = np.ones(3, int)
    thickness[axis] = rng.integers(1, 3)
    return points, thickness


def _mark(volume: np.ndarray, points: np.ndarray, thickness: np.ndarray) -> None:
    """Set the voxels that a brush of this many voxels along each axis touches at the points."""
    nearest = np.round(points).astype(int)
    for offset in np.ndindex(*thickness.tolist()):
        touched = np.clip(nearest + offset, 0, np.array(volume.shape) - 1)
        volume[tuple(touched.T)] = True
