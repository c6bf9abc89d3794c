"""The Frechet distance between two sets of features (FID in any feature space), and its value without bias.

Features are plain arrays ``[n, d]``: those of any network, or pixels. The numbers mean nothing without the name of the
feature space and the number of examples, on which the Frechet distance depends.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.bootstrap import Estimate
from jaxgen.metrics.streaming import Statistics, statistics


def frechet_distance(a: ArrayLike | Statistics, b: ArrayLike | Statistics) -> float:
    """The Frechet distance of two sets, as if they were normal: ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``.

    With the features of the Inception network this is FID. It is biased upwards by a term that falls with the number of
    examples: compare only sets of equal size, or use `frechet_distance_infinity`.

    Args:
        a: features ``[n, d]``, or their `statistics`.
        b: features ``[m, d]``, or their `statistics`.

    Returns:
        The squared distance, in squared units of the features.

    Raises:
        ValueError: if the features have different widths, are not finite, or a set has fewer than two examples.

    Reference:
        Heusel et al. 2017, "GANs trained by a two time-scale update rule", arXiv 1706.08500, eq. 6; Dowson & Landau
        1982, "The Frechet distance between multivariate normal distributions", eq. 4.

    Example:
        >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(x, x + 3), 6)
        18.0
    """
    return _distance(_rooted(a), _rooted(b))


def frechet_distance_infinity(
    samples: ArrayLike, reference: ArrayLike | Statistics, *, points: int = 15, least: float = 0.3, seed: int = 0
) -> Estimate:
    """The Frechet distance that unlimited samples would have: a line in 1 / n through subsets, taken to 0.

    ``d(n) = d_inf + c / n``, fitted by least squares to random subsets of `samples` of `points` sizes between
    ``least n`` and n. Only the bias of `samples` is removed: hold `reference` fixed, and as large as can be. Take n
    well above the width of the features: below it covariances are singular and the line bends.

    Args:
        samples: features ``[n, d]`` of generated images.
        reference: features ``[m, d]`` of real ones, or their `statistics`.
        points: how many sizes.
        least: the smallest one, as a share of n.
        seed: of the subsets.

    Returns:
        The extrapolated value, and the standard error of the fit (subsets overlap, so the true one is larger).

    Raises:
        ValueError: with fewer than three points or ten samples, or `least` out of (0, 1).

    Reference:
        Chong & Forsyth 2020, "Effectively unbiased FID and Inception score and where to find them", arXiv 1911.07023,
        section 4.

    Example:
        >>> x, y = np.random.default_rng(0).normal(size=(2, 600, 8))
        >>> frechet_distance_infinity(x, y).value < frechet_distance(x, y)
        True
    """
    values = np.asarray(samples, np.float64)
    if points < 3 or not 0 < least < 1 or len(values) < 10:
        raise ValueError(f"needs 3 points, a share in (0, 1) and 10 samples; got {points}, {least}, {len(values)}")
    fixed = _rooted(reference)
    rng = np.random.default_rng(seed)
    sizes = np.linspace(max(2, least * len(values)), len(values), points).round().astype(int)
    found = np.array([_distance(_rooted(values[rng.permutation(len(values))[:n]]), fixed) for n in sizes])
    design = np.stack([np.ones(points), 1 / sizes], axis=1)
    line, *_ = np.linalg.lstsq(design, found, rcond=None)
    spread = np.sum((found - design @ line) ** 2) / (points - 2)
    return Estimate(float(line[0]), float(np.sqrt(spread * np.linalg.inv(design.T @ design)[0, 0])))


class _Rooted(NamedTuple):
    mean: np.ndarray  # [d]
    root: np.ndarray  # [d, k] with root root^T the covariance


def _rooted(features: ArrayLike | Statistics) -> _Rooted:
    """The mean and a root of the covariance: of fewer examples than features, the examples themselves."""
    if not isinstance(features, Statistics):
        x = np.asarray(features, np.float64)
        if x.ndim == 2 and 2 <= len(x) < x.shape[1]:
            if not np.isfinite(x).all():
                raise ValueError("features hold NaN or infinity")
            mean = x.mean(0)
            return _Rooted(mean, (x - mean).T / np.sqrt(len(x) - 1))
        features = statistics([x])
    values, vectors = np.linalg.eigh(features.covariance)
    return _Rooted(features.mean, vectors * np.sqrt(np.maximum(values, 0)))


def _distance(one: _Rooted, two: _Rooted) -> float:
    if one.mean.shape != two.mean.shape:
        raise ValueError(f"features of widths {one.mean.shape[0]} and {two.mean.shape[0]} cannot be compared")
    # tr (C_a C_b)^(1/2) is the sum of the singular values of R_b' R_a, where R R' = C: no root of a product of two
    # nearly singular matrices is ever taken.
    cross = np.linalg.svd(two.root.T @ one.root, compute_uv=False).sum()
    gap = np.sum((one.mean - two.mean) ** 2)
    return float(max(gap + np.sum(one.root**2) + np.sum(two.root**2) - 2 * cross, 0.0))
