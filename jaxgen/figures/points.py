"""Figures of points in the plane: densities, points and trajectories, side by side."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from jaxgen.data.planar import PlanarSet
from jaxgen.figures.figure import Figure
from jaxgen.types import Array

LogDensity = Callable[[np.ndarray], np.ndarray | Array]
SHOWN, CELLS, WAYS = 4000, 120, 150
"""Points of a set, cells along one side of a density, and trajectories that are shown at most."""


def panels(
    known: PlanarSet,
    caption: str,
    *,
    densities: Mapping[str, LogDensity] = {},
    sets: Mapping[str, np.ndarray] = {},
    ways: Mapping[str, np.ndarray] = {},
) -> Figure:
    """Densities, points and trajectories in the plane, side by side.

    Args:
        known: the true distribution, whose density sets the scale of colours and whose extent that of points.
        caption: what to see.
        densities: log-densities ``points [n, 2] -> [n]`` by name; the true one is drawn before them.
        sets: points ``[n, 2]`` by name.
        ways: trajectories from noise to points ``[steps + 1, n, 2]`` by name.

    Returns:
        The `Figure`, with one panel for each.
    """
    fields = {"true density": known.log_prob, **densities} if densities else {}
    count = len(fields) + len(sets) + len(ways)
    canvas = Canvas(figsize=(2.8 * count, 3), layout="constrained")
    axes = iter(canvas.subplots(1, count, squeeze=False)[0])
    bounds = (-known.extent, known.extent)
    _densities(axes, fields, known, bounds)
    for name, points in sets.items():
        panel = next(axes)
        panel.scatter(*points[:SHOWN].T, s=1, alpha=0.4)
        panel.set(title=name, xlim=bounds, ylim=bounds, aspect="equal", xticks=[], yticks=[])
    for name, way in ways.items():
        panel, way = next(axes), way[:, :WAYS]
        panel.plot(way[..., 0], way[..., 1], color="#3b7dd8", linewidth=0.4, alpha=0.6)
        panel.scatter(*way[0].T, s=3, color="gray", zorder=2)
        panel.scatter(*way[-1].T, s=3, color="#e4572e", zorder=2)
        panel.set(title=name, aspect="equal", xticks=[], yticks=[])
    return Figure(canvas, caption)


def _densities(
    axes: Iterator[Axes], fields: Mapping[str, LogDensity], known: PlanarSet, bounds: tuple[float, float]
) -> None:
    line = np.linspace(*bounds, CELLS, dtype=np.float32)
    mesh = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    top = float(np.exp(known.log_prob(mesh)).max())
    for name, log_prob in fields.items():
        panel, picture = next(axes), np.exp(np.asarray(log_prob(mesh))).reshape(CELLS, CELLS)
        panel.imshow(picture, origin="lower", extent=bounds * 2, cmap="magma", vmin=0, vmax=top)
        panel.set(title=name, xticks=[], yticks=[])
