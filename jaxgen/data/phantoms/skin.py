"""Phantom `derm2d`: a lesion of one of five kinds on skin of one of three tones, in colour."""

import numpy as np

from jaxgen.data.phantoms.texture import generator, pixel_grid, smooth_field

KINDS = ("naevus", "melanoma", "keratosis", "angioma", "fibroma")
TONES = ("light", "medium", "dark")
_SKIN = {"light": (0.91, 0.74, 0.66), "medium": (0.76, 0.55, 0.43), "dark": (0.42, 0.28, 0.22)}
"""The mean colour of each tone."""
_BROWN, _BLUE, _RED = (0.42, 0.26, 0.19), (0.30, 0.30, 0.40), (0.62, 0.16, 0.18)
_RAGGED = {"naevus": (0.02, 0.09), "melanoma": (0.06, 0.18), "keratosis": (0.03, 0.10), "angioma": (0.02, 0.08)}
"""How far the border leaves a circle, as a share of the radius; of naevus and melanoma the two ranges overlap."""
NOISE = 0.02
"""Standard deviation of the noise of a pixel."""


def derm2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A dermoscopic image: naevus, melanoma, keratosis, angioma or fibroma, on light, medium or dark skin.

    A naevus is even and nearly round, a melanoma ragged with a blue-grey part; a keratosis has pale dots, an angioma
    red lobes, and a fibroma a pale centre. Pigment is lighter or darker and borders are soft, so that kinds resemble
    each other.

    Args:
        seed: of the set.
        index: of the example; the kinds take turns.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 3]`` float32, about 0 to 1; ``mask [size, size]`` uint8 of the lesion; ``label``, the
        number in `KINDS`; ``covariates [1]``, the number of the tone in `TONES`.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = derm2d(0, 1, size=32)
        >>> example["image"].shape, KINDS[example["label"]], TONES[int(example["covariates"][0])] in TONES
        ((32, 32, 3), 'melanoma', True)
    """
    if size < 16:
        raise ValueError(f"derm2d needs a size of 16 pixels or more, got {size}")
    rng = generator("derm2d", seed, index)
    kind, tone = KINDS[index % len(KINDS)], TONES[int(rng.integers(len(TONES)))]
    skin = np.array(_SKIN[tone]) + rng.normal(0, 0.03) + rng.normal(0, 0.01, 3)
    row, column = np.moveaxis((2 * pixel_grid(size) + 1) / size - 1, -1, 0)
    x, y = column - rng.uniform(-0.2, 0.2), row - rng.uniform(-0.2, 0.2)
    distance = _distance(rng, kind, x, y)
    soft = 0.5 - 0.5 * np.tanh(distance / rng.uniform(0.04, 0.10))
    colour = _colours(rng, kind, distance, x, y, size)
    pigment = rng.uniform(0.45, 0.9)
    ground = np.broadcast_to(skin, (size, size, 3))
    image = ground + (soft * pigment)[..., None] * (colour * (0.5 + 0.5 * skin.mean()) - ground)
    light = 1 + 0.06 * smooth_field(rng, size, size / 3)
    image = image * light[..., None] + NOISE * rng.normal(size=image.shape)
    return {
        "image": image.astype(np.float32),
        "mask": (distance < 0).astype(np.uint8),
        "label": np.int64(KINDS.index(kind)),
        "covariates": np.array([TONES.index(tone)], np.float32),
    }


def _distance(rng: np.random.Generator, kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far outside of the lesion each pixel is, in halves of the image."""
    radius, ragged = rng.uniform(0.40, 0.62), rng.uniform(*_RAGGED.get(kind, (0.02, 0.08)))
    angle = np.arctan2(y, x)
    waves = np.arange(2, 7)
    sizes = ragged * rng.normal(size=len(waves)) / np.sqrt(waves / 2)
    border = 1 + sum(a * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k, a in zip(waves, sizes, strict=True))
    return np.hypot(x, y * rng.uniform(0.85, 1.15)) - radius * np.asarray(border)


def _colours(
    rng: np.random.Generator, kind: str, distance: np.ndarray, x: np.ndarray, y: np.ndarray, size: int
) -> np.ndarray:
    """The colour of pigment at each pixel, ``[size, size, 3]``."""
    colour = np.broadcast_to(np.array(_BROWN) * rng.uniform(0.8, 1.2), (size, size, 3)).copy()
    if kind == "melanoma":
        turn = rng.uniform(0, 2 * np.pi)
        part = np.tanh(4 * (np.cos(turn) * x + np.sin(turn) * y - rng.uniform(-0.05, 0.25))) / 2 + 0.5
        return colour + rng.uniform(0.4, 1.0) * part[..., None] * (np.array(_BLUE) - colour)
    if kind == "angioma":
        lobes = np.clip(0.5 + 0.4 * smooth_field(rng, size, size / 16), 0, 1)
        return colour + rng.uniform(0.5, 1.0) * (np.array(_RED) * (0.7 + 0.6 * lobes[..., None]) - colour)
    if kind == "keratosis":
        dots = smooth_field(rng, size, size / 32) > rng.uniform(1.0, 1.5)
        return colour + 0.45 * dots[..., None]
    if kind == "fibroma":
        centre = np.exp(-(((distance - distance.min()) / rng.uniform(0.2, 0.3)) ** 2))
        return colour + rng.uniform(0.25, 0.5) * centre[..., None]
    return colour
