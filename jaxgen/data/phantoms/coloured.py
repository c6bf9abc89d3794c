"""Phantom `coloured2d`: a shape in one flat colour on a ground of another, anywhere, with its outline as a hint."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.shapes import KINDS, inside
from jaxgen.data.phantoms.texture import generator

COLOURS = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.70, 0.20),
    "blue": (0.15, 0.25, 0.85),
    "yellow": (0.90, 0.85, 0.15),
    "white": (0.95, 0.95, 0.95),
    "black": (0.05, 0.05, 0.05),
}
HALF_WIDTHS = (0.25, 0.5)
"""Half the width of a shape, in halves of the image."""
REACH = 0.85
"""How far from the centre of the image a shape may reach, in the same unit."""
NOISE = 0.02
"""Standard deviation; from exactly flat colours an autoencoder learns blurred boundaries."""
CONTRAST = 0.2
"""The distance of two colours below which there is no shape to be seen."""


class Coloured(NamedTuple):
    """What is to be seen.

    Attributes:
        kind: one of `jaxgen.data.phantoms.shapes.KINDS`.
        colour: of the shape, one of `COLOURS`.
        ground: another.
    """

    kind: str
    colour: str
    ground: str


def coloured_of(seed: int, index: int) -> Coloured:
    """What an example of `coloured2d` shows.

    Example:
        >>> len({coloured_of(0, i).colour for i in range(40)})
        6
    """
    rng = generator("coloured2d", seed, index)
    colour, ground = rng.permutation(list(COLOURS))[:2].tolist()
    return Coloured(KINDS[int(rng.integers(len(KINDS)))], colour, ground)


def coloured2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A disc, ring, square or bar anywhere in the image, in flat colours with a little noise.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 3]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the shape; ``control [size,
        size, 1]`` uint8, its outline, 255 on black.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> {name: array.shape for name, array in coloured2d(0, 0, size=32).items()}
        {'image': (32, 32, 3), 'mask': (32, 32), 'control': (32, 32, 1)}
    """
    if size < 16:
        raise ValueError(f"coloured2d needs a size of 16 pixels or more, got {size}")
    rng, shown = generator("coloured2d detail", seed, index), coloured_of(seed, index)
    half = rng.uniform(*HALF_WIDTHS)
    x0, y0 = rng.uniform(half - REACH, REACH - half, size=2)
    along = (2 * np.arange(size) + 1) / size - 1
    x, y = np.meshgrid(along, along)
    mask = inside(shown.kind, (x - x0) / half, (y - y0) / half)
    image = np.where(mask[..., None], COLOURS[shown.colour], COLOURS[shown.ground])
    image = image + NOISE * rng.normal(size=image.shape)
    return {
        "image": image.astype(np.float32),
        "mask": mask.astype(np.uint8),
        "control": 255 * outline(mask).astype(np.uint8)[..., None],
    }


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels on either side of the boundary of a mask ``[h, w]``: those that a cross of five pixels reaches.

    Example:
        >>> outline(np.pad(np.ones((3, 3), bool), 1)).astype(int).tolist()[1:3]
        [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]]
    """
    return ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask, border_value=1)


class Seen(NamedTuple):
    """What is measured in an image.

    Attributes:
        mask: of the shape, bool ``[h, w]``; nothing where there is no contrast.
        colour: the nearest of `COLOURS`, of the shape; empty where there is none.
        ground: the same, of the ground.
    """

    mask: np.ndarray
    colour: str
    ground: str


def measure_coloured(image: np.ndarray) -> Seen:
    """Where the shape is, and its colours: what differs from the colour of the image's border by more than half.

    Args:
        image: ``[h, w, 3]``, 0 to 1.

    Returns:
        The mask and the colours.

    Example:
        >>> example = coloured2d(0, 3, size=32)
        >>> seen = measure_coloured(example["image"])
        >>> bool((seen.mask == example["mask"]).all()), (seen.colour, seen.ground) == coloured_of(0, 3)[1:]
        (True, True)
    """
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    ground = np.median(border, axis=0)
    distance = np.linalg.norm(image - ground, axis=-1)
    contrast = float(np.quantile(distance, 0.99))
    mask = distance > contrast / 2
    if not contrast > CONTRAST:
        return Seen(np.zeros(mask.shape, bool), "", _nearest(ground))
    core = ndimage.binary_erosion(mask)
    return Seen(mask, _nearest(np.median(image[core if core.any() else mask], axis=0)), _nearest(ground))


def _nearest(colour: np.ndarray) -> str:
    return min(COLOURS, key=lambda name: float(np.linalg.norm(colour - np.array(COLOURS[name]))))
