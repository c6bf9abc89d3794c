"""The figures of a segmentation run."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.experiment import Figure
from jaxgen.metrics.calibration import reliability_curve

TRUTH, MODEL, BASELINE = "#2ca02c", "#e4572e", "#3b7dd8"
RATERS = (TRUTH, "#9467bd", "#17becf", "#bcbd22", "#e377c2", "#8c564b")


def _panel(axes, picture: np.ndarray, title: str = "", cmap: str = "gray", limits: tuple | None = None) -> None:
    low, high = limits or (None, None)
    if picture.shape[-1:] == (1,):
        picture = picture[..., 0]
    elif picture.ndim == 3:  # several channels in [-1, 1]: show three as colours
        picture = np.clip((picture[..., :3] + 1) / 2, 0, 1) if picture.shape[-1] >= 3 else picture[..., 0]
    axes.imshow(picture, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if title:
        axes.set_title(title, fontsize=8)


def _short(name: str) -> str:
    return name.rpartition("/")[-1][:14]


def _outline(axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.9)


def _canvas(rows: int, columns: int, side: float = 1.5) -> tuple[Canvas, np.ndarray]:
    canvas = Canvas(figsize=(columns * side, rows * side + 0.25), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False)


def overview(cases: Sequence[Mapping], shown: Sequence[int]) -> Figure:
    """Image, both masks, probability and uncertainty of some test images."""
    canvas, grid = _canvas(len(shown), 6)
    heads = ("image", "U-Net", "FlowSDF, mean of ensemble", "mean distance", "probability", "uncertainty p(1-p)")
    for row, i in enumerate(shown):
        case, summary = cases[i], cases[i]["summary"]
        pictures = (
            (case["image"], "gray", (-1, 1)),
            (case["image"], "gray", (-1, 1)),
            (case["image"], "gray", (-1, 1)),
            (summary.mean, "RdBu", (-1, 1)),
            (summary.probability, "viridis", (0, 1)),
            (summary.mask_variance, "magma", (0, 0.25)),
        )
        for column, (picture, cmap, limits) in enumerate(pictures):
            _panel(grid[row, column], np.asarray(picture), heads[column] if row == 0 else "", cmap, limits)
        for column, mask, colour in ((1, case["baseline"], BASELINE), (2, np.asarray(summary.mask), MODEL)):
            _outline(grid[row, column], case["truth"], TRUTH)
            _outline(grid[row, column], mask, colour)
        grid[row, 0].set_ylabel(_short(case["name"]), fontsize=7)
    return Figure(
        canvas,
        "Test images. Green: the true outline; blue: the deterministic U-Net; red: the mean of the FlowSDF ensemble. "
        "Distances are negative (red) inside; uncertainty is the variance of the members' masks.",
    )


def along_the_flow(trajectories: np.ndarray, images: Sequence[np.ndarray], times: Sequence[float]) -> Figure:
    """Distance maps on their way from noise: trajectories ``[steps + 1, n, h, w]``."""
    picked = np.unique(np.linspace(0, len(times) - 1, min(7, len(times))).round().astype(int))
    canvas, grid = _canvas(len(images), len(picked) + 1)
    for row, image in enumerate(images):
        _panel(grid[row, 0], image, "image" if row == 0 else "", "gray", (-1, 1))
        for column, k in enumerate(picked, 1):
            title = f"t = {times[k]:.2f}" if row == 0 else ""
            _panel(grid[row, column], trajectories[k, row], title, "RdBu", (-1.5, 1.5))
    return Figure(canvas, "One sample along the flow, from noise (left) to a signed distance map (right).")


def members(cases: Sequence[Mapping], shown: Sequence[int], count: int = 6, raters: Sequence[str] = ()) -> Figure:
    """Single members of the ensembles; each of several raters who have names has a colour."""
    canvas, grid = _canvas(len(shown), count + 1)
    for row, i in enumerate(shown):
        case = cases[i]
        _panel(grid[row, 0], case["image"], "image" if row == 0 else "", "gray", (-1, 1))
        grid[row, 0].set_ylabel(_short(case["name"]), fontsize=7)
        for number, reader in enumerate(case["readers"]):
            _outline(grid[row, 0], reader, RATERS[number % len(RATERS)] if raters else TRUTH)
        for column in range(1, count + 1):
            title = f"member {column}" if row == 0 else ""
            _panel(grid[row, column], case["image"], title, "gray", (-1, 1))
            if column <= len(case["member_masks"]):
                _outline(grid[row, column], case["member_masks"][column - 1], MODEL)
    reference = "the reference (green)"
    if raters:
        for number, name in enumerate(raters):
            grid[0, 0].plot([], [], color=RATERS[number % len(RATERS)], label=name)
        canvas.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=6, fontsize=7)
        reference = "the raters " + ", ".join(raters)
    return Figure(canvas, f"Members of the ensemble (red) beside the outlines of {reference}.")


def uncertainty(cases: Sequence[Mapping]) -> Figure:
    """Reliability of the probabilities, and case uncertainty against error."""
    canvas = Canvas(figsize=(8.4, 3.4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    truth = np.concatenate([case["truth"].ravel() for case in cases])
    for name, colour, p in (
        ("U-Net", BASELINE, [case["baseline_probability"] for case in cases]),
        ("FlowSDF", MODEL, [np.asarray(case["summary"].probability) for case in cases]),
    ):
        pixels = jnp.asarray(np.concatenate([x.ravel() for x in p]), jnp.float32)
        curve = reliability_curve(pixels, jnp.asarray(truth))
        filled = np.asarray(curve.number) > 0
        confidence, frequency = np.asarray(curve.probability)[filled], np.asarray(curve.frequency)[filled]
        left.plot(confidence, frequency, "o-", color=colour, label=name, markersize=4)
    left.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    left.set(xlabel="predicted probability", ylabel="share that is foreground", title="Reliability")
    left.legend(frameon=False)
    x = [float(case["summary"].case_uncertainty) for case in cases]
    right.scatter(x, [1 - case["dice"] for case in cases], s=14, color=MODEL)
    right.set(xlabel="uncertainty of the case", ylabel="1 - Dice", title="Cases")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return Figure(
        canvas,
        "Left: how often pixels of a predicted probability are foreground (on the diagonal: calibrated). "
        "Right: the variance of the distances, averaged over each image, against its error.",
    )


def failures(cases: Sequence[Mapping], count: int = 4) -> Figure:
    """The test images with the lowest Dice."""
    worst = sorted(range(len(cases)), key=lambda i: cases[i]["dice"])[:count]
    canvas, grid = _canvas(len(worst), 4)
    for row, i in enumerate(worst):
        case = cases[i]
        wrong = np.asarray(case["summary"].mask) != case["truth"]
        _panel(grid[row, 0], case["image"], "image" if row == 0 else "", "gray", (-1, 1))
        _panel(grid[row, 1], case["image"], "outlines" if row == 0 else "", "gray", (-1, 1))
        _outline(grid[row, 1], case["truth"], TRUTH)
        _outline(grid[row, 1], np.asarray(case["summary"].mask), MODEL)
        _panel(grid[row, 2], wrong, "wrong pixels" if row == 0 else "", "gray", (0, 1))
        title = "uncertainty p(1-p)" if row == 0 else ""
        _panel(grid[row, 3], np.asarray(case["summary"].mask_variance), title, "magma", (0, 0.25))
        grid[row, 0].set_ylabel(f"{_short(case['name'])}\nDice {case['dice']:.2f}", fontsize=7)
    return Figure(canvas, "Where it fails: the test images with the lowest Dice. Green: truth; red: FlowSDF.")
