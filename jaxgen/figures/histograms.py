"""Histograms of several sets in one figure."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import COLOURS


def histograms(values: Mapping[str, np.ndarray], caption: str, *, x: str, y: str = "images") -> Figure:
    """Histograms of several sets in one another, up to the 0.99 quantile.

    Args:
        values: ``[n]`` of each set.
        caption: of the figure.
        x: what the values are.
        y: what is counted.

    Returns:
        The figure.
    """
    canvas = Canvas(figsize=(6.4, 3.4), layout="constrained")
    axes = canvas.subplots()
    everything = np.concatenate(list(values.values()))
    edges = np.linspace(everything.min(), np.quantile(everything, 0.99), 60)
    for (name, of_one), colour in zip(values.items(), COLOURS, strict=False):
        axes.hist(np.clip(of_one, edges[0], edges[-1]), edges.tolist(), label=name, color=colour, alpha=0.6)
    axes.set(xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, caption)
