"""Distances between two sets of features: Frechet (FID in any feature space) and kernel (KID).

Features are plain arrays ``[n, d]``: those of any network, or pixels. The numbers mean nothing without the name of the
feature space and the number of examples, on which the Frechet distance depends.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Statistics(NamedTuple):
    """The first two moments of a set of features, in float64.

    Attributes:
        mean: ``[d]``.
        covariance: ``[d, d]``, unbiased.
        number: of examples.
    """

    mean: np.ndarray
    covariance: np.ndarray
    number: int


def statistics(batches: Iterable[ArrayLike]) -> Statistics:
    """Mean and covariance of features that come batch by batch, in memory that does not grow with their number.

    Args:
        batches: arrays ``[n, d]``, such as ``[features]`` or a generator.

    Returns:
        The moments, as `frechet_distance` takes them.

    Raises:
        ValueError: if there are fewer than two examples.

    Reference:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", for joining two parts.

    Example:
        >>> whole = statistics([[[0.0], [2.0]], [[4.0]]])
        >>> whole.mean.tolist(), whole.covariance.tolist(), whole.number
        ([2.0], [[4.0]], 3)
    """
    count, mean, scatter = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        x = np.asarray(batch, np.float64)
        centre = x.mean(0)
        off, shift, total = x - centre, centre - mean, count + len(x)
        scatter = scatter + off.T @ off + np.outer(shift, shift) * (count * len(x) / total)
        mean, count = mean + shift * (len(x) / total), total
    if count < 2:
        raise ValueError(f"{count} examples have no covariance: at least 2 are needed")
    return Statistics(mean, scatter / (count - 1), count)


def frechet_distance(a: ArrayLike | Statistics, b: ArrayLike | Statistics) -> float:
    """The Frechet distance of two sets, as if they were normal: ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``.

    With the features of the Inception network this is FID. It is biased upwards by a term that falls with the number of
    examples: compare only sets of equal size.

    Args:
        a: features ``[n, d]``, or their `statistics`.
        b: features ``[m, d]``, or their `statistics`.

    Returns:
        The squared distance, in squared units of the features.

    Raises:
        ValueError: if the features have different widths, or a set has fewer than two examples.

    Reference:
        Heusel et al. 2017, "GANs trained by a two time-scale update rule", arXiv 1706.08500, eq. 6; Dowson & Landau
        1982, "The Frechet distance between multivariate normal distributions", eq. 4.

    Example:
        >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(x, x + 3), 6)
        18.0
    """
    one, two = (s if isinstance(s, Statistics) else statistics([s]) for s in (a, b))
    if one.mean.shape != two.mean.shape:
        raise ValueError(f"features of widths {one.mean.shape[0]} and {two.mean.shape[0]} cannot be compared")
    # tr (C_a C_b)^(1/2) is the sum of the singular values of R_b R_a, where R R' = C: no root of a product of two
    # nearly singular matrices is ever taken.
    roots = _root(one.covariance), _root(two.covariance)
    cross = np.linalg.svd(roots[1].T @ roots[0], compute_uv=False).sum()
    gap = np.sum((one.mean - two.mean) ** 2)
    return float(max(gap + np.trace(one.covariance) + np.trace(two.covariance) - 2 * cross, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))


class Estimate(NamedTuple):
    """A number with its standard error."""

    value: float
    standard_error: float


def kernel_distance(
    a: ArrayLike, b: ArrayLike, *, subsets: int = 50, size: int = 200, seed: int = 0, degree: int = 3
) -> Estimate:
    """The kernel distance (KID): unbiased squared MMD with the kernel ``(x'y / d + 1)^degree``, over random subsets.

    Its expectation does not depend on the number of examples; for two draws of one law it is 0, so values may be
    negative.

    Args:
        a: features ``[n, d]``.
        b: features ``[m, d]``.
        subsets: how many pairs of subsets to average over.
        size: examples in each, as many as there are at most.
        seed: of the subsets.
        degree: of the kernel.

    Returns:
        The mean over subsets, and its standard error as that of their spread.

    Raises:
        ValueError: if a set has fewer than two examples.

    Reference:
        Binkowski et al. 2018, "Demystifying MMD GANs", arXiv 1801.01401, section 3.1 and eq. 4.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(300, 4)), rng.normal(size=(300, 4))
        >>> kernel_distance(x, y + 1).value > 10 * abs(kernel_distance(x, y).value)
        True
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = min(size, len(a), len(b))
    if size < 2:
        raise ValueError("each set needs at least 2 examples")
    rng = np.random.default_rng(seed)

    def one() -> float:
        x, y = (s[rng.choice(len(s), size, replace=False)] for s in (a, b))

        def kernel(u, v):
            return (u @ v.T / u.shape[1] + 1) ** degree

        within = sum((k.sum() - np.trace(k)) / (size * (size - 1)) for k in (kernel(x, x), kernel(y, y)))
        return within - 2 * kernel(x, y).mean()

    values = np.array([one() for _ in range(subsets)])
    spread = values.std(ddof=1) / np.sqrt(subsets) if subsets > 1 else np.nan
    return Estimate(float(values.mean()), float(spread))
