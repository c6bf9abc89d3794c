"""Phantoms `brain2d`, a slice in three contrasts; `brain_classes`, one of four; `brain_tissues`, with its tissues."""

import functools
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.ellipse import Ellipse, ellipse_distance, outline
from jaxgen.data.phantoms.texture import generator, pixel_grid

CONTRASTS = {
    "t1": (0.0, 0.25, 0.55, 0.80),
    "t2": (0.0, 0.95, 0.60, 0.42),
    "t1b": (0.0, 0.18, 0.62, 0.78),
}
"""Intensity of background, cerebrospinal fluid, grey and white matter; ``t1b`` is T1 on another scanner."""

TISSUES = ("background", "cerebrospinal fluid", "grey matter", "white matter")
"""The name of each number in ``tissue``."""


class Lesion(NamedTuple):
    """A kind of lesion: an ellipse whose area is that of a disc of a drawn radius.

    Attributes:
        value: what is added to the tissue ("bright"), or what replaces it (`constant`).
        radius: the least and the largest, in pixels of an image of 64.
        constant: whether `value` replaces the tissue.

    Example:
        >>> LESIONS["L1"].of_radius(12)
        Lesion(value=0.3, radius=(12, 12), constant=False)
    """

    value: float
    radius: tuple[float, float]
    constant: bool = False

    def of_radius(self, radius: float) -> "Lesion":
        """The same kind of lesion, all of one radius; up to 12 there is room for it in every head."""
        return self._replace(radius=(radius, radius))


LESIONS = {
    "L1": Lesion(0.3, (3, 8)),
    "L2": Lesion(0.15, (3, 8)),
    "L3": Lesion(0.3, (1.5, 2.5)),
    "L4": Lesion(0.6, (3, 8), constant=True),
}
"""Bright, faint, small; and one with the intensity of grey matter in T2, which no threshold can find."""

CLASS_NAMES = ("healthy", "bright lesion", "dark lesion", "enlarged ventricles")
"""The names of the classes of `brain_classes`."""

DARK = Lesion(0.25, (3, 8), constant=True)
"""As dark in T1 as cerebrospinal fluid."""


class Head(NamedTuple):
    """The drawn shape of one head; coordinates run from -1 to 1 over the image, before shift and rotation.

    Attributes:
        shift: ``(row, column)`` in pixels.
        rotation: in radians.
        axes: semi-axes along columns and rows.
        outer: Fourier coefficients of the outer radius: 1 + Re sum_k c_k e^(i k phi), k = 0 ... 5.
        inner: those of the boundary of grey and white matter, k = 0 ... 15.
        ventricle: column of its centre, and the factor of its semi-axes 0.07 and 0.26.
        deep: column of the centre of the deep grey matter, of semi-axes 0.10 and 0.17.
    """

    shift: np.ndarray
    rotation: float
    axes: tuple[float, float]
    outer: np.ndarray
    inner: np.ndarray
    ventricle: tuple[float, float]
    deep: float


def draw_head(rng: np.random.Generator, size: int) -> Head:
    """Draw the shape of a head.

    Args:
        rng: the random numbers.
        size: side of the image in pixels.

    Returns:
        The shape.

    Example:
        >>> 0.66 <= draw_head(generator("brain2d", 0, 0), 64).axes[0] <= 0.76
        True
    """
    shift, rotation = rng.normal(0, 0.015 * size, 2), rng.normal(0, 0.08)
    axes = (rng.uniform(0.66, 0.76), rng.uniform(0.82, 0.92))
    outer, inner = np.zeros(6, complex), np.zeros(16, complex)
    outer[0], inner[0] = 1, rng.uniform(0.74, 0.80)
    outer[2:] = rng.normal(0, 0.012, 4) * np.exp(1j * rng.uniform(0, 2 * np.pi, 4))
    inner[6:] = rng.normal(0, 0.035, 10) * np.exp(1j * rng.uniform(0, 2 * np.pi, 10))
    ventricle = (rng.uniform(0.14, 0.18), rng.uniform(0.8, 1.3))
    return Head(shift, rotation, axes, outer, inner, ventricle, rng.uniform(0.30, 0.36))


def tissue_map(head: Head, size: int) -> np.ndarray:
    """The tissue of each pixel.

    Args:
        head: its shape.
        size: side of the image in pixels.

    Returns:
        uint8 ``[size, size]``: 0 background, 1 cerebrospinal fluid, 2 grey matter, 3 white matter.

    Example:
        >>> np.unique(tissue_map(draw_head(generator("brain2d", 0, 0), 64), 64)).tolist()
        [0, 1, 2, 3]
    """
    x, y = _own_frame(head, pixel_grid(size), size)
    radius, outer, inner = _radii(head, x, y)
    tissue = np.where(radius < inner, 3, 2)
    tissue[radius > outer - 0.06] = 1
    (at, scale), side = head.ventricle, np.abs(x)
    tissue[((side - head.deep) / 0.10) ** 2 + (y / 0.17) ** 2 < 1] = 2
    tissue[((side - at) / (0.07 * scale)) ** 2 + (y / (0.26 * scale)) ** 2 < 1] = 1
    tissue[radius >= outer] = 0
    return tissue.astype(np.uint8)


def place_lesion(rng: np.random.Generator, head: Head, lesion: Lesion, size: int) -> Ellipse:
    """Draw where a lesion is: its centre uniform within 0.8 of the head, all of it inside the head.

    Args:
        rng: the random numbers.
        head: where it is put.
        lesion: its kind.
        size: side of the image in pixels.

    Returns:
        Its outline, in pixels.

    Example:
        >>> rng = generator("brain2d", 0, 0)
        >>> spot = place_lesion(rng, draw_head(rng, 64), LESIONS["L1"], 64)
        >>> bool(9 <= spot.axes[0] * spot.axes[1] <= 64)
        True
    """
    radius, ratio = rng.uniform(*lesion.radius) * size / 64, np.sqrt(rng.uniform(0.6, 1.0))
    spot = Ellipse((0.0, 0.0), (radius / ratio, radius * ratio), rng.uniform(0, np.pi))
    for _ in range(100):
        distance, angle = 0.8 * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        place = np.array([head.axes[1] * distance * np.sin(angle), head.axes[0] * distance * np.cos(angle)])
        row, column = _rotate(place, -head.rotation) * size / 2 + (size - 1) / 2 + head.shift
        spot = spot._replace(centre=(float(row), float(column)))
        reach, outer, _ = _radii(head, *_own_frame(head, outline(spot, 64), size))
        if (reach < outer).all():
            break
    return spot


def brain2d(
    seed: int, index: int, size: int = 64, *, contrast: str = "t1", lesion: Lesion | None = None
) -> dict[str, np.ndarray]:
    """An axial brain slice in three contrasts, with its tissues; and, with a lesion, its healthy twin.

    The head is an ellipse with a wavy outline; within it lie a rim of cerebrospinal fluid, grey matter with gyri, white
    matter, two ventricles and two deep grey nuclei (`Head`). The intensity of a tissue is that of `CONTRASTS` plus
    N(0, 0.015) for each subject. The map is blurred with 0.6 pixels; the lesion is put in with an edge blurred with 0.7
    (both at 64 pixels, in proportion at others); times a bias field within 1 +- 0.06, plus texture of standard
    deviation 0.02 (both shared by the contrasts), plus white noise of standard deviation 0.01; 0 outside the head.

    The twin without the lesion has the same noise: it is equal to the image wherever ``lesion`` is 0.

    Args:
        seed: of the set.
        index: of the example; the same subject with any lesion or contrast.
        size: side of the image in pixels, 16 or more.
        contrast: which of `CONTRASTS` is ``image``.
        lesion: one of `LESIONS`, or None. It changes all contrasts alike. ``LESIONS["L1"].of_radius(8)`` is of one
            size.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1; ``t1``, ``t2`` and ``t1b``, the contrasts; ``healthy``, the
        twin of ``image``; ``tissue [size, size]`` uint8, see `TISSUES`; ``mask [size, size]`` uint8 of the lesion and
        ``sdf`` float32, the exact signed distance to its outline in pixels, negative inside, the image's diagonal
        where there is none; ``lesion`` float32, how much of a pixel it takes; ``levels [3, 4]`` float32, the subject's
        intensities.

    Raises:
        ValueError: if `size` is below 16, or the contrast is unknown.

    Example:
        >>> example = brain2d(0, 0, size=32, lesion=LESIONS["L1"])
        >>> same = (example["image"] == example["healthy"])[..., 0]
        >>> example["image"].shape, bool((same | (example["lesion"] > 0)).all())
        ((32, 32, 1), True)
    """
    if size < 16 or contrast not in CONTRASTS:
        raise ValueError(f"brain2d needs a size of 16 or more and one of {', '.join(CONTRASTS)}; {size}, {contrast!r}")
    rng = generator("brain2d", seed, index)
    head = draw_head(rng, size)
    spot = None if lesion is None else place_lesion(generator("brain2d lesion", seed, index), head, lesion, size)
    example = _draw(rng, head, head, spot, lesion, size, contrast, tuple(CONTRASTS))
    far = np.full((size, size), np.sqrt(2) * size)
    sdf = (far if spot is None else ellipse_distance(spot, pixel_grid(size))).astype(np.float32)
    return example | {"mask": (sdf <= 0).astype(np.uint8), "sdf": sdf}


def brain_tissues(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """A healthy T1 slice of `brain2d` with its tissues as the mask, of subjects of its own.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image [size, size, 1]`` float32 and ``mask [size, size]`` uint8, see `TISSUES`.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> np.unique(brain_tissues(0, 0, size=32)["mask"]).tolist()
        [0, 1, 2, 3]
    """
    if size < 16:
        raise ValueError(f"brain_tissues needs a size of 16 pixels or more, got {size}")
    rng = generator("brain_tissues", seed, index)
    head = draw_head(rng, size)
    example = _draw(rng, head, head, None, None, size, "t1", ())
    return {"image": example["image"], "mask": example["tissue"]}


def brain_classes(seed: int, index: int, size: int = 64) -> dict[str, np.ndarray]:
    """One of four classes of T1 brain slices: healthy, bright lesion, dark lesion, enlarged ventricles.

    The class is ``index % 4``. The bright lesion is `LESIONS` L1; the dark one is as dark as cerebrospinal fluid;
    enlarged ventricles are 1.7 to 2.2 times the common size, where others are 0.8 to 1.3 times. ``healthy`` is the
    same subject without the disease.

    Args:
        seed: of the set.
        index: of the example.
        size: side of the image in pixels, 16 or more.

    Returns:
        ``image``, ``healthy``, ``tissue``, ``mask`` and ``lesion`` as of `brain2d`, and ``label`` int32, the number of
        the class in `CLASS_NAMES`.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> [int(brain_classes(0, i, size=16)["label"]) for i in range(5)]
        [0, 1, 2, 3, 0]
    """
    if size < 16:
        raise ValueError(f"brain_classes needs a size of 16 pixels or more, got {size}")
    rng, disease = generator("brain_classes", seed, index), generator("brain_classes disease", seed, index)
    label, twin = index % 4, draw_head(rng, size)
    head, spot, lesion = twin, None, (None, LESIONS["L1"], DARK, None)[label]
    if lesion is not None:
        spot = place_lesion(disease, twin, lesion, size)
    if label == 3:
        head = twin._replace(ventricle=(twin.ventricle[0], disease.uniform(1.7, 2.2)))
    example = _draw(rng, head, twin, spot, lesion, size, "t1", ())
    return {key: example[key] for key in ("image", "healthy", "tissue", "mask", "lesion")} | {
        "label": np.asarray(label, np.int32)
    }


def _draw(
    rng: np.random.Generator,
    head: Head,
    twin: Head,
    spot: Ellipse | None,
    lesion: Lesion | None,
    size: int,
    contrast: str,
    others: tuple[str, ...],
) -> dict[str, np.ndarray]:
    table = np.array(list(CONTRASTS.values()))
    levels = table + (table > 0) * rng.normal(0, 0.015, table.shape)
    bias = _field(rng, size, size / 4)
    bias = 1 + 0.06 * bias / np.abs(bias).max()
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 32)
    texture *= 0.02 / texture.std()
    noise = dict(zip(CONTRASTS, 0.01 * rng.standard_normal((len(table), size, size)), strict=True))
    tissue = tissue_map(head, size)
    coverage = np.zeros((size, size)) if spot is None else _coverage(spot, size)
    weight = ndimage.gaussian_filter(coverage, 0.7 * size / 64) if spot is not None else coverage

    def render(name: str, labels: np.ndarray, diseased: bool) -> np.ndarray:
        clean = ndimage.gaussian_filter(levels[list(CONTRASTS).index(name)][labels], 0.6 * size / 64)
        if diseased and lesion is not None:
            clean += weight * (lesion.value - clean if lesion.constant else lesion.value)
        return ((clean * bias + texture + noise[name]) * (labels > 0)).astype(np.float32)[..., None]

    pictures = {name: render(name, tissue, True) for name in {contrast, *others}}
    healthy = pictures[contrast]
    if spot is not None or head is not twin:
        healthy = render(contrast, tissue if head is twin else tissue_map(twin, size), False)
    return {
        "image": pictures[contrast],
        **{name: pictures[name] for name in others},
        "healthy": healthy,
        "tissue": tissue,
        "mask": (coverage >= 0.5).astype(np.uint8),
        "lesion": weight.astype(np.float32),
        "levels": levels.astype(np.float32),
    }


def _coverage(spot: Ellipse, size: int) -> np.ndarray:
    """How much of each pixel an ellipse covers, looking only where it may be."""
    row, column = (slice(max(0, int(c - spot.axes[0]) - 1), min(size, int(c + spot.axes[0]) + 3)) for c in spot.centre)
    covered = np.zeros((size, size))
    covered[row, column] = np.clip(0.5 - ellipse_distance(spot, pixel_grid(size)[row, column]), 0, 1)
    return covered


def _rotate(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def _own_frame(head: Head, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (row, column) -> (x, y) of the head, from -1 to 1."""
    own = _rotate((points - (size - 1) / 2 - head.shift) / (size / 2), head.rotation)
    return own[..., 1], own[..., 0]


def _radii(head: Head, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elliptical radius of points, and in their directions that of the head and that of the white matter."""
    z = x / head.axes[0] + 1j * y / head.axes[1]
    radius = np.abs(z)
    z = z / np.maximum(radius, 1e-9)
    return radius, np.polyval(head.outer[::-1], z).real, np.polyval(head.inner[::-1], z).real


def _field(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """As `smooth_field`, from noise on a coarse grid of `scale / 4`: by eye the same, at much less work."""
    across = _interpolation(size, scale)
    return across @ rng.standard_normal((across.shape[1],) * 2) @ across.T


@functools.lru_cache(maxsize=16)
def _interpolation(size: int, scale: float) -> np.ndarray:
    step = scale / 4
    nodes = np.arange(-3 * scale, size + 3 * scale, step)
    return np.exp(-0.5 * ((np.arange(size)[:, None] - nodes) / scale) ** 2) * step / scale
