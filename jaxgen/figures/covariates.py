"""Figures of covariates: those asked for against those measured."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import COLOURS


def asked_and_measured(names: Sequence[str], asked: np.ndarray, measured: np.ndarray) -> Figure:
    """A panel for each covariate: what samples were asked for, and what was measured on them.

    Args:
        names: of the covariates.
        asked: ``[n, k]``.
        measured: ``[n, k]``; what is no number is left out.

    Returns:
        The figure.
    """
    canvas = Canvas(figsize=(2.6 * len(names), 2.6), layout="constrained")
    for k, (panel, name) in enumerate(zip(canvas.subplots(1, len(names), squeeze=False)[0], names, strict=True)):
        ends = asked[:, k].min(), asked[:, k].max()
        panel.plot(ends, ends, color="0.6", linewidth=1)
        panel.scatter(asked[:, k], measured[:, k], s=6, color=COLOURS[k % len(COLOURS)])
        panel.set(title=name, xlabel="asked for", ylabel="measured" if k == 0 else "")
        panel.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Covariates that samples were asked for, and those measured on them; the line is equality.")
