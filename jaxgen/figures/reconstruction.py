"""Reconstructions of one situation in rows: images, or all planes of volumes."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import rows as rows_of
from jaxgen.figures.volumes import planes
from jaxgen.medical.reconstruction.cases import Case


def compared_images(case: Case, pictures: Mapping[str, np.ndarray]) -> Figure:
    """At most 8 of the images, spread evenly; white in the truth where images are not compared."""
    shown = _windowed(case, pictures, 8)
    return rows_of(shown, f"Test slices, {case.label}{_of_samplers(shown)}.")


def compared_planes(case: Case, pictures: Mapping[str, np.ndarray]) -> Figure:
    """The middle slices across each axis of at most 3 of the volumes, spread evenly."""
    shown = {
        label: [plane for x in some for plane in planes(x)] for label, some in _windowed(case, pictures, 3).items()
    }
    heads = [f"across {axis}" for axis in "xyz"] * 3
    return rows_of(shown, f"Test volumes, {case.label}{_of_samplers(shown)}.", heads=heads)


def _windowed(case: Case, pictures: Mapping[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    n, (black, white) = len(case.truth), case.window
    picked = np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(int))
    rows = {"truth": np.where(case.left_out, white, case.truth), **pictures}
    return {
        label: 2 * np.clip(x[picked] if label.endswith(", sd") else (x[picked] - black) / (white - black), 0, 1) - 1
        for label, x in rows.items()
    }


def _of_samplers(rows: Mapping[str, Sequence[np.ndarray] | np.ndarray]) -> str:
    samplers = any(label.endswith(", sd") for label in rows)
    return "; of samplers one sample, and the standard deviation of several" if samplers else ""
