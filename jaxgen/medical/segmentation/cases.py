"""Test images with what methods say of them, and the table of metrics that compares the methods."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.medical.segmentation import scores
from jaxgen.medical.segmentation.uncertainty import summarise
from jaxgen.metrics.overlap import dice


class Prediction(NamedTuple):
    """What one method says of one image; arrays are ``[h, w]``.

    Attributes:
        mask: bool.
        probability: of the foreground.
        uncertainty: larger where the mask is less sure.
        case_uncertainty: of the whole image.
        diverged: whether the result holds NaN or infinity.
        members: the masks of an ensemble, bool ``[members, h, w]``; None, as all below, of a method that draws nothing.
        first: the map of the first member.
        mean: the mean of the members' maps.
        standardised_mean: of the maps; see `jaxgen.medical.segmentation.uncertainty.EnsembleSummary`.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    case_uncertainty: float
    diverged: bool
    members: Any = None
    first: Any = None
    mean: Any = None
    standardised_mean: Any = None


def of_probability(p: np.ndarray) -> Prediction:
    """What a network says that gives each pixel a probability ``p [h, w]``; its uncertainty is the entropy.

    Example:
        >>> found = of_probability(np.array([[0.5, 1.0]]))
        >>> found.mask.tolist(), found.uncertainty.round(2).tolist()
        ([[False, True]], [[0.69, -0.0]])
    """
    entropy = -(p * np.log(p + 1e-7) + (1 - p) * np.log(1 - p + 1e-7))
    return Prediction(p > 0.5, p, entropy, float(entropy.mean()), not np.isfinite(p).all())


def of_maps(maps: np.ndarray, threshold: float = 0.0) -> Prediction:
    """What an ensemble says; its uncertainty is the variance of the members' masks.

    Args:
        maps: ``[members, h, w]``, at most `threshold` in the foreground.
        threshold: see `jaxgen.medical.segmentation.uncertainty.decision_threshold`.

    Returns:
        The `Prediction` of the mean map.

    Example:
        >>> of_maps(np.array([[[-1.0, 1.0]], [[-1.0, -0.5]]])).uncertainty.tolist()
        [[0.0, 0.25]]
    """
    summary: Any = jax.device_get(summarise(jnp.asarray(maps), threshold=threshold))
    return Prediction(
        mask=summary.mask,
        probability=summary.probability,
        uncertainty=summary.mask_variance,
        case_uncertainty=float(summary.case_uncertainty),
        diverged=not np.isfinite(maps).all(),
        members=maps <= threshold,
        first=maps[0],
        mean=summary.mean,
        standardised_mean=summary.standardised_mean,
    )


class Case(NamedTuple):
    """A test image with what methods say of it.

    Attributes:
        name: its name.
        image: ``[h, w, c]`` in [-1, 1].
        raters: the masks of its raters, bool ``[raters, h, w]``.
        truth: where half of them or more agree, bool ``[h, w]``.
        predictions: what each method says.
        dice: the Dice of each.
    """

    name: str
    image: np.ndarray
    raters: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, Prediction]
    dice: Mapping[str, float]

    @classmethod
    def of(cls, name: str, image: np.ndarray, raters: np.ndarray, predictions: Mapping[str, Prediction]) -> Self:
        """A case, whose truth and Dice follow from the rest.

        Example:
            >>> half, full = np.array([[True, False]]), np.array([[0.9, 0.9]])
            >>> case = Case.of("a", np.zeros((1, 2, 1)), half[None], {"all": of_probability(full)})
            >>> round(case.dice["all"], 3)
            0.667
        """
        truth = raters.mean(axis=0) >= 0.5
        masks = {method: found.mask for method, found in predictions.items()}
        scored = {method: float(dice(jnp.asarray(m)[None], jnp.asarray(truth)[None])[0]) for method, m in masks.items()}
        return cls(name, image, raters, truth, predictions, scored)


def worst_to_best(cases: Sequence[Case], method: str, most: int = 5) -> list[int]:
    """The numbers of a few cases, evenly from the one with the lowest Dice to the one with the highest.

    Args:
        cases: the test images.
        method: whose Dice.
        most: how many at most.

    Returns:
        Numbers of cases.

    Example:
        >>> truth = np.array([[True, False]])
        >>> cases = [
        ...     Case.of("a", np.zeros((1, 2, 1)), truth[None], {"m": of_probability(p)})
        ...     for p in (np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]]))
        ... ]
        >>> worst_to_best(cases, "m")
        [1, 0]
    """
    order = sorted(range(len(cases)), key=lambda i: cases[i].dice[method])
    chosen = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    return [order[k] for k in chosen]


_PENALTY = "the diagonal of the image where only one of the masks is empty"
METRICS: dict[str, tuple[str, Literal["lower", "higher"], str]] = {
    "dice": ("Dice", "higher", "mean over test images"),
    "dice_pooled": ("Dice, pooled", "higher", "all pixels of all test images together (F1)"),
    "iou": ("IoU", "higher", "mean over test images"),
    "hausdorff95": ("Hausdorff 95", "lower", f"pixels, mean over test images; {_PENALTY}"),
    "surface_distance": ("Surface distance", "lower", f"average symmetric surface distance, pixels; {_PENALTY}"),
    "missed": ("Missed", "lower", "test images with an object of which nothing was found"),
    "false_alarms": ("False alarms", "lower", "test images without an object in which one was found"),
    "diverged": ("Diverged", "lower", "share of the images whose results hold NaN or infinity, if any"),
    "component_error": ("Component error", "lower", "difference in the number of connected components"),
    "ece": ("Calibration error", "lower", "expected calibration error, 15 bins"),
    "brier": ("Brier score", "lower", "mean squared error of the probability"),
    "error_auroc": ("Error AUROC", "higher", "uncertainty (mask variance, or entropy) finds wrong pixels"),
    "error_auroc_mean": ("Error AUROC, standardised mean", "higher", "-|mean| / std finds wrong pixels"),
    "case_correlation": ("Case correlation", "higher", "uncertainty of the image against 1 - Dice"),
    "eikonal_error": ("Distance error", "lower", "| |grad| - 1 | of the sampled distance maps"),
    "ged": ("Energy distance", "lower", "squared generalised energy distance to the raters"),
}
"""What `table` measures: the metric's title, whether lower or higher is better, and what it is."""


def table(cases: Sequence[Case], truncate: float | None = None) -> dict[str, Any]:
    """The metrics of every method, and the mean of those of single members of each ensemble.

    Args:
        cases: the test images.
        truncate: delta in pixels, if the maps of ensembles are signed distances; None if they are not.

    Returns:
        ``{name: {metric: number}}`` with a row ``{name}_single`` for each ensemble, and the number of ``test_images``.
        Rows of a method that diverged on any image are NaN, and their ``diverged`` is the share of those images.
    """
    metrics: dict[str, Any] = {}
    for name, first in cases[0].predictions.items():
        rows = {name: _scores(cases, name)}
        if first.members is not None:
            rows[f"{name}_single"] = _single_scores(cases, name, truncate)
        share = float(np.mean([case.predictions[name].diverged for case in cases]))
        for row, found in rows.items():
            # Masks of NaN are empty: what is said of them would be of no model.
            metrics[row] = dict.fromkeys(found, float("nan")) | {"diverged": share} if share else found
    return metrics | {"test_images": len(cases)}


def _scores(cases: Sequence[Case], name: str) -> dict[str, float]:
    found, truths = [case.predictions[name] for case in cases], [case.truth for case in cases]
    masks, draws = [one.mask for one in found], found[0].members is not None
    metrics = scores.score_masks(masks, truths)
    metrics |= scores.score_probability([one.probability for one in found], truths)
    metrics["error_auroc"] = scores.score_uncertainty([one.uncertainty for one in found], masks, truths)
    if draws:
        metrics["error_auroc_mean"] = scores.score_uncertainty([one.standardised_mean for one in found], masks, truths)
    uncertainties = [one.case_uncertainty for one in found]
    metrics["case_correlation"] = scores.score_cases(uncertainties, [case.dice[name] for case in cases])
    if len(cases[0].raters) > 1:
        drawn = [one.members if draws else one.mask[None] for one in found]
        metrics["ged"] = scores.score_raters(drawn, [case.raters for case in cases])
    return metrics


def _single_scores(cases: Sequence[Case], name: str, truncate: float | None) -> dict[str, float]:
    found, truths = [case.predictions[name] for case in cases], [case.truth for case in cases]
    singles = [scores.score_masks([one.members[k] for one in found], truths) for k in range(len(found[0].members))]
    metrics = {metric: float(np.mean([single[metric] for single in singles])) for metric in singles[0]}
    if truncate is not None:
        metrics["eikonal_error"] = scores.eikonal_error([one.first for one in found], truncate)
    if len(cases[0].raters) > 1:
        metrics["ged"] = scores.score_raters([one.members[:1] for one in found], [case.raters for case in cases])
    return metrics
