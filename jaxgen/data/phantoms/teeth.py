"""Phantom `dental2d`: a bitewing radiograph, two rows of teeth that overlap, with fillings."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator, smooth_field

TISSUES = ("enamel", "dentine", "pulp", "filling")
"""The name of each number in ``mask``, from 1."""
GREYS = np.array([0.10, 0.78, 0.56, 0.36, 1.00])
"""Of the air and the tissues; bone lies between air and dentine, about as bright as pulp."""
BONE, SHADOW = 0.34, 0.14
"""The mean grey of bone, and what each tooth behind another adds where they overlap."""


class Tooth(NamedTuple):
    """A tooth in coordinates from -1 to 1 over the image.

    Attributes:
        centre: ``(x, y)``.
        half: half the width at the middle, and half the height.
        tilt: radians.
        exponent: of the superellipse; 2 is an ellipse, more is squarer.
        root: 1 if the root points down, -1 if up.
        enamel: its thickness as a share of half the width.
        filling: ``(u, v, radius)`` in the tooth's own coordinates, or None.
    """

    centre: tuple[float, float]
    half: tuple[float, float]
    tilt: float
    exponent: float
    root: int
    enamel: float
    filling: tuple[float, float, float] | None


def place_teeth(rng: np.random.Generator) -> list[Tooth]:
    """Draw two rows of teeth, the ones in front last; the last of all is near the middle and has a filling.

    Example:
        >>> teeth = place_teeth(generator("dental2d", 0, 0))
        >>> len(teeth) > 5, teeth[-1].filling is not None
        (True, True)
    """
    teeth = []
    for root in (-1, 1):
        pitch, gap = rng.uniform(0.42, 0.62), rng.uniform(0.0, 0.10)
        offset, slope = rng.uniform(0, pitch), rng.uniform(-0.12, 0.12)
        for k in range(-3, 4):
            x = offset + k * pitch + rng.normal() * 0.02
            width, height = pitch * rng.uniform(0.46, 0.62), rng.uniform(0.34, 0.46)
            y = root * (gap + height) + slope * x
            hole = rng.uniform(-0.7, 0.7), rng.uniform(-1.0, -0.6), rng.uniform(0.25, 0.5)
            drawn = rng.normal() * 0.08, rng.uniform(2.4, 4.0), root, rng.uniform(0.2, 0.34)
            teeth.append(Tooth((x, y), (width, height), *drawn, hole if rng.uniform() < 0.3 else None))
    teeth = [teeth[i] for i in rng.permutation(len(teeth))]
    front = teeth.pop(int(np.argmin([abs(tooth.centre[0]) for tooth in teeth])))
    filled = rng.uniform(-0.4, 0.4), rng.uniform(-0.95, -0.7), rng.uniform(0.3, 0.5)
    return [*teeth, front if front.filling else front._replace(filling=filled)]


def tissues_of(tooth: Tooth, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The tissue at places from -1 to 1: 0 outside of the tooth, and the numbers of `TISSUES` from 1.

    Example:
        >>> tooth = Tooth((0.0, 0.0), (0.5, 0.5), 0.0, 3.0, 1, 0.3, None)
        >>> tissues_of(tooth, np.array([0.0, 0.2, 0.0, 0.9]), np.array([0.1, 0.1, -0.48, 0.0])).tolist()
        [3, 2, 1, 0]
    """
    c, s = np.cos(tooth.tilt), np.sin(tooth.tilt)
    dx, dy = x - tooth.centre[0], y - tooth.centre[1]
    u, v = (c * dx + s * dy) / tooth.half[0], tooth.root * (c * dy - s * dx) / tooth.half[1]
    u = u / (1 - 0.18 * (1 + v).clip(0, 2))  # roots taper

    def within(margin: float) -> np.ndarray:
        share = tooth.half[0] / tooth.half[1]
        return np.abs(u / (1 - margin)) ** tooth.exponent + np.abs(v / (1 - margin * share)) ** tooth.exponent <= 1

    found = np.where(within(tooth.enamel) | (v > 0.05), 2, 1)
    found[np.hypot(u / 0.24, (v - 0.25) / 0.6) <= 1] = 3
    if tooth.filling is not None:
        a, b, radius = tooth.filling
        found[np.hypot(u - a, (v - b) * tooth.half[1] / tooth.half[0]) <= radius] = 4
    return np.where(within(0.0), found, 0)


def dental2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A bitewing radiograph: two rows of teeth with enamel, dentine and pulp, some with fillings, in front of bone.

    Neighbours overlap: the truth is the tooth in front, and what is behind it makes it brighter. Bone is as bright as
    pulp, and exposure, contrast, a smooth field and the noise differ from image to image, so that a grey value alone
    does not tell the tissue. Every image has a filling in front.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1.3; ``mask [size, size]`` uint8, 0 for air and bone and the
        numbers of `TISSUES` from 1.

    Raises:
        ValueError: if `size` is below 16.

    Reference:
        Made after the bitewing radiographs of Rousseau et al. 2023, "Pre-training with diffusion models for dental
        radiography segmentation", arXiv 2307.14066.

    Example:
        >>> example = dental2d(0, 0, size=32)
        >>> example["image"].shape, np.unique(example["mask"]).tolist()
        ((32, 32, 1), [0, 1, 2, 3, 4])
    """
    if size < 16:
        raise ValueError(f"dental2d needs a size of 16 pixels or more, got {size}")
    rng = generator("dental2d", seed, index)
    along = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(along, along)
    teeth = place_teeth(rng)
    crest = rng.uniform(0.45, 0.65) + 0.05 * np.cos(rng.uniform(4, 8) * x + rng.uniform(0, 2 * np.pi))
    bone = BONE + 0.07 * smooth_field(rng, size, size / 40)
    grey, mask = np.where(np.abs(y) > crest, bone, GREYS[0]), np.zeros((size, size), np.uint8)
    depth = np.zeros((size, size), int)
    for tooth in teeth:
        tissue = tissues_of(tooth, x, y)
        here = tissue > 0
        mask[here], grey[here] = tissue[here], GREYS[tissue[here]]
        depth += here
    grey = ndimage.gaussian_filter(grey + SHADOW * np.maximum(depth - 1, 0), 0.5 * size / 64)
    grey = rng.uniform(0.75, 1.2) * np.maximum(grey, 0) ** rng.uniform(0.7, 1.4)
    grey = grey + rng.uniform(0, 0.12) * smooth_field(rng, size, size / 4)
    noise = rng.uniform(0.03, 0.09) * rng.normal(size=grey.shape)
    return {"image": (grey + noise)[..., None].astype(np.float32), "mask": mask}
