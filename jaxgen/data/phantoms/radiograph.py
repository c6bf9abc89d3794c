"""What is to be seen in a radiograph of `cxr2d`, measured in the image alone: no network, no truth.

Everything is a threshold, a border or a contrast at a place of the chest, so it holds for images of that phantom, or of
a model trained on them: of values from 0 to 1 as `cxr2d` draws them, at any size from 32 pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxgen.data.phantoms.chest_xray import MIDDLE, SIDES, WALL, ZONES, Finding

BRIGHT = 0.54
"""Fluid, heart and abdomen are brighter, an opacity is not."""
LEAST_FLUID, MODERATE, LARGE = 0.15, 0.32, 0.51
"""Heights of fluid, in heights of a lung, from which it is an effusion, a moderate one, a large one."""
LARGE_HEART = 0.51
"""The cardiothoracic ratio from which a heart is enlarged."""
FREE_AIR = 0.13
"""Darker than any lung."""
OPAQUE = (0.38, BRIGHT)
"""How bright an opacity is."""
SPOT = 0.15
"""The least contrast of a nodule with what is round it."""


class Measured(NamedTuple):
    """What is measured in one radiograph.

    Attributes:
        ratio: the width of the heart over that of the chest; NaN where fluid hides a border of the heart.
        fluid: ``[2]``, the height of fluid on the right and on the left, in heights of a lung; about 0.05 without any.
        nodule: ``[2, 3]``, for each side the contrast of the most likely nodule, and its place ``(x, y)``.
        air: ``[2]``, the level of the darkest part of each lung's upper half.
        haze: ``[2, 2]``, for each side the level of its upper and of its middle zone.
    """

    ratio: float
    fluid: np.ndarray
    nodule: np.ndarray
    air: np.ndarray
    haze: np.ndarray

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings that these measurements stand for."""
        found = []
        for k, side in enumerate(SIDES):
            wet = self.fluid[k] >= LEAST_FLUID
            if wet:
                size = "small" if self.fluid[k] < MODERATE else "moderate" if self.fluid[k] < LARGE else "large"
                found.append(Finding("effusion", side, size))
            if self.nodule[k, 0] >= SPOT:
                zone = min(ZONES, key=lambda name: abs(ZONES[name] - self.nodule[k, 2]))
                found.append(Finding("nodule", side, zone=zone))
            if self.air[k] < FREE_AIR:
                found.append(Finding("pneumothorax", side))
            top = int(np.argmax(self.haze[k]))
            if OPAQUE[0] <= self.haze[k, top] < OPAQUE[1] and self.fluid[k] < MODERATE:
                found.append(Finding("opacity", side, zone=("upper", "middle")[top]))
        return (*found, Finding("cardiomegaly")) if self.ratio >= LARGE_HEART else tuple(found)


def measure_radiograph(image: np.ndarray) -> Measured:
    """Measure one radiograph.

    Args:
        image: ``[size, size]`` or ``[size, size, 1]``, values as those of `cxr2d`.

    Returns:
        The measurements; `Measured.findings` says what they amount to.

    Example:
        >>> from jaxgen.data.phantoms.chest_xray import cxr2d
        >>> drawn = cxr2d(0, 0, findings=(Finding("nodule", "left", zone="upper"), Finding("cardiomegaly")))
        >>> [finding.name for finding in measure_radiograph(drawn["image"]).findings]
        ['nodule', 'cardiomegaly']
    """
    view = _View(np.asarray(image, np.float64).reshape(image.shape[:2]))
    width = view.width()
    fluid = np.array([view.fluid(k, width) for k in range(2)])
    return Measured(
        view.heart(fluid) / (2 * width),
        fluid,
        np.array([view.nodule(k) for k in range(2)]),
        np.array([view.air(k, width) for k in range(2)]),
        np.array([[view.haze(k, zone) for zone in ("upper", "middle")] for k in range(2)]),
    )


class _View:
    """An image with the patient's sides: 0 the right one, 1 the left."""

    def __init__(self, image: np.ndarray) -> None:
        self.size = len(image)
        self.image = ndimage.gaussian_filter(image, 0.5 * self.size / 64)

    def at(self, k: int, across: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The values at points, `across` from the midline on side k; by linear interpolation."""
        across, y = np.broadcast_arrays(np.asarray(across, float), np.asarray(y, float))
        places = [((v + 1) * self.size - 1) / 2 for v in (y, (-1, 1)[k] * across)]
        return ndimage.map_coordinates(self.image, places, order=1, mode="nearest")

    def width(self) -> float:
        """Half the inner width of the chest: from the outer border of the body, in the rows below the shoulders."""
        out, rows = np.linspace(0.5, 1, 101), np.linspace(-0.2, 0.5, 25)
        ends = []
        for k in range(2):
            inside = self.at(k, out[None], rows[:, None]) > 0.27
            ends.append(np.median(out[np.where(inside.any(1), len(out) - 1 - inside[:, ::-1].argmax(1), 0)]))
        return float(np.mean(ends) - WALL)

    def fluid(self, k: int, width: float) -> float:
        """The height of the lowest dark place next to the wall, in heights of a lung above its usual end."""
        rows = np.linspace(-0.3, 0.75, 106)
        strip = self.at(k, np.linspace(width - 0.12, width - 0.04, 5)[None], rows[:, None]).mean(1)
        dark = np.flatnonzero(strip < BRIGHT - 0.04)
        end = rows[dark[-1]] if len(dark) else rows[0]
        return float((MIDDLE.base - end) / (MIDDLE.base - MIDDLE.apex))

    def heart(self, fluid: np.ndarray) -> float:
        """The width of the heart: its borders are where the lungs begin, above any fluid."""
        across, reach = np.linspace(0.05, 0.8, 151), 0.0
        for k in range(2):
            lowest = min(0.34, MIDDLE.base - 0.05 - fluid[k] * (MIDDLE.base - MIDDLE.apex))
            rows = np.linspace(0.1, max(0.12, lowest), 20)
            dark = self.at(k, across[None], rows[:, None]) < BRIGHT
            border = np.where(dark.any(1), across[dark.argmax(1)], np.nan)
            if fluid[k] >= MODERATE or not np.isfinite(border).any():
                return float("nan")
            reach += float(np.nanmax(border))
        return reach

    def nodule(self, k: int) -> tuple[float, float, float]:
        """The largest contrast of a spot with a ring round it, of which a quarter may be as bright, and its place."""
        across, y = np.meshgrid(np.linspace(0.24, 0.66, 22), np.linspace(-0.58, 0.40, 50))
        small = ndimage.gaussian_filter(self.image, 0.8 * self.size / 64)
        blurred = _View.__new__(_View)
        blurred.size, blurred.image = self.size, small
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack([self.at(k, across + 0.16 * np.cos(a), y + 0.16 * np.sin(a)) for a in angle])
        contrast = blurred.at(k, across, y) - np.sort(ring, 0)[-4]
        best = np.unravel_index(int(np.argmax(contrast)), contrast.shape)
        return float(contrast[best]), float((-1, 1)[k] * across[best]), float(y[best])

    def air(self, k: int, width: float) -> float:
        """The mean over rows of the darkest place."""
        across, rows = np.linspace(0.45, 1, 23) * width, np.linspace(-0.45, -0.05, 17)
        return float(self.at(k, across[None], rows[:, None]).min(1).mean())

    def haze(self, k: int, zone: str) -> float:
        """The lower quartile of the values in a disc."""
        r, a = np.meshgrid(np.linspace(0.02, 0.13, 6), np.linspace(0, 2 * np.pi, 16, endpoint=False))
        centre = (0.47 if zone == "upper" else 0.55) * MIDDLE.width
        return float(np.quantile(self.at(k, centre + r * np.cos(a), ZONES[zone] + r * np.sin(a)), 0.25))
