"""Are samples copies of the training set? Distances to the nearest training example."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_BLOCK = 256


class CopyingTest(NamedTuple):
    """Samples compared with held-out real examples, by their distances to the nearest training example.

    Attributes:
        closer: the probability that a sample lies nearer to the training set than a held-out example does, a tie
            counting one half; 0.5 for samples of the true distribution.
        z: that probability as the statistic of a Mann-Whitney test, about N(0, 1) for samples of the true distribution;
            well above 3 the samples copy, well below -3 they lie far from all data.
        copies: the share of samples nearer to the training set than 99 of 100 held-out examples; 0.01 for samples of
            the true distribution.
    """

    closer: float
    z: float
    copies: float


def nearest_neighbours(samples: ArrayLike, train: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The distance from each sample to its nearest training example, and which one that is.

    Args:
        samples: ``[m, d]`` features, or flattened pixels.
        train: ``[n, d]``.

    Returns:
        ``(distance [m], index [m])``, Euclidean.

    Example:
        >>> distance, index = nearest_neighbours([[0.0], [9.0]], [[1.0], [5.0], [10.0]])
        >>> distance.tolist(), index.tolist()
        ([1.0, 1.0], [0, 2])
    """
    a, b = np.asarray(samples, np.float64), np.asarray(train, np.float64)
    centre = b.mean(0)
    a, b = a - centre, b - centre
    size = (b**2).sum(1)
    index = np.concatenate(
        [np.argmin(size - 2 * a[first : first + _BLOCK] @ b.T, axis=1) for first in range(0, len(a), _BLOCK)]
    )
    return np.linalg.norm(a - b[index], axis=1), index


def _finite(*sets: ArrayLike) -> bool:
    return all(np.isfinite(np.asarray(x, np.float64)).all() for x in sets)


def memorisation_ratio(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> float:
    """The median distance from a sample to the training set over that from a held-out real example.

    Near 0 samples are copies; near 1 they are as far from the training images as new images are. The ratio alone does
    not say that samples are good: noise lies far away from everything.

    Args:
        samples: ``[m, d]`` features, or flattened pixels.
        train: ``[n, d]``.
        held_out: real examples that were not trained on, ``[k, d]``.

    Returns:
        The ratio; NaN where an example is not finite.

    Reference:
        Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative models", arXiv
        2004.05675, section 3, whose test compares the same two sets of distances.

    Example:
        >>> memorisation_ratio([[0.0], [1.0]], [[0.0], [1.0], [2.0]], [[0.5], [1.5]])
        0.0
    """
    if not _finite(samples, train, held_out):
        return float("nan")
    ours, theirs = (np.median(nearest_neighbours(x, train)[0]) for x in (samples, held_out))
    return float(ours / theirs) if theirs > 0 else float("nan")


def copying_test(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> CopyingTest:
    """Whether samples lie nearer to the training set than real examples that the model never saw.

    `memorisation_ratio` compares medians; this sees a part of the samples too, and says how sure it is.

    Args:
        samples: ``[m, d]`` features, or flattened pixels.
        train: ``[n, d]``.
        held_out: real examples that were not trained on, ``[k, d]``.

    Returns:
        The test's statistics; NaN where an example is not finite.

    Reference:
        Meehan, Chaudhuri & Dasgupta 2020, "A non-parametric test to detect data-copying in generative models", arXiv
        2004.05675, section 3, with all of space as one cell; Mann & Whitney 1947, "On a test of whether one of two
        random variables is stochastically larger than the other", with the variance for ties.

    Example:
        >>> train, held_out = np.random.default_rng(0).normal(size=(2, 200, 3))
        >>> copying_test(train[:100], train, held_out).closer
        1.0
    """
    if not _finite(samples, train, held_out):
        return CopyingTest(float("nan"), float("nan"), float("nan"))
    ours, theirs = (nearest_neighbours(x, train)[0] for x in (samples, held_out))
    n, k = len(ours), len(theirs)
    values, place, ties = np.unique(np.concatenate([ours, theirs]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place[:n]]  # from 1; ties share their mean
    closer = 1 - (ranks.sum() - n * (n + 1) / 2) / (n * k)
    total = n + k
    variance = (total + 1 - np.sum(ties**3 - ties) / (total * (total - 1))) / (12 * n * k)
    z = (closer - 0.5) / np.sqrt(variance) if len(values) > 1 else 0.0
    return CopyingTest(float(closer), float(z), float(np.mean(ours < np.quantile(theirs, 0.01))))
