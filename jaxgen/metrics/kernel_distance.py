"""Maximum mean discrepancy of two sets of features, unbiased, with its standard error; KID is one of its kernels."""

from collections.abc import Callable

import numpy as np

from jaxgen.metrics._host import distance_blocks
from jaxgen.metrics._host import features as as_features
from jaxgen.metrics.bootstrap import Estimate
from jaxgen.types import Array

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def kernel_distance(
    a: np.ndarray | Array, b: np.ndarray | Array, *, degree: int = 3, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """Kernel distance (KID, with Inception's features): unbiased, so that sets of different sizes can be compared.

    The squared maximum mean discrepancy with the kernel ``k(x, y) = (x^T y / d + 1)^degree``. Both sets are cut at
    random into as many disjoint subsets of about `subset_size`; the value is the mean over the subsets' unbiased
    estimates. It may be a little negative where the sets are alike.

    Args:
        a: features ``[n, d]``.
        b: features ``[m, d]``.
        degree: of the polynomial.
        subset_size: of the smaller set, examples a subset; time and memory grow with it.
        seed: of the subsets.

    Returns:
        The value and its standard error, for new draws of both sets (see `maximum_mean_discrepancy`).

    Raises:
        ValueError: if the widths differ, or there are fewer than three examples.

    Reference:
        Bińkowski et al., "Demystifying MMD GANs", 2018 (arXiv 1801.01401), section 4.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> near, far = (kernel_distance(x[:150], x[150:] + shift) for shift in (0, 1))
        >>> abs(near.value) < 4 * near.standard_error, far.value > 4 * far.standard_error
        (True, True)
    """
    return _in_subsets(a, b, subset_size, seed, lambda x, y: (x @ y.T / x.shape[1] + 1) ** degree)


def maximum_mean_discrepancy(
    a: np.ndarray | Array,
    b: np.ndarray | Array,
    *,
    bandwidth: float | None = None,
    subset_size: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased.

    ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` with ``k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))``, over pairs of
    different examples. The standard error is the jackknife's, leaving out one example at a time; it is right where the
    sets differ, and by Efron and Stein's inequality rather too large than too small where they are alike.

    Args:
        a: features ``[n, d]``.
        b: features ``[m, d]``.
        bandwidth: in the unit of the features; None takes the median distance between up to 1000 examples of both sets.
        subset_size: see `kernel_distance`.
        seed: of the subsets, and of those examples.

    Returns:
        The value and its standard error.

    Raises:
        ValueError: if the widths differ, there are fewer than three examples, or the bandwidth is not positive.

    Reference:
        Gretton et al., "A Kernel Two-Sample Test", 2012, equation 3 and section 8; Efron and Stein, "The Jackknife
        Estimate of Variance", 1981.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 2))
        >>> 0.1 < maximum_mean_discrepancy(x[:100], x[100:] + 2).value < 2
        True
    """
    first, second = as_features(a, b)
    if bandwidth is None:
        rng = np.random.default_rng(seed)
        some = [x[rng.permutation(len(x))[:500]] for x in (first, second)]
        both = np.concatenate(some)
        distances = np.concatenate([block for _, block in distance_blocks(both, both)])
        bandwidth = float(np.median(distances[np.triu_indices(len(both), 1)]))
    if not bandwidth > 0:
        raise ValueError(f"the bandwidth is {bandwidth}; it must be positive (are most examples equal?)")
    scale = -0.5 / bandwidth**2

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(scale * np.concatenate([block for _, block in distance_blocks(x, y)]) ** 2)

    return _in_subsets(first, second, subset_size, seed, kernel)


def _in_subsets(a: np.ndarray | Array, b: np.ndarray | Array, subset_size: int, seed: int, kernel: Kernel) -> Estimate:
    first, second = as_features(a, b)
    smaller = min(len(first), len(second))
    if smaller < 3 or subset_size < 3:
        raise ValueError(f"needs three examples or more of each set and a subset, got {smaller} and {subset_size}")
    count = max(1, smaller // subset_size)
    rng = np.random.default_rng(seed)
    parts = [np.array_split(x[rng.permutation(len(x))], count) for x in (first, second)]
    found = [_discrepancy(kernel(x, x), kernel(y, y), kernel(x, y)) for x, y in zip(*parts, strict=True)]
    return Estimate(
        float(np.mean([value for value, _ in found])),
        float(np.sqrt(np.sum([variance for _, variance in found])) / count),
    )


def _discrepancy(within_a: np.ndarray, within_b: np.ndarray, across: np.ndarray) -> tuple[float, float]:
    """The unbiased estimate, and its variance by leaving out every example once."""
    rows_a, rows_b = (k.sum(1) - np.diagonal(k) for k in (within_a, within_b))
    n, m = across.shape
    total_a, total_b, total = rows_a.sum(), rows_b.sum(), across.sum()
    mean_a, mean_b = total_a / (n * (n - 1)), total_b / (m * (m - 1))
    value = mean_a + mean_b - 2 * total / (n * m)
    less_a = (total_a - 2 * rows_a) / ((n - 1) * (n - 2)) + mean_b - 2 * (total - across.sum(1)) / ((n - 1) * m)
    less_b = (total_b - 2 * rows_b) / ((m - 1) * (m - 2)) + mean_a - 2 * (total - across.sum(0)) / (n * (m - 1))
    variance = sum((len(x) - 1) / len(x) * np.sum((x - x.mean()) ** 2) for x in (less_a, less_b))
    return float(value), float(variance)


def discrepancy(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """`maximum_mean_discrepancy` of two sets of vectors as the metrics ``discrepancy`` and ``discrepancy_error``.

    Args:
        x: ``[n, d]``.
        y: ``[m, d]``.

    Returns:
        The squared discrepancy, and its standard error.
    """
    found = maximum_mean_discrepancy(x, y)
    return {"discrepancy": found.value, "discrepancy_error": found.standard_error}
