"""Phantom `cxr2d`: a frontal chest radiograph of a person with a code, at a visit, with findings.

As radiographs are read, the patient's right lies on the left of the image. Coordinates run from -1 to 1 over the image,
x to the right and y down; ``across`` is the distance from the midline, positive on the side in question.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.texture import generator

FINDINGS = ("effusion", "cardiomegaly", "nodule", "pneumothorax", "opacity")
"""The names of the columns of ``labels``; an image without any of them is normal."""
SIDES = ("right", "left")
"""Of the patient; the right one is on the left of the image."""
SIZES = {"small": (0.17, 0.25), "moderate": (0.35, 0.45), "large": (0.55, 0.65)}
"""The height of the fluid of an effusion, in heights of a lung."""
ZONES = {"upper": -0.42, "middle": -0.05, "lower": 0.26}
"""The height of the centre of a nodule or an opacity."""
CODE = 12
"""Numbers in the code of a person."""
NORMAL_HEART, LARGE_HEART = (0.40, 0.47), (0.55, 0.62)
"""The cardiothoracic ratio without and with cardiomegaly."""
WALL = 0.09
"""Thickness of the chest wall."""

AIR, TISSUE, LUNG, HEART, FLUID, FREE_AIR = 0.03, 0.62, 0.23, 0.72, 0.74, 0.06
RIB, CLAVICLE, NODULE, OPACITY = 0.05, 0.09, 0.32, 0.20
FINE = 2
"""Points a pixel along each axis."""
NOISE = 0.015
"""Standard deviation of the noise of a pixel."""


class Finding(NamedTuple):
    """One thing that is to be seen in a radiograph.

    Attributes:
        name: one of `FINDINGS`.
        side: of the patient, one of `SIDES`; empty for the heart.
        size: one of `SIZES`, of effusions; empty for others.
        zone: one of `ZONES`, of nodules and opacities; empty for others.
    """

    name: str
    side: str = ""
    size: str = ""
    zone: str = ""


class Person(NamedTuple):
    """The anatomy that a code stands for.

    Attributes:
        width: half the inner width of the chest.
        apex: the height of the top of the lungs.
        base: that of the angles between ribs and diaphragm.
        dome: how far the diaphragm rises above them.
        raised: how much higher it is on the right.
        mediastinum: half its width.
        share: of the heart's width, to the left of the midline.
        ratio: the cardiothoracic ratio without cardiomegaly.
        heart: the height of the heart's centre.
        slope: of the ribs.
        ribs: the height of the first one.
        clavicle: the slope of the clavicles.
    """

    width: float
    apex: float
    base: float
    dome: float
    raised: float
    mediastinum: float
    share: float
    ratio: float
    heart: float
    slope: float
    ribs: float
    clavicle: float


MIDDLE = Person(0.74, -0.72, 0.62, 0.16, 0.03, 0.13, 0.62, np.mean(NORMAL_HEART).item(), 0.28, 0.28, -0.52, 0.18)
"""The person whose code is 0."""
REACH = Person(0.04, 0.03, 0.03, 0.03, 0.015, 0.02, 0.03, np.ptp(NORMAL_HEART).item() / 2, 0.03, 0.1, 0.05, 0.08)
"""What a number of the code, from -1 to 1, is multiplied with."""


class Visit(NamedTuple):
    """How a person stands before the detector.

    Attributes:
        shift: ``(x, y)``.
        turn: in radians.
        scale: of the whole body.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    scale: float = 1.0


def person_of(code: np.ndarray) -> Person:
    """The anatomy of a code ``[12]`` with entries from -1 to 1.

    Example:
        >>> person_of(np.zeros(12)).width, round(person_of(np.ones(12)).width, 2)
        (0.74, 0.78)
    """
    return Person(*(float(m + r * c) for m, r, c in zip(MIDDLE, REACH, code, strict=True)))


def draw_findings(rng: np.random.Generator) -> tuple[Finding, ...]:
    """Draw what is to be seen: nothing in a fifth of the images, else up to three findings, at most one in each lung.

    An enlarged heart hides what is low on the left, and fluid hides its border: with it effusions are small and on the
    right, and nodules on the left are not in the lower zone.

    Args:
        rng: the random numbers.

    Returns:
        The findings, an effusion or what else is in the lungs first.

    Example:
        >>> from jaxgen.data.phantoms.texture import generator
        >>> [finding.name for finding in draw_findings(generator("cxr2d", 0, 0))]
        ['cardiomegaly']
    """
    if rng.uniform() < 0.2:
        return ()
    large_heart = rng.uniform() < 0.3
    lungs = int(rng.choice(3, p=(0.35, 0.5, 0.15) if large_heart else (0, 0.75, 0.25)))
    found = []
    for side in rng.permutation(SIDES)[:lungs].tolist():
        kinds = ["nodule", "pneumothorax", "opacity"] + ([] if large_heart and side == "left" else ["effusion"])
        kind = kinds[rng.integers(len(kinds))]
        size = zone = ""
        if kind == "effusion":
            size = "small" if large_heart else list(SIZES)[rng.integers(3)]
        elif kind in ("nodule", "opacity"):
            lower = kind == "nodule" and not (large_heart and side == "left")
            zone = list(ZONES)[rng.integers(3 if lower else 2)]
        found.append(Finding(kind, side, size, zone))
    found.sort(key=lambda finding: FINDINGS.index(finding.name))
    return (*found, Finding("cardiomegaly")) if large_heart else tuple(found)


def findings_of(seed: int, index: int) -> tuple[Finding, ...]:
    """The findings of an example of `cxr2d`.

    Example:
        >>> names = {finding.name for i in range(40) for finding in findings_of(0, i)}
        >>> sorted(names) == sorted(FINDINGS)
        True
    """
    return draw_findings(generator("cxr2d findings", seed, index))


def cxr2d(
    seed: int, index: int, size: int = 64, *, visit: int = 0, findings: tuple[Finding, ...] | None = None
) -> dict[str, np.ndarray]:
    """A frontal chest radiograph: chest wall, two lungs, heart, ten ribs, clavicles, diaphragm; and findings.

    Each person has a code of twelve numbers, uniform in [-1, 1]; a visit moves, turns and scales the body a little and
    has its own noise. Levels are those of a drawing, 0 for air outside and 1 for white. Fluid rises to the walls, a
    nodule and an opacity lie over a lung, air round a collapsed lung is darker than the lung, and an enlarged heart has
    a cardiothoracic ratio of 0.55 to 0.62 (0.40 to 0.47 without). `jaxgen.data.phantoms.radiograph` measures all of
    this in an image.

    Args:
        seed: of the set.
        index: of the person.
        size: side of the image in pixels, 16 or more.
        visit: 0 for the first; the code stays, and so do the findings.
        findings: what is to be seen; None draws it.

    Returns:
        ``image [size, size, 1]`` float32, about 0 to 1; ``mask [size, size]`` uint8, where findings in the lungs are;
        ``tissue [size, size]`` uint8, 0 outside, 1 body, 2 lung, 3 heart; ``labels [5]`` int32, see `FINDINGS`;
        ``code [12]`` float32; ``ratio`` float32, heart by chest; ``fluid [2]`` float32, its height on the right and on
        the left in heights of a lung.

    Raises:
        ValueError: if `size` is below 16.

    Example:
        >>> example = cxr2d(0, 0, size=32, findings=(Finding("effusion", "left", "large"),))
        >>> example["labels"].tolist(), bool(example["fluid"][1] > 0.5)
        ([1, 0, 0, 0, 0], True)
    """
    if size < 16:
        raise ValueError(f"cxr2d needs a size of 16 pixels or more, got {size}")
    code = generator("cxr2d code", seed, index).uniform(-1, 1, CODE)
    found = findings_of(seed, index) if findings is None else findings
    # The same draws whatever the findings, so that images with and without one differ in nothing else.
    detail = generator("cxr2d detail", seed, index).uniform(size=(3, 5))
    rng = generator(f"cxr2d visit {visit}", seed, index)
    stand = Visit(tuple(rng.uniform(-0.012, 0.012, 2)), rng.uniform(-0.015, 0.015), rng.uniform(0.988, 1.012))
    drawn = draw_body(person_of(code), found, detail, *body_grid(stand, size))
    image = to_pixels(drawn.image, size) + NOISE * rng.normal(size=(size, size))
    return {
        "image": image.astype(np.float32)[..., None],
        "mask": drawn.mask[FINE // 2 :: FINE, FINE // 2 :: FINE],
        "tissue": drawn.tissue[FINE // 2 :: FINE, FINE // 2 :: FINE],
        "labels": np.array([any(f.name == name for f in found) for name in FINDINGS], np.int32),
        "code": code.astype(np.float32),
        "ratio": np.asarray(drawn.ratio, np.float32),
        "fluid": np.array(drawn.fluid, np.float32),
    }


class Drawn(NamedTuple):
    """A body at the points of `body_grid`.

    Attributes:
        image: its levels.
        mask: where findings in the lungs are.
        tissue: 0 outside, 1 body, 2 lung, 3 heart.
        ratio: the cardiothoracic ratio.
        fluid: its height on the right and on the left.
    """

    image: np.ndarray
    mask: np.ndarray
    tissue: np.ndarray
    ratio: float
    fluid: tuple[float, ...]


def body_grid(visit: Visit, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y in the body of `FINE` points a pixel along each axis.

    Example:
        >>> body_grid(Visit(shift=(0.5, 0.0)), 2)[0][0].tolist()
        [-1.25, -0.75, -0.25, 0.25]
    """
    along = (np.arange(FINE * size) + 0.5) / (FINE * size) * 2 - 1
    x, y = np.meshgrid(along, along)
    c, s = np.cos(visit.turn), np.sin(visit.turn)
    x, y = (x - visit.shift[0]) / visit.scale, (y - visit.shift[1]) / visit.scale
    return c * x + s * y, c * y - s * x


def to_pixels(image: np.ndarray, size: int) -> np.ndarray:
    """The levels at the points of `body_grid` as pixels ``[size, size]``, blurred as by a detector.

    Example:
        >>> to_pixels(np.ones((8, 8)), 4).round(6).tolist()[0]
        [1.0, 1.0, 1.0, 1.0]
    """
    coarse = image.reshape(size, FINE, size, FINE).mean((1, 3))
    return ndimage.gaussian_filter(coarse, 0.5 * size / 64)


def lung_edge(person: Person, y: np.ndarray) -> np.ndarray:
    """How far the lungs reach from the midline at a height.

    Example:
        >>> lung_edge(MIDDLE, np.array([-0.72, 0.5])).round(2).tolist()
        [0.0, 0.74]
    """
    above = np.clip((0.25 - y) / (0.25 - person.apex), 0, 1)
    return person.width * (1 - above**2.6) ** (1 / 2.6)


def draw_body(person: Person, found: tuple[Finding, ...], detail: np.ndarray, x: np.ndarray, y: np.ndarray) -> Drawn:
    """All of the image at the points; `detail` ``[3, 5]`` are the drawn places and sizes, by side and for the heart.

    Example:
        >>> drawn = draw_body(MIDDLE, (), np.zeros((3, 5)), *body_grid(Visit(), 16))
        >>> sorted(np.unique(drawn.tissue).tolist()), drawn.mask.any().item()
        ([0, 1, 2, 3], False)
    """
    edge = lung_edge(person, y)
    out = person.width + WALL + 0.16 / (1 + np.exp((y + 0.52) / 0.05))  # the shoulders
    body = (np.abs(x) < out) & (y > -0.97 + 0.55 * np.maximum(np.abs(x) - 0.28, 0) ** 1.3)
    image = np.where(body, TISSUE - 0.12 * np.clip((np.abs(x) - edge) / 0.1, 0, 1), AIR)
    tissue = body.astype(np.uint8)
    mask = np.zeros(x.shape, bool)
    fluid = []
    for k, side in enumerate(SIDES):
        across = (-1, 1)[k] * x
        middle = 0.56 * person.width
        rise = person.dome * (1 - ((across - middle) / (person.width - middle)) ** 2)
        floor = person.base - rise - (person.raised if side == "right" else 0) * (rise > 0)
        lung = (across > person.mediastinum) & (across < edge) & (y < floor)
        image[lung], tissue[lung] = LUNG, 2
        hilum = np.exp(-((across - 0.19) ** 2 + (y + 0.02) ** 2) / 0.012)
        image += lung * (0.12 * hilum + RIB * _ribs(person, across, y))
        of_side = [finding for finding in found if finding.side == side]
        height, marked = _lung_findings(person, of_side, detail[k], across, y, edge, image, lung)
        fluid.append(height)
        mask |= marked
    ratio = person.ratio
    if any(finding.name == "cardiomegaly" for finding in found):
        ratio = LARGE_HEART[0] + np.ptp(LARGE_HEART) * detail[2, 0]
    half = ratio * person.width
    centre = (2 * person.share - 1) * half
    heart = ((x - centre) / half) ** 2 + ((y - person.heart) / 0.26) ** 2 < 1
    free = heart & ~(mask & (image >= FLUID))
    image[free] = HEART
    tissue[heart] = 3
    line = np.abs(y - (person.apex + 0.10 - person.clavicle * (np.abs(x) - 0.1)))
    image += (CLAVICLE * body * (np.abs(x) > 0.08) * (np.abs(x) < 0.8)) * np.clip(1.5 - line / 0.025, 0, 1)
    return Drawn(image, mask.astype(np.uint8), tissue, float(ratio), tuple(fluid))


def _ribs(person: Person, across: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five arcs a side, from 0 to 1."""
    bent = y - person.slope * (across - 0.1) - 0.35 * (across - 0.1) ** 2
    phase = (bent - person.ribs) / 0.21
    near = np.abs(phase - np.clip(np.round(phase), 0, 4)) * 0.21
    return np.clip(1.6 - near / 0.025, 0, 1)


def _lung_findings(
    person: Person,
    found: list[Finding],
    detail: np.ndarray,
    across: np.ndarray,
    y: np.ndarray,
    edge: np.ndarray,
    image: np.ndarray,
    lung: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Draw the findings of one lung into the image: the height of fluid, and where the findings are."""
    width, height, marked = person.width, 0.0, np.zeros(across.shape, bool)
    for finding in found:
        if finding.name == "effusion":
            low, high = SIZES[finding.size]
            height = low + (high - low) * detail[0]
            tilt = 0.1 * (across / width - 0.75) + 0.06 * np.exp(-np.maximum(edge - across, 0) / 0.05)
            level = person.base - height * (person.base - person.apex) - tilt
            here = lung & (y > level)
            image[here] = FLUID
        elif finding.name == "pneumothorax":
            gap = (0.24 + 0.1 * detail[1]) * np.clip(1 - (y - person.apex) / 1.15, 0, 1)
            depth = np.minimum(edge - across, 0.9 * (y - person.apex))
            here = lung & (depth < gap)
            image[here] -= LUNG - FREE_AIR
            image += 0.1 * lung * np.clip(1 - np.abs(depth - gap) / 0.02, 0, 1)
        else:
            nodule = finding.name == "nodule"
            share = 0.78 if finding.zone == "lower" else 0.55 if finding.zone == "middle" else 0.47
            at = width * share + (0.02 if nodule else 0.03) * (2 * detail[2] - 1)
            level = ZONES[finding.zone] + (0.05 if nodule else 0.04) * (2 * detail[3] - 1)
            radius = 0.075 + 0.02 * detail[4] if nodule else 0.18 + 0.05 * detail[4]
            distance = np.hypot(across - at, y - level)
            inside = np.clip((radius - distance) / (0.03 if nodule else 0.1) + 0.5, 0, 1)
            here = lung & (inside > 0.5)
            image += lung * (NODULE if nodule else OPACITY) * inside
        marked |= here
    return height, marked
