"""The figures of `trilemma`: a triangle of quality, speed and likelihood, and every point in the plane."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import COLOURS

CORNERS = ("quality", "speed", "likelihood")
ANGLES = np.pi / 2 + 2 * np.pi * np.arange(3) / 3


def standings(points: Mapping[str, tuple[float, float, float | None]]) -> dict[str, tuple[float, float, float]]:
    """Each point's place on the three axes, from 0.1 for the worst to 1 for the best; 0 for a missing likelihood.

    Args:
        points: Frechet distance, images per second, and bits per dimension or None. The first two by
            their logarithm.
    """
    table = np.array([[-np.log(f), np.log(s), np.nan if b is None else -b] for f, s, b in points.values()], float)
    known = np.isfinite(table)
    low = np.min(np.where(known, table, np.inf), 0)
    high = np.max(np.where(known, table, -np.inf), 0)
    spread = np.where(high > low, high - low, 1.0)
    share = np.where(high > low, 0.1 + 0.9 * (table - low) / spread, 1.0)
    rows = np.where(known, share, 0.0)
    return {name: (float(q), float(s), float(b)) for name, (q, s, b) in zip(points, rows, strict=True)}


def triangle(points: Mapping[str, tuple[float, float, float | None]], kinds: Mapping[str, str]) -> Figure:
    """The families as triangles: the further out at a corner, the better; `kinds` say what their likelihoods are."""
    columns = min(3, len(points))
    height = -(-len(points) // columns)
    canvas = Canvas(figsize=(2.9 * columns, 2.9 * height), layout="constrained")
    cells = canvas.subplots(height, columns, squeeze=False).ravel()
    rim = np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)
    for axes, (name, place), colour in zip(cells, standings(points).items(), COLOURS, strict=False):
        for scale in (1.0, 0.55, 0.1):
            axes.fill(*(scale * rim.T), fill=False, edgecolor="0.8", linewidth=0.8)
        axes.fill(*(np.array(place)[:, None] * rim).T, color=colour, alpha=0.35)
        axes.fill(*(np.array(place)[:, None] * rim).T, fill=False, edgecolor=colour, linewidth=1.5)
        frechet, speed, bits = points[name]
        notes = (f"{frechet:.3g}", f"{speed:.3g}/s", "none" if bits is None else f"{bits:.2f} bits, {kinds[name]}")
        for corner, (x, y), note in zip(CORNERS, 1.22 * rim, notes, strict=True):
            axes.text(x, y, f"{corner}\n{note}", ha="center", va="center", fontsize=7)
        axes.set(xlim=(-1.55, 1.55), ylim=(-1.05, 1.55), aspect="equal")
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    for axes in cells[len(points) :]:
        axes.axis("off")
    return Figure(
        canvas,
        "The trilemma: each family at its best point. Further out is better, from the worst of these families (inner "
        "triangle) to the best (outer): Frechet distance and images per second by their logarithm, bits per dimension "
        "as they are.",
    )


def against(points: Mapping[str, tuple[float, float]], levels: Mapping[str, float]) -> Figure:
    """Frechet distance against images per second; points of one family are joined."""
    canvas = Canvas(figsize=(7.5, 4.6), layout="constrained")
    axes = canvas.subplots()
    families: dict[str, list[tuple[str, float, float]]] = {}
    for label, (speed, frechet) in points.items():
        head, _, tail = label.partition(", ")
        family, note = (f"{head}, {tail.rpartition(' ')[0]}", tail.rpartition(" ")[2]) if tail else (head, "")
        families.setdefault(family, []).append((note, speed, frechet))
    for i, (family, rows) in enumerate(families.items()):
        rows = sorted(rows, key=lambda row: row[1])
        axes.plot([r[1] for r in rows], [r[2] for r in rows], "o-", color=COLOURS[i % len(COLOURS)], label=family, ms=4)
        for note, speed, frechet in rows:
            axes.annotate(note, (speed, frechet), fontsize=7, xytext=(3, 3), textcoords="offset points")
    for name, level in levels.items():
        axes.axhline(level, color="0.5", linestyle="--", linewidth=0.8)
        axes.annotate(name, (0.01, level), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="images per second, at the best batch", ylabel="Frechet distance")
    axes.legend(fontsize=7)
    return Figure(canvas, "Every way of sampling: quality against speed. Numbers are evaluations of the network.")
