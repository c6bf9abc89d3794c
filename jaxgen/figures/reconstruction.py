"""Reconstructions of one situation in rows."""

from collections.abc import Mapping

import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import rows as rows_of
from jaxgen.medical.reconstruction.cases import Case


def compared_images(case: Case, pictures: Mapping[str, np.ndarray]) -> Figure:
    """At most 8 of the images, spread evenly; white in the truth where images are not compared."""
    n, (black, white) = len(case.truth), case.window
    picked = np.unique(np.linspace(0, n - 1, min(8, n)).round().astype(int))
    rows = {"truth": np.where(case.left_out, white, case.truth), **pictures}
    shown = {
        label: 2 * np.clip(x[picked] if label.endswith(", sd") else (x[picked] - black) / (white - black), 0, 1) - 1
        for label, x in rows.items()
    }
    samplers = any(label.endswith(", sd") for label in rows)
    more = "; of samplers one sample, and the standard deviation of several" if samplers else ""
    return rows_of(shown, f"Test slices, {case.label}{more}.")
