"""Several classes: one map or one probability for each, and the one class that a pixel is of.

A pixel belongs to the class whose map is lowest there, if that is at most the threshold, and else to the background. An
image of K classes is evaluated as K masks, one `Case` for each class; one foreground is K = 1.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.medical.segmentation.cases import METRICS, Case, Description, Prediction, of_maps, of_probability, table
from jaxgen.types import Array

COUNTS = ("missed", "false_alarms")
"""Metrics that are added over classes; of the others the mean is taken."""
UNCERTAINTY = ("ece", "brier", "error_auroc", "sparsification_error")
"""How well a method knows where it is wrong."""
BY_CLASS = ("dice", "iou", "hausdorff95", "surface_distance", *COUNTS, *UNCERTAINTY, "ged")
"""Metrics that tables show of each class, in addition to the mean over classes."""


def class_numbers(maps: Array, threshold: float = 0.0) -> Array:
    """The class of each pixel: ``argmin_k maps_k + 1`` where that map is at most the threshold, else 0.

    Args:
        maps: ``[..., K]``, at most `threshold` where a class is.
        threshold: see `jaxgen.medical.segmentation.uncertainty.decision_threshold`.

    Returns:
        int32 ``[...]``, 0 for the background and 1 to K.

    Example:
        >>> class_numbers(jnp.array([[-1.0, -2.0], [0.5, 1.0], [-0.1, 0.3]])).tolist()
        [2, 0, 1]
    """
    return jnp.where(jnp.min(maps, axis=-1) <= threshold, jnp.argmin(maps, axis=-1) + 1, 0).astype(jnp.int32)


def by_probability(p: np.ndarray) -> tuple[Prediction, ...]:
    """What a network says that gives each pixel the probability of each class, one prediction for each.

    Args:
        p: ``[*spatial, K]``; the rest of 1 is the background's.

    Returns:
        K predictions; a pixel is of its likeliest class, of several alike the first, the background before all.

    Example:
        >>> [one.mask.tolist() for one in by_probability(np.array([[0.3, 0.6], [0.2, 0.2]]))]
        [[False, False], [True, False]]
    """
    if p.shape[-1] == 1:
        return (of_probability(p[..., 0]),)
    every = np.concatenate([1 - p.sum(-1, keepdims=True), p], axis=-1)
    chosen = every.argmax(-1)
    return tuple(
        of_probability(p[..., k])._replace(mask=(chosen == k + 1) & np.isfinite(p).all(-1)) for k in range(p.shape[-1])
    )


def by_maps(maps: np.ndarray, threshold: float = 0.0) -> tuple[Prediction, ...]:
    """What an ensemble says of each class.

    Args:
        maps: ``[members, *spatial, K]``.
        threshold: maps up to this are foreground.

    Returns:
        K predictions whose masks share no pixel. The probability of a class is the share of members of which it is,
        and its uncertainty ``p (1 - p)``.

    Example:
        >>> found = by_maps(np.array([[[-1.0, -2.0]], [[-0.5, 1.0]]]))
        >>> [(one.mask.tolist(), one.probability.tolist()) for one in found]
        [([True], [0.5]), ([False], [0.5])]
    """
    every = tuple(of_maps(maps[..., k], threshold) for k in range(maps.shape[-1]))
    if len(every) == 1:
        return every
    members = np.asarray(class_numbers(jnp.asarray(maps), threshold))
    whole = np.asarray(class_numbers(jnp.stack([one.mean for one in every], axis=-1), threshold))

    def of_class(number: int, one: Prediction) -> Prediction:
        own = members == number
        p = np.asarray(np.mean(own, axis=0, dtype=np.float32))
        return one._replace(mask=whole == number, probability=p, uncertainty=p * (1 - p), members=own)

    return tuple(of_class(number, one) for number, one in enumerate(every, 1))


def by_probabilities(p: np.ndarray) -> tuple[Prediction, ...]:
    """What an ensemble of probabilities says of each class: their mean, and its entropy as the uncertainty.

    Args:
        p: ``[members, *spatial, K]``.

    Returns:
        K predictions, whose members are the masks of each member by itself.

    Reference:
        Gal and Ghahramani 2016, "Dropout as a Bayesian approximation", arXiv 1506.02142, eq. 6; Lakshminarayanan et al.
        2017, "Deep ensembles", arXiv 1612.01474, section 2.4.

    Example:
        >>> (found,) = by_probabilities(np.array([[[0.9], [0.9]], [[0.9], [0.3]]]))
        >>> found.mask.tolist(), found.probability.tolist(), found.members.tolist()
        ([True, True], [0.9, 0.6], [[True, True], [True, False]])
    """
    each = [by_probability(one) for one in p]
    return tuple(
        of_maps(1 - 2 * p[..., k])._replace(**_soft(found), members=np.stack([one[k].mask for one in each]))
        for k, found in enumerate(by_probability(p.mean(axis=0)))
    )


def _soft(found: Prediction) -> dict[str, Any]:
    names = ("mask", "probability", "uncertainty", "case_uncertainty", "diverged")
    return {name: getattr(found, name) for name in names}


def described_classes(maps: np.ndarray, names: Sequence[str], threshold: float = 0.0) -> dict[str, np.ndarray]:
    """What to hand out of an ensemble's maps of one image of several classes.

    Args:
        maps: ``[members, *spatial, K]``.
        names: of the classes.
        threshold: maps up to this are foreground.

    Returns:
        ``mask [*spatial]`` uint8, 0 and the numbers of the classes from 1; ``probability_{name} [*spatial]`` of each
        class, the share of members; ``uncertainty [*spatial]``, ``(1 - sum_c p_c^2) / 2`` over background and classes,
        which for one class is ``p (1 - p)``; and ``classes [K + 1]``, the name of each number.

    Example:
        >>> found = described_classes(np.array([[[-1.0, -2.0]], [[-0.5, 1.0]]]), ("core", "rim"))
        >>> found["mask"].tolist(), found["probability_core"].tolist(), found["uncertainty"].tolist()
        ([1], [0.5], [0.25])
    """
    every = by_maps(maps, threshold)
    p = np.stack([one.probability for one in every])
    whole = np.concatenate([1 - p.sum(0, keepdims=True), p])
    shares = {f"probability_{re.sub('[^A-Za-z0-9]+', '_', name)}": x for name, x in zip(names, p, strict=True)}
    return {
        "mask": np.max([k * one.mask.astype(np.uint8) for k, one in enumerate(every, 1)], axis=0),
        **shares,
        "uncertainty": (1 - np.square(whole).sum(0)) / 2,
        "classes": np.array(["background", *names]),
    }


def classes_table(
    cases: Sequence[Sequence[Case]], names: Sequence[str], truncate: float | None = None
) -> dict[str, Any]:
    """`jaxgen.medical.segmentation.cases.table` of several classes: the mean over them, and some metrics of each.

    Args:
        cases: for each image a case for each class.
        names: of the classes; empty where there is one foreground.
        truncate: delta in pixels, if the maps of ensembles are signed distances.

    Returns:
        Rows as of `table`: each metric's mean over classes (of `COUNTS` the sum), then ``"{metric}, {name}"`` of each
        class for those of `BY_CLASS`. A class that no image has leaves no distance, and is left out of that mean.
    """
    each = [table(column, truncate) for column in zip(*cases, strict=True)]
    if not names:
        return each[0]
    found: dict[str, Any] = {}
    for row, first in each[0].items():
        if not isinstance(first, Mapping):
            found[row] = first
            continue
        found[row] = {metric: _over_classes(metric, [one[row][metric] for one in each]) for metric in first}
        found[row] |= {
            f"{metric}, {name}": one[row][metric]
            for metric in BY_CLASS
            if metric in first
            for name, one in zip(names, each, strict=True)
        }
    return found


def _over_classes(metric: str, values: Sequence[float]) -> float:
    if metric in COUNTS:
        return sum(values)
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def described_metrics(names: Sequence[str], unit: str = "pixels") -> dict[str, Description]:
    """`METRICS` with those of each class, and the unit of distances.

    Example:
        >>> described_metrics(("core",), "mm")["surface_distance, core"][0]
        'Surface distance, core'
    """
    known = {
        name: (title, better, text.replace("pixels,", f"{unit},")) for name, (title, better, text) in METRICS.items()
    }
    return known | {
        f"{metric}, {name}": (f"{known[metric][0]}, {name}", *known[metric][1:])
        for metric in BY_CLASS
        for name in names
    }


def case_rows(cases: Sequence[Sequence[Case]], names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each image, class and method: how well they agree.

    Args:
        cases: for each image a case for each class.
        names: of the classes; empty where there is one foreground.

    Returns:
        Rows with ``image``, ``class``, ``method``, ``dice``, ``hausdorff95`` and ``surface_distance``; distances are
        infinite where one mask is empty, and NaN where both are.
    """
    return [
        {"image": case.name, "class": name, "method": method, **case.agreement(method)}
        for image in cases
        for name, case in zip(names or ("foreground",), image, strict=True)
        for method in case.predictions
    ]
