"""Test images with what methods say of them, and the table of metrics that compares the methods."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.distance import Spacing
from jaxgen.medical.segmentation import scores
from jaxgen.medical.segmentation.uncertainty import summarise
from jaxgen.metrics.overlap import dice
from jaxgen.metrics.segmentation import average_surface_distance, hausdorff95

Description = tuple[str, Literal["lower", "higher"], str]
"""A metric's title, whether lower or higher is better, and what it is."""


class Prediction(NamedTuple):
    """What one method says of one image or volume; arrays are ``[*spatial]``.

    Attributes:
        mask: bool.
        probability: of the foreground.
        uncertainty: larger where the mask is less sure.
        case_uncertainty: of the whole image.
        diverged: whether the result holds NaN or infinity.
        members: the masks of an ensemble, bool ``[members, *spatial]``; None, as all below, of what draws none.
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
    """What a network says that gives each pixel a probability ``p [*spatial]``; its uncertainty is the entropy.

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
        maps: ``[members, *spatial]``, at most `threshold` in the foreground.
        threshold: see `jaxgen.medical.segmentation.uncertainty.decision_threshold`.

    Returns:
        The `Prediction` of the mean map.

    Example:
        >>> of_maps(np.array([[[-1.0, 1.0]], [[-1.0, -0.5]]])).uncertainty.tolist()
        [[0.0, 0.25]]
    """
    summary: Any = jax.device_get(summarise(jnp.asarray(maps), maps.ndim - 1, threshold))
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
    """A test image or volume with what methods say of it.

    Attributes:
        name: its name.
        image: ``[*spatial, c]`` in [-1, 1].
        raters: the masks of its raters, bool ``[raters, *spatial]``.
        truth: where half of them or more agree, bool ``[*spatial]``.
        predictions: what each method says.
        dice: the Dice of each.
        spacing: the size of a pixel along each axis, or one number; distances are in its unit.
    """

    name: str
    image: np.ndarray
    raters: np.ndarray
    truth: np.ndarray
    predictions: Mapping[str, Prediction]
    dice: Mapping[str, float]
    spacing: Spacing = 1.0

    @classmethod
    def of(
        cls,
        name: str,
        image: np.ndarray,
        raters: np.ndarray,
        predictions: Mapping[str, Prediction],
        spacing: Spacing = 1.0,
    ) -> Self:
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
        return cls(name, image, raters, truth, predictions, scored, spacing)

    def agreement(self, method: str) -> dict[str, float]:
        """Dice and the distances between the surfaces of a method's mask and of the truth."""
        pair = self.predictions[method].mask[None], self.truth[None]
        return {
            "dice": self.dice[method],
            "hausdorff95": float(hausdorff95(*pair, spacing=self.spacing)[0]),
            "surface_distance": float(average_surface_distance(*pair, spacing=self.spacing)[0]),
        }


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


def dice_by_members(cases: Sequence[Case], method: str, counts: Sequence[int]) -> dict[int, float]:
    """How the Dice of an ensemble grows with its members: that of the majority of the first few of them.

    Args:
        cases: the test images.
        method: the ensemble.
        counts: numbers of members; those that the ensemble has not are left out.

    Returns:
        The mean over images for each number; where half of the members agree, a pixel is foreground.

    Reference:
        Wolleb et al. 2022, arXiv 2112.03145, section 3 and figure 4.

    Example:
        >>> truth = np.array([[True, True]])
        >>> maps = np.array([[[-1.0, 1.0]], [[-1.0, -1.0]]])
        >>> dice_by_members([Case.of("a", np.zeros((1, 2, 1)), truth[None], {"m": of_maps(maps)})], "m", (1, 2, 4))
        {1: 0.6666666865348816, 2: 1.0}
    """

    def of(count: int) -> float:
        votes = [case.predictions[method].members[:count].mean(axis=0) >= 0.5 for case in cases]
        pairs = zip(votes, cases, strict=True)
        return float(np.mean([dice(jnp.asarray(m)[None], jnp.asarray(case.truth)[None])[0] for m, case in pairs]))

    most = len(cases[0].predictions[method].members)
    return {count: of(count) for count in counts if count <= most}


def dice_of_members(cases: Sequence[Case], method: str) -> list[float]:
    """The Dice of each member of an ensemble by itself, mean over images.

    Args:
        cases: the test images.
        method: the ensemble.

    Returns:
        One number for each member.

    Example:
        >>> truth, maps = np.array([[True, True]]), np.array([[[-1.0, 1.0]], [[-1.0, -1.0]]])
        >>> dice_of_members([Case.of("a", np.zeros((1, 2, 1)), truth[None], {"m": of_maps(maps)})], "m")
        [0.6666666865348816, 1.0]
    """
    pairs = [(case.predictions[method].members, case.truth) for case in cases]
    each = [dice(jnp.asarray(m), jnp.broadcast_to(truth, m.shape)) for m, truth in pairs]
    return np.mean(each, axis=0).tolist()


_PENALTY = "the diagonal of the image where only one of the masks is empty"
METRICS: dict[str, Description] = {
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
    "sparsification_error": (
        "Sparsification error",
        "lower",
        "area between the error of the pixels left when the least certain are taken away and when the wrong ones are, "
        "over the error of all",
    ),
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
    metrics = scores.score_masks(masks, truths, spacings=[case.spacing for case in cases])
    metrics |= scores.score_probability([one.probability for one in found], truths)
    uncertainty = [one.uncertainty for one in found]
    metrics["error_auroc"] = scores.score_uncertainty(uncertainty, masks, truths)
    metrics["sparsification_error"] = scores.score_sparsification(uncertainty, masks, truths)
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
    spacings = [case.spacing for case in cases]
    singles = [
        scores.score_masks([one.members[k] for one in found], truths, spacings=spacings)
        for k in range(len(found[0].members))
    ]
    metrics = {metric: float(np.mean([single[metric] for single in singles])) for metric in singles[0]}
    if truncate is not None:
        metrics["eikonal_error"] = scores.eikonal_error([one.first for one in found], truncate, spacings=spacings)
    if len(cases[0].raters) > 1:
        metrics["ged"] = scores.score_raters([one.members[:1] for one in found], [case.raters for case in cases])
    return metrics
