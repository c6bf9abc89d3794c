"""Phantom `ct2d`: an axial CT slice of a chest in Hounsfield units."""

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator, smooth_field

ORGANS = ("air", "fat", "muscle", "lung", "heart and vessels", "bone", "airway")
"""The name of each number in ``tissue``."""

FINE = 2
"""Points a pixel along each axis: a pixel on a border holds the mean of what it covers."""


class Chest(NamedTuple):
    """The drawn anatomy; coordinates run from -1 to 1 over the image, x to the patient's left and y to the back.

    Attributes:
        shift: of the whole body.
        turn: of the whole body, in radians.
        axes: semi-axes of the body.
        waves: Fourier coefficients of its outline, 1 + Re sum_k c_k e^(i k phi), k = 0 ... 5.
        fat: thickness of the fat under the skin, a share of the radius.
        lungs: two, each ``(x, y, a, b, turn)``.
        heart: ``(x, y, a, b, turn)``.
        aorta: ``(x, y, radius)``.
        spine: ``(y, a, b)`` of the vertebral body.
        ribs: angles of the ribs about the body, and the half width of each.
        vessels: ``[n, 3]``: x, y and radius of those in the lungs.
        airways: ``[n, 3]``, the same.
        hu: of each of `ORGANS`; of bone that inside.
        cortex: Hounsfield units of the hard border of bones.
    """

    shift: np.ndarray
    turn: float
    axes: tuple[float, float]
    waves: np.ndarray
    fat: float
    lungs: np.ndarray
    heart: np.ndarray
    aorta: np.ndarray
    spine: np.ndarray
    ribs: np.ndarray
    vessels: np.ndarray
    airways: np.ndarray
    hu: np.ndarray
    cortex: float


def draw_chest(rng: np.random.Generator) -> Chest:
    """Draw an anatomy.

    Args:
        rng: the random numbers.

    Returns:
        The anatomy.

    Example:
        >>> 0.80 <= draw_chest(generator("ct2d", 0, 0)).axes[0] <= 0.92
        True
    """
    axes = (rng.uniform(0.80, 0.92), rng.uniform(0.58, 0.72))
    waves = np.zeros(6, complex)
    waves[0], waves[2:] = 1, rng.normal(0, 0.012, 4) * np.exp(1j * rng.uniform(0, 2 * np.pi, 4))
    fat, lung_y = rng.uniform(0.04, 0.14), rng.uniform(-0.06, 0.04)
    inner = 1 - fat
    lungs = np.array(
        [
            [
                side * axes[0] * inner * rng.uniform(0.44, 0.49),
                lung_y + rng.normal(0, 0.01),
                axes[0] * inner * rng.uniform(0.30, 0.36),
                axes[1] * inner * rng.uniform(0.62, 0.74),
                side * rng.uniform(-0.05, 0.2),
            ]
            for side in (-1, 1)
        ]
    )
    heart = np.array(
        [
            rng.uniform(0.02, 0.14),
            rng.uniform(-0.22, -0.08),
            rng.uniform(0.18, 0.30),
            rng.uniform(0.14, 0.22),
            rng.uniform(0.2, 0.9),
        ]
    )
    spine = np.array([axes[1] * rng.uniform(0.52, 0.60), rng.uniform(0.10, 0.13), rng.uniform(0.08, 0.10)])
    aorta = np.array([rng.uniform(0.08, 0.14), spine[0] - spine[2] - rng.uniform(0.02, 0.06), rng.uniform(0.045, 0.07)])
    count = rng.integers(8, 13)
    ribs = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.1, count)
    ribs = np.stack([ribs, rng.uniform(0.06, 0.2, count)], -1)
    number = rng.integers(20, 45)
    chosen = lungs[rng.integers(0, 2, number)]
    distance, angle = 0.92 * np.sqrt(rng.uniform(size=number)), rng.uniform(0, 2 * np.pi, number)
    radius = 0.008 + 0.024 * rng.uniform(size=number) ** 2 * (1.2 - distance)
    x = chosen[:, 0] + chosen[:, 2] * distance * np.cos(angle)
    y = chosen[:, 1] + chosen[:, 3] * distance * np.sin(angle)
    airways = np.array([[rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.06), rng.uniform(0.03, 0.05)]])
    if rng.uniform() < 0.5:  # below the carina: two bronchi
        airways = np.array([[-1, 1, 0.8], [1, 1, 0.8]]) * airways + np.array([[-0.1, 0, 0], [0.1, 0.02, 0]])
    blood = rng.uniform(110, 260) if rng.uniform() < 0.5 else rng.uniform(30, 55)  # with contrast agent or without
    hu = np.array(
        [
            -1000,
            rng.uniform(-115, -85),
            rng.uniform(45, 65),
            rng.uniform(-880, -780),
            blood,
            rng.uniform(150, 300),
            -1000,
        ]
    )
    shift, turn = rng.normal(0, 0.015, 2), rng.normal(0, 0.03)
    return Chest(
        shift,
        turn,
        axes,
        waves,
        fat,
        lungs,
        heart,
        aorta,
        spine,
        ribs,
        np.stack([x, y, radius], -1),
        airways,
        hu,
        rng.uniform(600, 1000),
    )


def organ_map(chest: Chest, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What lies at each point.

    Args:
        chest: the anatomy.
        x: from -1 to 1, to the right of the image.
        y: from -1 to 1, down.

    Returns:
        The number in `ORGANS`, uint8, and whether it is the hard border of a bone.

    Example:
        >>> x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
        >>> np.unique(organ_map(draw_chest(generator("ct2d", 0, 0)), x, y)[0]).tolist()
        [0, 1, 2, 3, 4, 5, 6]
    """
    c, s = np.cos(chest.turn), np.sin(chest.turn)
    x, y = x - chest.shift[1], y - chest.shift[0]
    x, y = c * x + s * y, -s * x + c * y
    a, b = chest.axes
    angle = np.arctan2(y / b, x / a)
    outline = sum(abs(w) * np.cos(k * angle + np.angle(w)) for k, w in enumerate(chest.waves) if w)
    radius = np.hypot(x / a, y / b) / outline
    inner = 1 - chest.fat
    organ = np.where(radius < inner, 2, 1).astype(np.uint8)
    lungs = [_ellipse(x, y, *lung) for lung in chest.lungs]
    organ[(np.minimum(*lungs) < 1) & (radius < inner - 0.12)] = 3
    inside = organ == 3
    organ[inside] = np.where(_discs(x[inside], y[inside], chest.vessels), 4, 3)
    middle = _ellipse(x, y, 0, 0, 0.13, 0.9 * b * inner, 0) < 1  # the mediastinum, between the lungs
    organ[middle & (organ >= 3)] = 1
    organ[_ellipse(x, y, *chest.heart) < 1] = 4
    organ[_discs(x, y, chest.aorta[None])] = 4
    organ[_discs(x, y, chest.airways)] = 6
    at, wide, deep = chest.spine
    # Bones as how far inside they a point lies, 0 at the border: body, arch and process of the vertebra, breastbone.
    bones = [
        (1 - np.sqrt(_ellipse(x, y, 0, at, wide, deep, 0))) * deep,
        (1 - np.sqrt(_ellipse(x, y, 0, at + deep + 0.05, 0.10, 0.055, 0))) * 0.055,
        (1 - np.sqrt(_ellipse(x, y, 0, at + deep + 0.12, 0.025, 0.07, 0))) * 0.025,
        (1 - np.sqrt(_ellipse(x, y, 0, -b * inner * 0.93, 0.10, 0.03, 0))) * 0.03,
    ]
    across = ((radius - inner + 0.075) / 0.035) ** 2
    for place, half in chest.ribs:
        aside = (np.mod(angle - place + np.pi, 2 * np.pi) - np.pi) / half
        bones.append((1 - np.sqrt(aside**2 + across)) * 0.03)
    depth = np.max(bones, 0)
    organ[depth > 0] = 5
    canal = _ellipse(x, y, 0, at + deep + 0.045, 0.055, 0.035, 0) < 1
    organ[canal] = 2
    organ[radius >= 1] = 0
    return organ, (organ == 5) & (depth < 0.014)


def _ellipse(x: Any, y: Any, cx: Any, cy: Any, a: float, b: float, turn: float) -> np.ndarray:
    c, s = np.cos(turn), np.sin(turn)
    x, y = x - cx, y - cy
    return ((c * x + s * y) / a) ** 2 + ((-s * x + c * y) / b) ** 2


def _discs(x: np.ndarray, y: np.ndarray, discs: np.ndarray) -> np.ndarray:
    return np.any([(x - cx) ** 2 + (y - cy) ** 2 < r**2 for cx, cy, r in discs], 0)


def ct2d(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """An axial CT slice of a chest: body with fat and muscle, lungs with vessels, heart, aorta, airways, bones.

    Drawn twice as fine and averaged, then blurred with 0.4 pixels of an image of 64 (in proportion at others); a smooth
    texture of standard deviation 25 HU in the lungs and 6 HU elsewhere in the body, no noise of a scanner.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32 in Hounsfield units; ``tissue [size, size]`` uint8, see `ORGANS`; ``mask
        [size, size]`` uint8 of the lungs with their vessels and airways left out.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = ct2d(0, 0, size=32)
        >>> example["image"].shape, bool(example["image"].min() >= -1024)
        ((32, 32, 1), True)
    """
    if size < 16:
        raise ValueError(f"ct2d needs a size of 16 pixels or more, got {size}")
    rng = generator("ct2d", seed, index)
    chest = draw_chest(rng)
    along = ((np.arange(FINE * size) + 0.5) / (FINE * size) * 2 - 1).astype(np.float32)
    organ, cortex = organ_map(chest, *np.meshgrid(along, along))
    fine = np.where(cortex, chest.cortex, chest.hu[organ])
    hu = fine.reshape(size, FINE, size, FINE).mean((1, 3))
    hu = ndimage.gaussian_filter(hu, 0.4 * size / 64)
    tissue = organ[FINE // 2 :: FINE, FINE // 2 :: FINE]
    amount = ndimage.gaussian_filter(np.array([0, 6, 6, 25, 6, 6, 0.0])[tissue], 0.5 * size / 64)
    hu = np.maximum(hu + amount * smooth_field(rng, size, size / 48), -1024)
    return {
        "image": hu.astype(np.float32)[..., None],
        "tissue": tissue,
        "mask": (tissue == 3).astype(np.uint8),
    }
