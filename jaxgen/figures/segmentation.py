"""The figures of a segmentation run."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from jaxgen.data.source import evenly_spaced
from jaxgen.figures.figure import Figure
from jaxgen.medical.segmentation.cases import Case, Prediction, worst_to_best
from jaxgen.metrics.calibration import reliability_curve

TRUTH, MODEL, BASELINE = "#2ca02c", "#e4572e", "#3b7dd8"
RATERS = (TRUTH, "#9467bd", "#17becf", "#bcbd22", "#e377c2", "#8c564b")
GREY, DISTANCE, SHARE, UNSURE = ("gray", -1, 1), ("RdBu", -1, 1), ("viridis", 0, 1), ("magma", 0, 0.25)
WRONG = ("gray", 0, 1)
"""Colours, and the values at their ends."""


def panel(axes: Axes, picture: np.ndarray, title: str = "", colours: tuple[Any, float, float] = GREY) -> None:
    """Draw a picture ``[h, w]`` or ``[h, w, c]``, without ticks."""
    cmap, low, high = colours
    if picture.shape[-1:] == (1,):
        picture = picture[..., 0]
    elif picture.ndim == 3:  # several channels in [-1, 1]: show three as colours
        picture = np.clip((picture[..., :3] + 1) / 2, 0, 1) if picture.shape[-1] >= 3 else picture[..., 0]
    axes.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize=8)


def _outline(axes: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.9)


def canvas_of(rows: int, columns: int, side: float = 1.5) -> tuple[Canvas, np.ndarray]:
    """A canvas and its axes ``[rows, columns]``."""
    canvas = Canvas(figsize=(columns * side, rows * side + 0.25), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False)


def _name(axes: Axes, case: Case, below: str = "") -> None:
    axes.set_ylabel(short(case.name) + below, fontsize=7)


def short(name: str, most: int = 14) -> str:
    """The name of an image as a label of a row; of a long one the end, which tells images of one series apart.

    Example:
        >>> short("test/case7"), short("BraTS-GLI-00012-001[71]")
        ('case7', '…00012-001[71]')
    """
    name = name.rpartition("/")[-1]
    return name if len(name) <= most else "…" + name[1 - most :]


def slice_of(each: Sequence[Case]) -> list[Case]:
    """Cases of one image, of a volume its slice along the last axis in which they mark most."""
    if each[0].truth.ndim == 2:
        return list(each)
    marked = np.sum([one.truth.sum((0, 1)) for one in each], axis=0)
    z = int(marked.argmax()) if marked.any() else len(marked) // 2

    def cut(found: Prediction) -> Prediction:
        maps: dict[str, Any] = {
            name: value[..., z] for name, value in found._asdict().items() if isinstance(value, np.ndarray)
        }
        return found._replace(**maps)

    return [
        one._replace(
            image=one.image[:, :, z],
            raters=one.raters[..., z],
            truth=one.truth[..., z],
            predictions={name: cut(found) for name, found in one.predictions.items()},
        )
        for one in each
    ]


def compared(
    cases: Sequence[Case],
    method: str,
    label: str,
    *,
    raters: Sequence[str] = (),
    others: Mapping[str, Figure] = MappingProxyType({}),
) -> dict[str, Figure]:
    """Every figure of an ensemble that is compared with a deterministic U-Net.

    Args:
        cases: the test images.
        method: the ensemble's name in the cases' predictions.
        label: its name in the figures.
        raters: the names of the raters, if they have any.
        others: figures that come after the overview.

    Returns:
        ``overview``, `others`, ``members``, ``uncertainty`` and ``failures``.
    """
    shown, flat = worst_to_best(cases, method), [slice_of([case])[0] for case in cases]
    return {
        "overview": overview(flat, shown, method, label),
        **others,
        "members": members(flat, shown[:4], method, raters=raters),
        "uncertainty": uncertainty(cases, method, label),
        "failures": failures(flat, method, label),
    }


def overview(cases: Sequence[Case], shown: Sequence[int], method: str, label: str) -> Figure:
    """Image, both masks, mean map, probability and uncertainty of some test images."""
    canvas, grid = canvas_of(len(shown), 6)
    heads = ("image", "U-Net", f"{label}, mean of ensemble", "mean map", "probability", "uncertainty p(1-p)")
    for row, i in enumerate(shown):
        case, found = cases[i], cases[i].predictions[method]
        pictures = (case.image, case.image, case.image, found.mean, found.probability, found.uncertainty)
        colours = (GREY, GREY, GREY, DISTANCE, SHARE, UNSURE)
        for axes, picture, colour, head in zip(grid[row], pictures, colours, heads, strict=True):
            panel(axes, picture, head if row == 0 else "", colour)
        for axes, mask, line in ((1, case.predictions["unet"].mask, BASELINE), (2, found.mask, MODEL)):
            _outline(grid[row, axes], case.truth, TRUTH)
            _outline(grid[row, axes], mask, line)
        _name(grid[row, 0], case)
    return Figure(
        canvas,
        f"Test images. Green: the true outline; blue: the deterministic U-Net; red: the mean of the {label} ensemble. "
        "Maps are negative (red) inside; uncertainty is the variance of the members' masks.",
    )


def from_noise(ways: np.ndarray, images: np.ndarray, times: Sequence[float]) -> Figure:
    """Maps on their way from noise: ways ``[steps + 1, n, h, w]`` at times ``[steps + 1]``, after each of n images.

    Of volumes ``[..., h, w, d]`` the middle slice is shown.
    """
    if ways.ndim == 5:
        ways, images = ways[..., ways.shape[-1] // 2], images[..., images.shape[-2] // 2, :]
    picked = evenly_spaced(len(times), 7)
    canvas, grid = canvas_of(len(images), len(picked) + 1)
    for row, image in enumerate(images):
        panel(grid[row, 0], image, "image" if row == 0 else "")
        for column, k in enumerate(picked, 1):
            panel(grid[row, column], ways[k, row], f"t = {times[k]:.2f}" if row == 0 else "", ("RdBu", -1.5, 1.5))
    return Figure(canvas, "One sample on its way from noise (left) to the map of a mask (right).")


def members(
    cases: Sequence[Case], shown: Sequence[int], method: str, count: int = 6, raters: Sequence[str] = ()
) -> Figure:
    """Single members of the ensembles; each of several raters who have names has a colour."""
    canvas, grid = canvas_of(len(shown), count + 1)
    for row, i in enumerate(shown):
        case = cases[i]
        panel(grid[row, 0], case.image, "image" if row == 0 else "")
        _name(grid[row, 0], case)
        for number, mask in enumerate(case.raters):
            _outline(grid[row, 0], mask, RATERS[number % len(RATERS)] if raters else TRUTH)
        drawn = case.predictions[method].members
        for column in range(1, count + 1):
            panel(grid[row, column], case.image, f"member {column}" if row == 0 else "")
            if column <= len(drawn):
                _outline(grid[row, column], drawn[column - 1], MODEL)
    reference = "the reference (green)"
    if raters:
        for number, name in enumerate(raters):
            grid[0, 0].plot([], [], color=RATERS[number % len(RATERS)], label=name)
        canvas.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=6, fontsize=7)
        reference = "the raters " + ", ".join(raters)
    return Figure(canvas, f"Members of the ensemble (red), and the outlines of {reference}.")


def uncertainty(cases: Sequence[Case], method: str, label: str) -> Figure:
    """Reliability of the probabilities, and case uncertainty against error."""
    canvas = Canvas(figsize=(8.4, 3.4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    truth = jnp.asarray(np.concatenate([case.truth.ravel() for case in cases]))
    for row, name, colour in (("unet", "U-Net", BASELINE), (method, label, MODEL)):
        pixels = np.concatenate([case.predictions[row].probability.ravel() for case in cases])
        curve = reliability_curve(jnp.asarray(pixels, jnp.float32), truth)
        filled = np.asarray(curve.number) > 0
        confidence, frequency = np.asarray(curve.probability)[filled], np.asarray(curve.frequency)[filled]
        left.plot(confidence, frequency, "o-", color=colour, label=name, markersize=4)
    left.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    left.set(xlabel="predicted probability", ylabel="share that is foreground", title="Reliability")
    left.legend(frameon=False)
    unsure = [case.predictions[method].case_uncertainty for case in cases]
    right.scatter(unsure, [1 - case.dice[method] for case in cases], s=14, color=MODEL)
    right.set(xlabel="uncertainty of the case", ylabel="1 - Dice", title="Cases")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return Figure(
        canvas,
        "Left: how often pixels of a predicted probability are foreground (on the diagonal: calibrated). "
        "Right: the variance of the maps, averaged over each image, against its error.",
    )


def failures(cases: Sequence[Case], method: str, label: str, count: int = 4) -> Figure:
    """The test images with the lowest Dice."""
    worst = sorted(cases, key=lambda case: case.dice[method])[:count]
    canvas, grid = canvas_of(len(worst), 4)
    for row, case in enumerate(worst):
        found = case.predictions[method]
        pictures = (case.image, case.image, found.mask != case.truth, found.uncertainty)
        heads = ("image", "outlines", "wrong pixels", "uncertainty p(1-p)")
        for axes, picture, colours, head in zip(grid[row], pictures, (GREY, GREY, WRONG, UNSURE), heads, strict=True):
            panel(axes, picture, head if row == 0 else "", colours)
        _outline(grid[row, 1], case.truth, TRUTH)
        _outline(grid[row, 1], found.mask, MODEL)
        _name(grid[row, 0], case, f"\nDice {case.dice[method]:.2f}")
    return Figure(canvas, f"Where it fails: the test images with the lowest Dice. Green: truth; red: {label}.")
