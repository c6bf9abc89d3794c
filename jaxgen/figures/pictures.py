"""Pictures in rows, and curves next to them: the figures of the image-generation experiments."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from jaxgen.figures.figure import Figure

Images = np.ndarray | Sequence[np.ndarray]
COLOURS = ("#e4572e", "#3b7dd8", "#2ca02c", "#8e5ea2", "#c49a00", "#17a2b8", "#7f7f7f", "#d6279a")


def rows(pictures: Mapping[str, Images], caption: str, *, heads: Sequence[str] = ()) -> Figure:
    """One named row of images under the other."""
    columns = max(len(images) for images in pictures.values())
    canvas = Canvas(figsize=(columns * 1.05, len(pictures) * 1.05))
    axes = _table(canvas, list(pictures.values()), columns)
    for row, name in enumerate(pictures):
        axes.text(-0.05, row + 0.5, textwrap.fill(name, 18), fontsize=7, rotation=90, ha="right", va="center")
    for column, head in enumerate(heads[:columns]):
        axes.text(column + 0.5, -0.04, head, fontsize=7, ha="center", va="bottom")
    return Figure(canvas, caption)


def grid(images: Images, caption: str, *, columns: int = 10) -> Figure:
    """Images side by side, as many rows as it takes."""
    columns = min(columns, len(images))
    lines = [images[start : start + columns] for start in range(0, len(images), columns)]
    canvas = Canvas(figsize=(columns, len(lines)))
    _table(canvas, lines, columns)
    return Figure(canvas, caption)


def _table(canvas: Canvas, lines: Sequence[Images], columns: int) -> Axes:
    """Images ``[h, w, c]`` in [-1, 1] in cells of side 1; one channel is grey, three are colours.

    All of them on the same axes: axes of its own would take longer to lay out than the image to draw.
    """
    axes = canvas.add_axes((0, 0, 1, 1), xlim=(0, columns), ylim=(len(lines), 0), aspect="equal")
    axes.set_axis_off()
    frames = []
    for row, images in enumerate(lines):
        for column, picture in enumerate(images):
            picture = np.asarray(picture, np.float32)
            height, width = (0.94 * n / max(picture.shape[:2]) for n in picture.shape[:2])
            left, top = column + (1 - width) / 2, row + (1 - height) / 2
            colours = picture.shape[-1] >= 3
            drawn = AxesImage(
                axes, cmap="gray", interpolation="nearest", extent=(left, left + width, top + height, top)
            )
            drawn.set_data(np.clip((picture[..., :3] + 1) / 2, 0, 1) if colours else picture[..., 0])
            drawn.set_clim(-1, 1)
            axes.add_image(drawn)
            frames.append(Rectangle((left, top), width, height))
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor="black", linewidth=0.8), autolim=False)
    return axes


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    caption: str,
    *,
    x: str,
    y: str,
    logarithmic: str = "",
    levels: Mapping[str, float] | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Curves ``name -> (x, y)``; `logarithmic` names the axes that are ("x", "y" or "xy"), `levels` draws lines."""
    canvas = Canvas(figsize=(6.4, 3.8), layout="constrained")
    axes = canvas.subplots()
    for i, (name, (across, up)) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        style = "-" if i < len(COLOURS) else "--"
        axes.plot(across, up, "o" + style, color=colour, label=name, markersize=3.5, linewidth=1.3)
        for text, a, b in zip((notes or {}).get(name, ()), across, up, strict=False):
            axes.annotate(text, (a, b), fontsize=6, xytext=(3, 3), textcoords="offset points", color=colour)
    for name, level in (levels or {}).items():
        axes.axhline(level, linestyle=":", color="gray", linewidth=1)
        axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), fontsize=6, ha="right", va="bottom")
    if "x" in logarithmic:
        axes.set_xscale("log")
    if "y" in logarithmic:
        axes.set_yscale("log")
    axes.set(xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=6, ncols=2 if len(series) > 6 else 1)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, caption)
