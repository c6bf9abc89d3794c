"""Metrics by group: the worst group and the gap between groups; and the F1 of several findings."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike


def by_group(score: Callable[..., float], group: ArrayLike, *arrays: ArrayLike) -> dict[int, float]:
    """A score of each group.

    Args:
        score: of the arrays of one group.
        group: whole numbers ``[n]``.
        *arrays: ``[n, ...]`` each, such as probabilities and outcomes.

    Returns:
        The score by group; of a group that has none (of one class alone, say), NaN.

    Example:
        >>> by_group(lambda x: float(np.mean(x)), [0, 0, 2], [1.0, 3.0, 5.0])
        {0: 2.0, 2: 5.0}
    """
    of = np.asarray(group)
    return {int(g): score(*(np.asarray(array)[of == g] for array in arrays)) for g in np.unique(of)}


def worst_and_gap(scores: Mapping[int, float]) -> tuple[float, float]:
    """The lowest score of the groups, and how far the highest lies above it; NaN where a group has no score.

    Reference:
        Ktena et al. 2024, arXiv 2304.09218, whose fairness gap is that of the best and the worst group.

    Example:
        >>> worst_and_gap({0: 0.75, 1: 1.0})
        (0.75, 0.25)
    """
    values = np.array(list(scores.values()), float)
    return float(values.min()), float(values.max() - values.min())


def f1_scores(predicted: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """The F1 score of each finding: ``2 TP / (2 TP + FP + FN)``.

    Args:
        predicted: zeros and ones ``[n, k]``.
        truth: the same.

    Returns:
        ``[k]``; NaN for a finding that is neither there nor predicted.

    Example:
        >>> f1_scores([[1, 0], [1, 0]], [[1, 0], [0, 0]]).round(3).tolist()
        [0.667, nan]
    """
    a, b = np.asarray(predicted) > 0, np.asarray(truth) > 0
    both, either = (a & b).sum(0), a.sum(0) + b.sum(0)
    return np.divide(2.0 * both, either, out=np.full(len(both), np.nan), where=either > 0)
