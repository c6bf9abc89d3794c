"""Phantom `glands2d`: closed wavy outlines with a ring of dark nuclei around a bright lumen."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from jaxgen.data.phantoms.texture import generator, pixel_grid, smooth_field

HARMONICS = np.arange(2, 6)


class Gland(NamedTuple):
    """A closed curve ``r(theta) = radius (1 + sum_k a_k cos(k theta + phi_k))``, k = 2 ... 5, about its centre.

    Attributes:
        centre: ``(row, column)`` in pixels.
        radius: in pixels.
        amplitudes: a_k, ``[4]``.
        phases: phi_k, ``[4]``.
    """

    centre: np.ndarray
    radius: float
    amplitudes: np.ndarray
    phases: np.ndarray


def gland_radius(gland: Gland, theta: np.ndarray) -> np.ndarray:
    """The curve's radius in the given directions.

    Args:
        gland: the curve.
        theta: angles in radians, of any shape.

    Returns:
        Radii in pixels, the shape of `theta`.

    Example:
        >>> import numpy as np
        >>> gland_radius(Gland(np.zeros(2), 5.0, np.zeros(4), np.zeros(4)), np.zeros(1)).tolist()
        [5.0]
    """
    waves = gland.amplitudes * np.cos(HARMONICS * np.asarray(theta)[..., None] + gland.phases)
    return gland.radius * (1 + waves.sum(-1))


def gland_distance(gland: Gland, points: np.ndarray) -> np.ndarray:
    """Signed distance to the curve, negative inside, to 1e-3 pixels for the sizes used here.

    The sign is exact, from the radius in the point's direction; the length is the distance to a polygon of 4096
    corners on the curve, through the nearest corner and the two sides that meet there.

    Args:
        gland: the curve.
        points: ``[..., 2]`` (row, column).

    Returns:
        float64 ``[...]`` in pixels.

    Example:
        >>> import numpy as np
        >>> circle = Gland(np.zeros(2), 5.0, np.zeros(4), np.zeros(4))
        >>> gland_distance(circle, np.array([[7.0, 0.0], [0.0, 1.0]])).round(3).tolist()
        [2.0, -4.0]
    """
    theta = 2 * np.pi * np.arange(4096) / 4096
    corners = gland_radius(gland, theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=-1)
    local = points - gland.centre
    _, nearest = cKDTree(corners).query(local)
    corner = corners[nearest]
    length = np.full(nearest.shape, np.inf)
    for step in (-1, 1):
        side = corners[(nearest + step) % len(corners)] - corner
        along = np.clip(np.sum((local - corner) * side, -1) / np.sum(side * side, -1), 0, 1)
        length = np.minimum(length, np.linalg.norm(local - corner - along[..., None] * side, axis=-1))
    inside = np.linalg.norm(local, axis=-1) <= gland_radius(gland, np.arctan2(local[..., 1], local[..., 0]))
    return np.where(inside, -length, length)


def place_glands(rng: np.random.Generator, size: int) -> list[Gland]:
    """Draw 1 to 3 glands that lie apart; one that finds no room in 20 trials is left out.

    Args:
        rng: the random numbers.
        size: side of the image in pixels.

    Returns:
        The glands: radii 12 to 22 % of the side, centres at least 15 % of it from the frame.

    Example:
        >>> 1 <= len(place_glands(generator("glands2d", 0, 0), 64)) <= 3
        True
    """
    glands: list[Gland] = []
    for _ in range(rng.integers(1, 4)):
        amplitudes = rng.normal(size=4) / HARMONICS
        amplitudes *= rng.uniform(0.1, 0.35) / np.abs(amplitudes).sum()  # r stays positive, so the curve is simple
        radius, phases = size * rng.uniform(0.12, 0.22), rng.uniform(0, 2 * np.pi, 4)
        for _ in range(20):
            gland = Gland(size * rng.uniform(0.15, 0.85, 2), radius, amplitudes, phases)
            if all(np.linalg.norm(gland.centre - other.centre) > _reach(gland) + _reach(other) for other in glands):
                glands.append(gland)
                break
    return glands


def _reach(gland: Gland) -> float:
    return gland.radius * (1 + np.abs(gland.amplitudes).sum())


def glands2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One picture of 1 to 3 glands with its truth.

    A gland is bright with a brighter lumen and, at 0.78 of its radius, a ring of dark nuclei; the tissue between them
    is a smooth random field. The picture is blurred with 0.8 pixels and gets white noise of standard deviation 0.05.

    The signed distance is to the continuous curves (see `gland_distance`), the least over the glands; they lie apart,
    so that is the distance to the outline of their union. It is taken in the plane: outlines beyond the frame count.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32; ``mask [size, size]`` uint8, equal to ``sdf <= 0``; ``sdf`` float32 in
        pixels, negative inside; ``ids`` int32, 0 for background and k for gland k.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = glands2d(0, 0, size=32)
        >>> example["image"].shape, bool(((example["sdf"] <= 0) == example["mask"]).all())
        ((32, 32, 1), True)
    """
    if size < 16:
        raise ValueError(f"glands2d needs a size of 16 pixels or more, got {size}")
    rng = generator("glands2d", seed, index)
    glands, grid = place_glands(rng, size), pixel_grid(size)
    distances = np.stack([gland_distance(gland, grid) for gland in glands])
    sdf = distances.min(0).astype(np.float32)
    mask = sdf <= 0
    clean = 0.55 + 0.08 * smooth_field(rng, size, size / 32)
    for gland, distance in zip(glands, distances, strict=True):
        local = grid - gland.centre
        theta = np.arctan2(local[..., 1], local[..., 0])
        depth = np.linalg.norm(local, axis=-1) / gland_radius(gland, theta)
        nuclei = np.round(2 * np.pi * gland.radius / (size / 12))
        waves = 0.7 + 0.3 * np.cos(nuclei * theta + rng.uniform(0, 2 * np.pi))
        inside = 0.75 + 0.2 * (depth < 0.5) - 0.6 * waves * np.exp(-(((depth - 0.78) / 0.15) ** 2))
        clean = np.where(distance <= 0, inside, clean)
    image = ndimage.gaussian_filter(clean, 0.8) + 0.05 * rng.normal(size=clean.shape)
    return {
        "image": image[..., None].astype(np.float32),
        "mask": mask.astype(np.uint8),
        "sdf": sdf,
        "ids": np.where(mask, distances.argmin(0) + 1, 0).astype(np.int32),
    }
