"""How sure a number is: standard errors of values, and bootstrap intervals over cases."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A value and its standard error.

    Attributes:
        value: the estimate.
        standard_error: of the value, over draws of the samples.
    """

    value: float
    standard_error: float


class Interval(NamedTuple):
    """A value with a confidence interval.

    Attributes:
        value: the statistic of the samples themselves.
        low: the lower end.
        high: the upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[..., float],
    *samples: Any,
    level: float = 0.95,
    resamples: int = 1000,
    paired: bool = True,
    seed: int = 0,
) -> Interval:
    """A percentile bootstrap interval of a statistic, drawing cases with replacement.

    The ends are the ``(1 - level) / 2`` and ``(1 + level) / 2`` quantiles of ``statistic(samples*)`` over resamples.
    Draw cases (patients, images), never pixels: pixels of one image are not independent. A statistic that repeated
    cases mislead, such as distances to nearest neighbours or the Fréchet distance of small sets, needs its own standard
    error instead.

    Args:
        statistic: ``statistic(*samples) -> number``, on NumPy arrays.
        samples: arrays ``[n, ...]``.
        level: of confidence, between 0 and 1.
        resamples: how many.
        paired: draw the same cases of all arrays (two methods on the same images), which then have one length; else of
            each array on its own (two sets of images).
        seed: of the draws.

    Returns:
        The `Interval`; both ends are NaN where the statistic is NaN or infinite, of the samples or of a resample.

    Raises:
        ValueError: if the level is out of range, or paired arrays differ in length.

    Reference:
        Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; Efron and Tibshirani, "An Introduction to the
        Bootstrap", 1993, section 13.3.

    Example:
        >>> scores = np.array([0.8, 0.7, 0.9, 0.75, 0.85])
        >>> interval = bootstrap_interval(np.mean, scores)
        >>> round(interval.value, 3), interval.low < 0.8 < interval.high
        (0.8, True)
    """
    arrays = [np.asarray(sample) for sample in samples]
    lengths = [len(array) for array in arrays]
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"a level between 0 and 1 and some resamples, not {level} and {resamples}")
    if paired and len(set(lengths)) > 1:
        raise ValueError(f"paired samples need one length, got {lengths}")
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for i in range(resamples):
        if paired:
            chosen = [rng.integers(0, lengths[0], lengths[0])] * len(arrays)
        else:
            chosen = [rng.integers(0, n, n) for n in lengths]
        values[i] = statistic(*(array[c] for array, c in zip(arrays, chosen, strict=True)))
    value = float(statistic(*arrays))
    if not np.isfinite([value, *values]).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def jackknife_error(statistic: Callable[..., float], *samples: Any, groups: int = 10, seed: int = 0) -> float:
    """The standard error of a statistic of sets, by leaving out a group of cases of each at a time.

    ``sqrt((g - 1) / g sum_i (s_i - mean s)^2)`` with s_i the statistic without group i. No case is ever repeated, so
    that it serves where `bootstrap_interval` misleads: for the Fréchet distance, and for smooth statistics in general.

    Args:
        statistic: ``statistic(*samples) -> number``, on NumPy arrays.
        samples: arrays ``[n, ...]``, drawn apart from each other.
        groups: how many; the statistic is computed as often.
        seed: of the groups.

    Returns:
        The standard error.

    Raises:
        ValueError: if there are fewer than two groups, or fewer cases than groups.

    Reference:
        Efron and Stein, "The Jackknife Estimate of Variance", 1981; Shao and Wu, "A General Theory for Jackknife
        Variance Estimation", 1989, for groups.

    Example:
        >>> scores = np.array([0.8, 0.7, 0.9, 0.75, 0.85])
        >>> error = jackknife_error(np.mean, scores, groups=5)
        >>> bool(np.isclose(error, scores.std(ddof=1) / np.sqrt(5)))
        True
    """
    arrays = [np.asarray(sample) for sample in samples]
    if groups < 2 or min(len(array) for array in arrays) < groups:
        raise ValueError(f"needs two groups or more and as many cases; got {groups}, {[len(a) for a in arrays]}")
    rng = np.random.default_rng(seed)
    group = [rng.permutation(len(array)) % groups for array in arrays]
    found = np.array([statistic(*(a[g != i] for a, g in zip(arrays, group, strict=True))) for i in range(groups)])
    return float(np.sqrt((groups - 1) / groups * np.sum((found - np.mean(found)) ** 2)))
