"""Fidelity and diversity apart: precision and recall, density and coverage, on balls about nearest neighbours."""

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 1024


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The distance from each example to its k-th nearest other one."""
    if len(x) <= k:
        raise ValueError(f"{len(x)} examples have no {k} neighbours each: give more, or a smaller k")
    parts = []
    for first in range(0, len(x), _BLOCK):
        distance = _distances(x[first : first + _BLOCK], x)
        distance[np.arange(len(distance)), first + np.arange(len(distance))] = 0  # to itself
        parts.append(np.partition(distance, k, axis=1)[:, k])
    return np.concatenate(parts)


def _both(real: ArrayLike, samples: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(real, np.float64), np.asarray(samples, np.float64)
    centre = a.mean(0)  # distances do not change, and lose fewer digits
    return a - centre, b - centre


def precision_recall(real: ArrayLike, samples: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision: the share of samples within the real manifold; recall: of real examples within the samples'.

    A manifold is the union of balls about its examples, each reaching to the k-th nearest other one.

    Args:
        real: features ``[n, d]``.
        samples: features ``[m, d]``.
        k: the neighbour that gives a ball its radius.

    Returns:
        ``(precision, recall)``, each in [0, 1].

    Raises:
        ValueError: if a set has no more than k examples.

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
        distance = _distances(a[rows], b)
        within_a |= (distance <= reach_a[rows, None]).any(0)
        within_b[rows] = (distance <= reach_b[None]).any(1)
    return float(within_a.mean()), float(within_b.mean())


def density_coverage(real: ArrayLike, samples: ArrayLike, k: int = 5) -> tuple[float, float]:
    """Density: how many real balls a sample lies in, over k; coverage: the share of real balls that hold a sample.

    Both stand on the real manifold alone, so one outlying sample cannot raise them. Density may exceed 1.

    Args:
        real: features ``[n, d]``.
        samples: features ``[m, d]``.
        k: the neighbour that gives a ball its radius.

    Returns:
        ``(density, coverage)``.

    Raises:
        ValueError: if there are no more than k real examples.

    Reference:
        Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", arXiv 2002.09797, section
        3.

    Example:
        >>> line = np.arange(10.0)[:, None]
        >>> density_coverage(line, line[:5], k=1)
        (2.8, 0.6)
    """
    a, b = _both(real, samples)
    reach = _radii(a, k)
    hits, covered = 0, 0
    for first in range(0, len(a), _BLOCK):
        rows = slice(first, first + _BLOCK)
        inside = _distances(a[rows], b) <= reach[rows, None]
        hits, covered = hits + inside.sum(), covered + inside.any(1).sum()
    return float(hits / (k * len(b))), float(covered / len(a))
