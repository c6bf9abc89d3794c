"""Phantom `shapes2d`: simple shapes on a grey ground, for a model that knows words before it sees a radiograph."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator, smooth_field

KINDS = ("disc", "ring", "square", "bar")
WIDTHS = {"small": (0.10, 0.15), "moderate": (0.20, 0.26), "large": (0.32, 0.40)}
"""Half the width of a shape, in halves of the image."""
PLACES = {"upper": -0.5, "middle": 0.0, "lower": 0.5}
"""The height of its centre, from -1 to 1."""
GROUND, BRIGHT, DARK = 0.4, 0.8, 0.05


class Shape(NamedTuple):
    """One shape.

    Attributes:
        kind: one of `KINDS`.
        side: "left" or "right", of the image.
        zone: one of `PLACES`.
        size: one of `WIDTHS`.
        shade: "bright" or "dark".
    """

    kind: str
    side: str
    zone: str
    size: str
    shade: str


def shapes_of(seed: int, index: int) -> tuple[Shape, ...]:
    """The shapes of an example of `shapes2d`: one, or one on each side.

    Example:
        >>> len({shape.kind for i in range(40) for shape in shapes_of(0, i)})
        4
    """
    rng = generator("shapes2d", seed, index)
    sides = rng.permutation(["left", "right"])[: 1 + (rng.uniform() < 0.4)].tolist()
    choices = KINDS, tuple(PLACES), tuple(WIDTHS), ("bright", "dark")
    drawn = []
    for side in sides:
        kind, zone, size, shade = (options[int(rng.integers(len(options)))] for options in choices)
        drawn.append(Shape(kind, side, zone, size, shade))
    return tuple(drawn)


def shapes2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One or two bright or dark shapes on a grey ground: discs, rings, squares and bars, of three sizes at six places.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the shapes.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> shapes2d(0, 0, size=32)["image"].shape
        (32, 32, 1)
    """
    if size < 16:
        raise ValueError(f"shapes2d needs a size of 16 pixels or more, got {size}")
    rng = generator("shapes2d detail", seed, index)
    along = (np.arange(2 * size) + 0.5) / size - 1
    x, y = np.meshgrid(along, along)
    image, mask = np.full(x.shape, GROUND), np.zeros(x.shape, bool)
    for shape in shapes_of(seed, index):
        half = rng.uniform(*WIDTHS[shape.size])
        u = x - (-0.5 if shape.side == "left" else 0.5) - rng.uniform(-0.06, 0.06)
        v = y - PLACES[shape.zone] - rng.uniform(-0.06, 0.06)
        here = inside(shape.kind, u / half, v / half)
        image[here] = (BRIGHT if shape.shade == "bright" else DARK) + rng.uniform(-0.05, 0.05)
        mask |= here
    coarse = ndimage.gaussian_filter(image.reshape(size, 2, size, 2).mean((1, 3)), 0.5 * size / 64)
    coarse = coarse + 0.03 * smooth_field(rng, size, size / 6) + 0.015 * rng.normal(size=coarse.shape)
    return {"image": coarse.astype(np.float32)[..., None], "mask": mask[1::2, 1::2].astype(np.uint8)}


def inside(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points, in units of half the width of a shape from its centre, lie within it.

    Example:
        >>> inside("ring", np.array([0.0, 0.75]), np.zeros(2)).tolist()
        [False, True]
    """
    if kind == "disc":
        return np.hypot(u, v) < 1
    if kind == "ring":
        return np.abs(np.hypot(u, v) - 0.75) < 0.25
    return np.maximum(np.abs(u), np.abs(v) * (1 if kind == "square" else 2.5)) < 1
