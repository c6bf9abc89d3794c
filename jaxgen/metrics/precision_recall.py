"""Fidelity and diversity apart: precision and recall, density and coverage, on balls about nearest neighbours."""

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 1024


# The share of |a|^2 + |b|^2 below which squared distances differ by rounding alone: they count as equal.
_ROUNDING = 1e-11


def _squares(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances ``[n, m]``, and what rounding may have added to each."""
    size = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    return np.maximum(size - 2 * a @ b.T, 0), _ROUNDING * size


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance from each example to its k-th nearest other one."""
    if len(x) <= k:
        raise ValueError(f"{len(x)} examples have no {k} neighbours each: give more, or a smaller k")
    parts = []
    for first in range(0, len(x), _BLOCK):
        square, rounding = _squares(x[first : first + _BLOCK], x)
        square[square <= rounding] = 0
        square[np.arange(len(square)), first + np.arange(len(square))] = 0  # to itself
        parts.append(np.partition(square, k, axis=1)[:, k])
    return np.concatenate(parts)


def _both(real: ArrayLike, samples: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(real, np.float64), np.asarray(samples, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features hold NaN or infinity")
    centre = a.mean(0)  # distances do not change, and lose fewer digits
    return a - centre, b - centre


def precision_recall(real: ArrayLike, samples: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision: the share of samples within the real manifold; recall: of real examples within the samples'.

    A manifold is the union of balls about its examples, each reaching to the k-th nearest other one, which is within.

    Args:
        real: features ``[n, d]``.
        samples: features ``[m, d]``.
        k: the neighbour that gives a ball its radius.

    Returns:
        ``(precision, recall)``, each in [0, 1].

    Raises:
        ValueError: if a set has no more than k examples, or holds NaN or infinity.

    Reference:
        Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", arXiv
        1904.06991, eq. 1 and 2.

    Example:
        >>> line = np.arange(10.0)[:, None]
        >>> precision_recall(line, line[:5], k=1)
        (1.0, 0.6)
    """
    a, b = _both(real, samples)
    reach_a, reach_b = _radii(a, k), _radii(b, k)
    within_a, within_b = np.zeros(len(b), bool), np.zeros(len(a), bool)
    for first in range(0, len(a), _BLOCK):
        rows = slice(first, first + _BLOCK)
        square, rounding = _squares(a[rows], b)
        within_a |= (square <= reach_a[rows, None] + rounding).any(0)
        within_b[rows] = (square <= reach_b[None] + rounding).any(1)
    return float(within_a.mean()), float(within_b.mean())


def density_coverage(real: ArrayLike, samples: ArrayLike, k: int = 5) -> tuple[float, float]:
    """Density: how many real balls a sample lies in, over k; coverage: the share of real balls that hold a sample.

    Both stand on the real manifold alone, so one outlying sample cannot raise them. Density may exceed 1. A sample as
    far away as the neighbour that gives a ball its radius lies outside, as in the authors' code: real examples with k
    copies of themselves have a ball that holds nothing.

    Args:
        real: features ``[n, d]``.
        samples: features ``[m, d]``.
        k: the neighbour that gives a ball its radius.

    Returns:
        ``(density, coverage)``.

    Raises:
        ValueError: if there are no more than k real examples, or a set holds NaN or infinity.

    Reference:
        Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", arXiv 2002.09797, section
        3.

    Example:
        >>> line = np.arange(10.0)[:, None]
        >>> density_coverage(line, line[:5], k=1)
        (1.0, 0.5)
    """
    a, b = _both(real, samples)
    reach = _radii(a, k)
    hits, covered = 0, 0
    for first in range(0, len(a), _BLOCK):
        rows = slice(first, first + _BLOCK)
        square, rounding = _squares(a[rows], b)
        inside = square < reach[rows, None] - rounding
        hits, covered = hits + inside.sum(), covered + inside.any(1).sum()
    return float(hits / (k * len(b))), float(covered / len(a))
