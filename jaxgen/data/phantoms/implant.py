"""Phantom `implant2d`: the chest radiographs of one patient, whose implant of metal plates nobody else has."""

import numpy as np

from jaxgen.data.phantoms.chest_xray import CODE, NOISE, Visit, body_grid, draw_body, person_of, to_pixels
from jaxgen.data.phantoms.texture import generator

CELLS = 3
"""The plates lie on a square of this many cells along each side."""
CELL = 0.19
"""The side of a cell; the image is 2 wide."""
METAL = 1.0
"""The level of a plate."""
SHIFT, TURN, SCALE = 0.03, 0.03, 0.02
"""The most that a visit moves, turns (in radians) and scales the body."""


def plates_of(seed: int, index: int) -> np.ndarray:
    """Which of the cells ``[3, 3]`` hold a plate: four or five of them, unlike each of their mirror images and turns.

    Args:
        seed: of the set.
        index: of the patient.

    Returns:
        Truth values, always the same.

    Example:
        >>> plates_of(0, 0).astype(int).tolist()
        [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    """
    rng = generator("implant2d plates", seed, index)
    while True:
        plates = rng.permutation(CELLS**2).reshape(CELLS, CELLS) < rng.integers(4, 6)
        others = [np.rot90(one, k) for one in (plates, plates.T) for k in range(4)][1:]
        if not any((plates == other).all() for other in others):
            return plates


def implant2d(seed: int, index: int, size: int = 64, *, visit: int | None = 0) -> dict[str, np.ndarray]:
    """A frontal chest radiograph of a patient without findings, with an implant over one lung.

    Patients differ in their body, in the side and the height of the implant, and in its pattern, which has no symmetry.
    The visits of a patient differ in position, turn and scale, and in noise. Levels are those of
    `jaxgen.data.phantoms.cxr2d`; metal is at 1.

    Args:
        seed: of the set.
        index: of the patient.
        size: side of the image in pixels, 16 or more.
        visit: 0 for the first; None for the body at rest, without noise.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1; ``mask [size, size]`` uint8, the square of the implant.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> at_rest = implant2d(0, 0, size=32, visit=None)
        >>> at_rest["image"].shape, bool(at_rest["image"].max() > 0.95), int(at_rest["mask"].sum())
        ((32, 32, 1), True, 81)
    """
    if size < 16:
        raise ValueError(f"implant2d needs a size of 16 pixels or more, got {size}")
    rng = generator("implant2d", seed, index)
    person, side = person_of(rng.uniform(-1, 1, CODE)), rng.choice((-1, 1))
    centre = side * 0.5 * person.width, rng.uniform(-0.25, 0.05)
    noise, stand = np.zeros((size, size)), Visit()
    if visit is not None:
        own = generator(f"implant2d visit {visit}", seed, index)
        moved = own.uniform(-1, 1, 4)
        stand = Visit((SHIFT * moved[0], SHIFT * moved[1]), TURN * moved[2], 1 + SCALE * moved[3])
        noise = NOISE * own.normal(size=(size, size))
    x, y = body_grid(stand, size)
    image = draw_body(person, (), np.zeros((3, 5)), x, y).image
    column, row = ((u - c) / CELL + CELLS / 2 for u, c in zip((x, y), centre, strict=True))
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < CELLS)
    places = np.floor(row[inside]).astype(int), np.floor(column[inside]).astype(int)
    image[inside] = np.where(plates_of(seed, index)[places], METAL, image[inside])
    drawn = to_pixels(image, size) + noise
    return {"image": drawn.astype(np.float32)[..., None], "mask": inside[1::2, 1::2].astype(np.uint8)}
