"""How well maps find lesions: average precision, Dice and area under the ROC curve, with intervals over cases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.medical.anomaly.scoring import dice_threshold
from jaxgen.metrics import Interval, auroc, average_precision, bootstrap_interval
from jaxgen.metrics.ranking import orderable
from jaxgen.types import Array


class Detection(NamedTuple):
    """What is said of one method on one set of cases.

    Attributes:
        average_precision: of pixels, all cases together.
        average_precision_case: the mean over the cases that have a lesion.
        best_dice: all cases together, at the threshold that is best on these very cases: an upper bound.
        dice: all cases together, at the threshold given (of validation images); NaN without one.
        dice_case: the mean over the cases that have a lesion, at the same threshold.
        auroc: of pixels, all cases together.
    """

    average_precision: float
    average_precision_case: float
    best_dice: float
    dice: float
    dice_case: float
    auroc: float


@jax.jit
def _ranked(score: Array, mask: Array) -> tuple[Array, Array]:
    """The area under the ROC curve of all pixels together, and average precision case by case."""
    return auroc(score, mask), jax.lax.map(lambda pair: average_precision(*pair), (score, mask))


def _flat(score: np.ndarray | Array, mask: np.ndarray | Array) -> tuple[np.ndarray, np.ndarray]:
    scores, lesion = np.asarray(score), np.asarray(mask) != 0
    if scores.dtype.itemsize < 4:
        scores = scores.astype(np.float32)  # holds every value of the shorter types
    if scores.shape != lesion.shape:
        raise ValueError(f"scores of {scores.shape} for masks of {lesion.shape}")
    return scores.reshape(len(scores), -1), lesion.reshape(len(lesion), -1)


def evaluate_detection(
    score: np.ndarray | Array, mask: np.ndarray | Array, *, threshold: float | None = None
) -> Detection:
    """Evaluate anomaly maps against lesion masks.

    Args:
        score: ``[n, *spatial]``, higher where more anomalous, ordered in its own precision.
        mask: lesions, nonzero, of the same shape.
        threshold: scores at or above it are lesion; from validation images (`scoring.dice_threshold`,
            `scoring.healthy_threshold`). None leaves Dice at a threshold out.

    Returns:
        The `Detection`; all of it is NaN where a score is NaN or infinite.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> found = evaluate_detection(np.array([[0.1, 0.9, 0.8, 0.7]]), np.array([[0, 1, 0, 1]]), threshold=0.85)
        >>> found.best_dice, round(found.dice, 3)
        (0.8, 0.667)
    """
    flat, lesion = _flat(score, mask)
    if not np.isfinite(flat).all():
        return Detection(*[float("nan")] * len(Detection._fields))
    ill = lesion.any(1)
    ordered = orderable(flat)
    area, by_case = jax.device_get(_ranked(ordered, jnp.asarray(lesion)))
    dice = dice_case = float("nan")
    if threshold is not None:
        above = flat >= threshold
        hit, size = (above & lesion).sum(1), above.sum(1) + lesion.sum(1)
        dice = float(2 * hit.sum() / max(size.sum(), 1))
        dice_case = float(np.mean(2 * hit[ill] / size[ill])) if ill.any() else float("nan")
    return Detection(
        average_precision=float(average_precision(ordered, jnp.asarray(lesion))),
        average_precision_case=float(by_case[ill].mean()) if ill.any() else float("nan"),
        best_dice=dice_threshold(flat, lesion)[1],
        dice=dice,
        dice_case=dice_case,
        auroc=float(area),
    )


class CaseCounts(NamedTuple):
    """Pixels of each case at each level of the score, the highest level first: all that pooled metrics need.

    Attributes:
        lesion: pixels of lesions ``[n, levels]``.
        healthy: other pixels ``[n, levels]``.
    """

    lesion: np.ndarray
    healthy: np.ndarray


def case_counts(score: np.ndarray | Array, mask: np.ndarray | Array, *, levels: int = 512) -> CaseCounts:
    """Count the pixels of each case between levels of the score that part the lesions' pixels evenly.

    Args:
        score: ``[n, *spatial]``.
        mask: lesions, nonzero, of the same shape.
        levels: how many; average precision made from them errs by less than ``1 / levels``.

    Returns:
        The `CaseCounts`; NaN, and with them all that is made of them, where a score is NaN or infinite.

    Raises:
        ValueError: if the shapes differ, or there is no lesion.

    Example:
        >>> case_counts(np.array([[0.1, 0.9, 0.8, 0.7]]), np.array([[0, 1, 0, 1]])).healthy.tolist()
        [[0.0, 1.0, 1.0]]
    """
    flat, lesion = _flat(score, mask)
    if not lesion.any():
        raise ValueError("no case has a lesion: there is nothing to find")
    if not np.isfinite(flat).all():
        return CaseCounts(*np.full((2, len(flat), 2), np.nan))
    wanted = np.linspace(0, 1, levels)
    edges = np.unique(np.quantile(flat[lesion], wanted, method="lower"))
    level = len(edges) - np.searchsorted(edges, flat, side="right")
    n, width = len(flat), len(edges) + 1
    place = level + width * np.arange(n)[:, None]

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(place[chosen], minlength=n * width).reshape(n, width).astype(np.float64)

    return CaseCounts(count(lesion), count(~lesion))


def _average_precision(counts: CaseCounts, cases: np.ndarray) -> float:
    """Of the cases with these numbers, each as often as it is named."""
    weight = np.bincount(cases, minlength=len(counts.lesion)).astype(np.float64)
    here = weight @ counts.lesion
    hit = np.cumsum(here)
    return float(np.sum(here * hit / np.maximum(hit + np.cumsum(weight @ counts.healthy), 1)) / max(hit[-1], 1))


def average_precision_interval(counts: CaseCounts, *, resamples: int = 500, seed: int = 0) -> Interval:
    """Average precision of pixels, all cases together, with a 95 % bootstrap interval over cases.

    Args:
        counts: of `case_counts`.
        resamples: how many draws of cases.
        seed: of the draws.

    Returns:
        The `Interval`.

    Example:
        >>> counts = case_counts(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0, 1], [1, 0]]))
        >>> average_precision_interval(counts, resamples=10)
        Interval(value=1.0, low=1.0, high=1.0)
    """
    cases = np.arange(len(counts.lesion))
    return bootstrap_interval(lambda drawn: _average_precision(counts, drawn), cases, resamples=resamples, seed=seed)


def average_precision_gain(counts: CaseCounts, than: CaseCounts, *, resamples: int = 500, seed: int = 0) -> Interval:
    """How much larger one method's average precision is than another's on the same cases, drawing cases in pairs.

    Args:
        counts: of `case_counts`, of the one.
        than: of the other, the same cases in the same order.
        resamples: how many draws of cases.
        seed: of the draws.

    Returns:
        The difference with its 95 % `Interval`.

    Raises:
        ValueError: if the numbers of cases differ.

    Example:
        >>> counts = case_counts(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0, 1], [1, 0]]))
        >>> average_precision_gain(counts, counts, resamples=10).value
        0.0
    """
    if len(counts.lesion) != len(than.lesion):
        raise ValueError(f"{len(counts.lesion)} cases and {len(than.lesion)}: compare methods on the same ones")

    def gain(drawn: np.ndarray) -> float:
        return _average_precision(counts, drawn) - _average_precision(than, drawn)

    return bootstrap_interval(gain, np.arange(len(counts.lesion)), resamples=resamples, seed=seed)
