"""Pictures in rows, and curves next to them: the figures of the image-generation experiments."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from jaxgen.figures.figure import Figure

Images = np.ndarray | Sequence[np.ndarray]
COLOURS = ("#e4572e", "#3b7dd8", "#2ca02c", "#8e5ea2", "#c49a00", "#17a2b8", "#7f7f7f", "#d6279a")


def show(
    axes: Axes, picture: np.ndarray, title: str = "", limits: tuple[float, float] = (-1, 1), cmap: str = "gray"
) -> None:
    """One image ``[h, w, c]`` in [-1, 1]; one channel is grey, three are colours."""
    picture = np.asarray(picture, np.float32)
    if picture.shape[-1] >= 3:
        axes.imshow(np.clip((picture[..., :3] + 1) / 2, 0, 1), interpolation="nearest")
    else:
        axes.imshow(picture[..., 0], cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize=7)


def rows(pictures: Mapping[str, Images], caption: str, *, heads: Sequence[str] = ()) -> Figure:
    """One named row of images under the other."""
    columns = max(len(images) for images in pictures.values())
    canvas = Canvas(
        figsize=(columns * 1.05 + 0.5, len(pictures) * 1.08 + (0.25 if heads else 0.1)), layout="constrained"
    )
    grid = canvas.subplots(len(pictures), columns, squeeze=False)
    for row, (name, images) in enumerate(pictures.items()):
        for column in range(columns):
            if column < len(images):
                head = heads[column] if row == 0 and column < len(heads) else ""
                show(grid[row, column], images[column], head)
            else:
                grid[row, column].axis("off")
        grid[row, 0].axis("on")
        grid[row, 0].set_ylabel(textwrap.fill(name, 18), fontsize=7)
    return Figure(canvas, caption)


def grid(images: Images, caption: str, *, columns: int = 10) -> Figure:
    """Images side by side, as many rows as it takes."""
    columns = min(columns, len(images))
    height = -(-len(images) // columns)
    canvas = Canvas(figsize=(columns, height), layout="constrained")
    cells = canvas.subplots(height, columns, squeeze=False).ravel()
    for axes, picture in zip(cells, images, strict=False):
        show(axes, picture)
    for axes in cells[len(images) :]:
        axes.axis("off")
    return Figure(canvas, caption)


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
