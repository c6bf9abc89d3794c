"""Methods compared on the same cases: on lesions, on their healthy twins, and on images that are ill or not."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.medical.anomaly.detection import (
    CaseCounts,
    average_precision_gain,
    average_precision_interval,
    case_counts,
    evaluate_detection,
)
from jaxgen.medical.anomaly.methods import Found, Method
from jaxgen.medical.anomaly.scoring import dice_threshold
from jaxgen.metrics import auroc, average_precision
from jaxgen.types import Key

RESAMPLES = 500
"""Draws of cases that an interval is made of."""
Row = dict[str, float]
Clean = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(map [n, h, w], images [n, h, w, c]) -> map``, such as `jaxgen.medical.anomaly.methods.cleaned`."""


class Bench(NamedTuple):
    """What methods are evaluated on; all images ``[n, h, w, c]`` in [-1, 1].

    Attributes:
        train: healthy images for the baselines; none if the run was trained on others.
        validation: healthy images.
        chosen_on: validation images with artificial anomalies, and their masks.
        lesions: by the name of a set: images and masks of lesions.
        twins: the healthy twins of the images of a set, for phantoms.
        ill: all test images and whether each is ill, where data have labels.
    """

    train: np.ndarray
    validation: np.ndarray
    chosen_on: tuple[np.ndarray, np.ndarray]
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]]
    twins: Mapping[str, np.ndarray]
    ill: tuple[np.ndarray, np.ndarray] | None = None


def find(clean: Clean, key: Key, method: Method, x: np.ndarray) -> Found:
    """What a method of one setting finds in images ``[n, h, w, c]``, its map cleaned."""
    score, restored = method.run(key, x)
    return Found(clean(score, x), restored)


def compare(
    clean: Clean,
    key: Key,
    bench: Bench,
    methods: Mapping[str, Method],
    simple: Sequence[str],
    show: Callable[[str, Found], None] = lambda name, found: None,
) -> dict[str, Row]:
    """The metrics of every method on every set.

    Args:
        clean: what is done to maps.
        key: of the methods.
        bench: what methods are evaluated on.
        methods: by name, the baselines first; each of one setting.
        simple: the names of the baselines; gains are over the best of them.
        show: called with the name of a method and what it finds in each set.

    Returns:
        Metrics by method, and in the row ``image itself`` what the images are compared with their twins.
    """
    metrics: dict[str, Row] = {}
    best: dict[str, tuple[float, CaseCounts]] = {}
    for name, method in methods.items():
        row = metrics.setdefault(name, {})
        lost: list[float] = []
        threshold, _ = dice_threshold(find(clean, key, method, bench.chosen_on[0]).score, bench.chosen_on[1])
        for kind, (x, mask) in bench.lesions.items():
            found = find(clean, key, method, x)
            lost.append(_diverged(found.score))
            show(name, found)
            counts = case_counts(found.score, mask)
            row |= lesion_metrics(kind, found.score, mask, threshold, counts)
            if name in simple and row[f"ap_{kind}"] > best.get(kind, (-1.0,))[0]:
                best[kind] = row[f"ap_{kind}"], counts
            if name not in simple and kind in best:
                gain = average_precision_gain(counts, best[kind][1], resamples=RESAMPLES)
                row |= {f"gain_{kind}": gain.value, f"gain_low_{kind}": gain.low, f"gain_high_{kind}": gain.high}
            sick = np.asarray(mask.reshape(len(mask), -1).any(1))
            if not bench.twins and sick.any() and not sick.all():
                row |= image_metrics(found.score, sick)
            if found.restored is not None and kind in bench.twins:
                row[f"twin_psnr_{kind}"] = twin_psnr(found.restored, bench.twins[kind], mask)
        if bench.ill is not None:
            x, ill = bench.ill
            found = find(clean, key, method, x)
            lost.append(_diverged(found.score))
            show(name, found)
            row |= image_metrics(found.score, ill)
        if any(lost):
            row["diverged"] = max(lost)
    for kind, twins in bench.twins.items():
        x, mask = bench.lesions[kind]
        metrics.setdefault("image itself", {})[f"twin_psnr_{kind}"] = twin_psnr(x, twins, mask)
    return metrics


def _diverged(score: np.ndarray) -> float:
    """The share of maps that hold NaN or infinity."""
    return float(np.mean(~np.isfinite(score.reshape(len(score), -1)).all(1)))


def lesion_metrics(kind: str, score: np.ndarray, mask: np.ndarray, threshold: float, counts: CaseCounts) -> Row:
    """How well maps find lesions, with the interval of average precision over cases.

    Args:
        kind: the name of the set, the last part of the metrics' names.
        score: maps ``[n, h, w]``.
        mask: lesions, nonzero, ``[n, h, w]``.
        threshold: of artificial anomalies, for Dice.
        counts: of `jaxgen.medical.anomaly.case_counts`.

    Returns:
        ``ap``, ``ap_low``, ``ap_high``, ``ap_case``, ``best_dice``, ``dice`` and ``auroc``, each with ``_kind``.
    """
    detection = evaluate_detection(score, mask, threshold=threshold)
    interval = average_precision_interval(counts, resamples=RESAMPLES)
    return {
        f"ap_{kind}": detection.average_precision,
        f"ap_low_{kind}": interval.low,
        f"ap_high_{kind}": interval.high,
        f"ap_case_{kind}": detection.average_precision_case,
        f"best_dice_{kind}": detection.best_dice,
        f"dice_{kind}": detection.dice,
        f"auroc_{kind}": detection.auroc,
    }


def image_metrics(score: np.ndarray, ill: np.ndarray) -> Row:
    """How well maps tell ill images from healthy ones, by `image_score`.

    Args:
        score: maps ``[n, h, w]``.
        ill: whether each image is ill, ``[n]``.

    Returns:
        ``auroc_image`` and ``ap_image``.

    Example:
        >>> image_metrics(np.array([[[0.1]], [[0.9]]]), np.array([False, True]))
        {'auroc_image': 1.0, 'ap_image': 1.0}
    """
    whole = image_score(score)
    return {"auroc_image": float(auroc(whole, ill)), "ap_image": float(average_precision(whole, ill))}


def image_score(score: np.ndarray) -> np.ndarray:
    """One number per image: the mean of the highest hundredth of its map.

    Args:
        score: maps ``[n, *spatial]``.

    Returns:
        ``[n]``.

    Example:
        >>> image_score(np.arange(200.0).reshape(1, 10, 20)).tolist()
        [198.5]
    """
    flat = np.sort(score.reshape(len(score), -1), axis=1)
    return flat[:, -max(1, flat.shape[1] // 100) :].mean(1)


def twin_psnr(restored: np.ndarray, twin: np.ndarray, mask: np.ndarray) -> float:
    """How near the healthy twin a restored image is where the lesion was, dB: ``mean_n 10 log10(4 / error_n)``.

    Args:
        restored: images ``[n, h, w, c]`` in [-1, 1].
        twin: their healthy twins.
        mask: lesions, nonzero, ``[n, h, w]``, over which the squared error is averaged.

    Example:
        >>> twin_psnr(np.full((1, 2, 2, 1), 0.2), np.zeros((1, 2, 2, 1)), np.ones((1, 2, 2)))
        20.0
    """
    inside = (np.asarray(mask) != 0)[..., None]
    error = (np.square(restored - twin) * inside).sum((1, 2, 3)) / np.maximum(inside.sum((1, 2, 3)), 1)
    return float(np.mean(10 * np.log10(4 / np.maximum(error, 1e-10))))
