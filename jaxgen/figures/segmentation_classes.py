"""The figures of a segmentation run, of one foreground (`jaxgen.figures.segmentation`) or of several classes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from jaxgen.figures import segmentation
from jaxgen.figures.figure import Figure
from jaxgen.figures.segmentation import BASELINE, GREY, MODEL, SHARE, canvas_of, panel, short, slice_of
from jaxgen.medical.segmentation.cases import Case
from jaxgen.metrics.calibration import reliability_curve

COLOURS = ("#000000", "#2ca02c", "#e4572e", "#3b7dd8", "#bcbd22", "#9467bd", "#17becf", "#e377c2", "#8c564b")
"""Of the background and of the classes, over and over again."""
MOST_COLUMNS = 6
"""Members of an ensemble that are drawn."""

Each = Sequence[Case]
"""One case for each class of an image."""


def compared(
    cases: Sequence[Each],
    method: tuple[str, str],
    names: Sequence[str],
    *,
    raters: Sequence[str] = (),
    others: Mapping[str, Figure] = MappingProxyType({}),
) -> dict[str, Figure]:
    """Every figure of an ensemble that is compared with a deterministic U-Net.

    Args:
        cases: for each image a case for each class.
        method: the ensemble's name in the cases' predictions, and its name in the figures.
        names: of the classes; empty where there is one foreground.
        raters: the names of the raters, if they have any.
        others: figures that come after the overview.

    Returns:
        ``overview``, `others`, ``members``, ``classes`` and ``uncertainty``; of one foreground those of
        `jaxgen.figures.segmentation.compared`.
    """
    if not names:
        return segmentation.compared([each[0] for each in cases], *method, raters=raters, others=others)
    order = sorted(range(len(cases)), key=lambda i: float(np.mean([one.dice[method[0]] for one in cases[i]])))
    shown = [cases[order[k]] for k in np.unique(np.linspace(0, len(order) - 1, min(5, len(order))).round().astype(int))]
    return {
        "overview": overview(shown, method, names),
        **others,
        "members": members(shown[:4], method[0], names),
        "classes": by_class(cases, method, names),
        "uncertainty": reliability(cases, method, names),
    }


def drawn_members(
    cases: Sequence[Each], method: str, names: Sequence[str] = (), *, raters: Sequence[str] = ()
) -> Figure:
    """Single members of the ensembles of these images: outlines of one foreground, or classes in colours.

    Args:
        cases: for each image a case for each class.
        method: the ensemble's name in the cases' predictions.
        names: of the classes; empty where there is one foreground.
        raters: the names of the raters, if they have any.

    Returns:
        The figure.
    """
    if names:
        return members(cases, method, names)
    flat = [slice_of(each)[0] for each in cases]
    return segmentation.members(flat, range(len(flat)), method, raters=raters)


def _labels(masks: Sequence[np.ndarray]) -> np.ndarray:
    return np.max([k * mask.astype(int) for k, mask in enumerate(masks, 1)], axis=0)


def _colours(classes: int) -> tuple[ListedColormap, float, float]:
    return ListedColormap([COLOURS[k and 1 + (k - 1) % (len(COLOURS) - 1)] for k in range(classes + 1)]), 0, classes


def _legend(canvas: Canvas, names: Sequence[str]) -> None:
    cmap = _colours(len(names))[0]
    patches = [Patch(color=cmap(k), label=name) for k, name in enumerate(names, 1)]
    canvas.legend(handles=patches, loc="outside lower left", ncols=6, fontsize=7)


def overview(cases: Sequence[Each], method: tuple[str, str], names: Sequence[str]) -> Figure:
    """Image, true classes, those of both methods, and the uncertainty of some test images, the lowest Dice first."""
    canvas, grid = canvas_of(len(cases), 5)
    heads = ("image", "truth", "U-Net", f"{method[1]}, mean of ensemble", "uncertainty")
    for row, whole in enumerate(cases):
        each = slice_of(whole)
        unsure = np.sum([one.predictions[method[0]].uncertainty for one in each], axis=0) / 2
        maps = [_labels([one.truth for one in each])]
        maps += [_labels([one.predictions[name].mask for one in each]) for name in ("unet", method[0])]
        drawn = [(each[0].image, GREY), *((labels, _colours(len(names))) for labels in maps), (unsure, SHARE)]
        for axes, (picture, colours), head in zip(grid[row], drawn, heads, strict=True):
            panel(axes, picture, head if row == 0 else "", colours)
        grid[row, 0].set_ylabel(short(each[0].name), fontsize=7)
    _legend(canvas, names)
    return Figure(canvas, "Test images, those with the lowest Dice first; of volumes the slice with most foreground.")


def members(cases: Sequence[Each], method: str, names: Sequence[str]) -> Figure:
    """The classes of single members of the ensembles."""
    canvas, grid = canvas_of(len(cases), MOST_COLUMNS + 2)
    for row, whole in enumerate(cases):
        each = slice_of(whole)
        panel(grid[row, 0], each[0].image, "image" if row == 0 else "", GREY)
        panel(grid[row, 1], _labels([one.truth for one in each]), "truth" if row == 0 else "", _colours(len(names)))
        grid[row, 0].set_ylabel(short(each[0].name), fontsize=7)
        drawn = np.stack([one.predictions[method].members for one in each])
        for k in range(MOST_COLUMNS):
            labels = _labels(list(drawn[:, k])) if k < drawn.shape[1] else np.zeros(drawn.shape[2:], int)
            panel(grid[row, k + 2], labels, f"member {k + 1}" if row == 0 else "", _colours(len(names)))
    _legend(canvas, names)
    return Figure(canvas, "Members of the ensemble; of volumes the slice with most foreground.")


def by_class(cases: Sequence[Each], method: tuple[str, str], names: Sequence[str]) -> Figure:
    """Dice of every test image in every class, for both methods."""
    canvas = Canvas(figsize=(1.5 + 1.6 * len(names), 3.2), layout="constrained")
    axes = canvas.subplots()
    for shift, name, label, colour in ((-0.15, "unet", "U-Net", BASELINE), (0.15, *method, MODEL)):
        dice = np.array([[one.dice[name] for one in each] for each in cases])
        places = np.broadcast_to(np.arange(len(names)) + shift, dice.shape)
        axes.plot(places.ravel(), dice.ravel(), "o", color=colour, markersize=3, alpha=0.5, label=label)
        axes.hlines(dice.mean(0), places[0] - 0.12, places[0] + 0.12, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="Dice", ylim=(-0.02, 1.02))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Dice of each test image (dots) and its mean (lines), class by class.")


def reliability(cases: Sequence[Each], method: tuple[str, str], names: Sequence[str]) -> Figure:
    """Reliability of the probabilities of each class."""
    canvas = Canvas(figsize=(2.6 * len(names), 2.8), layout="constrained")
    for k, axes in enumerate(canvas.subplots(1, len(names), squeeze=False)[0]):
        truth = jnp.asarray(np.concatenate([each[k].truth.ravel() for each in cases]))
        for name, label, colour in (("unet", "U-Net", BASELINE), (*method, MODEL)):
            pixels = np.concatenate([each[k].predictions[name].probability.ravel() for each in cases])
            curve = reliability_curve(jnp.asarray(pixels, jnp.float32), truth)
            filled = np.asarray(curve.number) > 0
            confidence, frequency = np.asarray(curve.probability)[filled], np.asarray(curve.frequency)[filled]
            axes.plot(confidence, frequency, "o-", color=colour, label=label, markersize=3)
        axes.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
        axes.set(xlabel="predicted probability", ylabel="share of the class", title=names[k])
        axes.legend(frameon=False, fontsize=7)
    return Figure(canvas, "How often pixels of a predicted probability are of the class (on the diagonal: calibrated).")
