"""Intervals around the mean of samples: how often they hold the truth, and how much wider they must be to do so."""

import jax.numpy as jnp
import numpy as np

from jaxgen.metrics._sums import total
from jaxgen.types import Array


def _compared(samples: Array, truth: Array, level: float, where: Array | None) -> tuple[Array, Array, Array]:
    """``|mean - truth|``, half the width of the interval, and what counts."""
    from scipy.stats import t  # takes a second to load

    samples, truth = jnp.asarray(samples, jnp.float32), jnp.asarray(truth, jnp.float32)
    n = len(samples)
    if n < 2:
        raise ValueError(f"an interval needs at least 2 samples, got {n}")
    if samples.shape[1:] != truth.shape:
        raise ValueError(f"samples of {samples.shape[1:]} but a truth of {truth.shape}")
    if not 0 < level < 1:
        raise ValueError(f"the level must be between 0 and 1, got {level}")
    quantile = float(t.ppf((1 + level) / 2, n - 1)) * np.sqrt(1 + 1 / n)
    counts = jnp.ones(truth.shape, bool) if where is None else jnp.asarray(where) != 0
    known = jnp.all(jnp.isfinite(samples), 0) & jnp.isfinite(truth)
    counts = jnp.where(jnp.all(known | ~counts), counts, False)  # else nothing is known: NaN
    return jnp.abs(jnp.mean(samples, 0) - truth), quantile * jnp.std(samples, 0, ddof=1), counts


def interval_coverage(
    samples: Array,
    truth: Array,
    *,
    level: float = 0.9,
    widening: float | Array = 1.0,
    where: Array | None = None,
) -> Array:
    """Share of the values that lie in the prediction interval of their samples.

    The interval is ``mean +- widening t sqrt(1 + 1/n) s``, with the samples' standard deviation s and the quantile t of
    Student's distribution of n - 1 degrees of freedom at ``(1 + level) / 2``: were the truth one more draw of a
    Gaussian, it would lie inside with probability `level`.

    Args:
        samples: ``[n, ...]``, of a posterior.
        truth: ``[...]``.
        level: of the interval.
        widening: factor of its width, see `interval_widening`.
        where: ``[...]``, the values that count; all of them by default.

    Returns:
        float32 scalar in [0, 1]; NaN if nothing counts, or a sample or truth that counts is not finite.

    Raises:
        ValueError: if there are fewer than 2 samples, the shapes differ, or the level is not between 0 and 1.

    Example:
        >>> samples = jnp.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
        >>> interval_coverage(samples, jnp.array([1.0, 9.0])).item()
        0.5
    """
    error, reach, counts = _compared(samples, truth, level, where)
    inside = counts & (error <= widening * reach)
    return jnp.where(jnp.any(jnp.isnan(widening)), jnp.nan, total(inside) / total(counts))


def interval_widening(samples: Array, truth: Array, *, level: float = 0.9, where: Array | None = None) -> Array:
    """The factor with which prediction intervals of samples hold the share `level` of the values.

    The ``ceil(level (n + 1))``-th smallest of the n ratios of error and reach (split conformal prediction with a scalar
    uncertainty). Found on validation data, it carries over to what is exchangeable with it; pixels of one image are not
    independent, so that many images count for more than many pixels.

    Args:
        samples: ``[n, ...]``, of a posterior.
        truth: ``[...]``.
        level: of the interval.
        where: ``[...]``, the values that count; all of them by default.

    Returns:
        float32 scalar: above 1 where the samples are too sure, inf where no width is enough (samples that agree on what
        is wrong); NaN if nothing counts, or a sample or truth that counts is not finite.

    Raises:
        ValueError: if there are fewer than 2 samples, the shapes differ, or the level is not between 0 and 1.

    Reference:
        Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction and Distribution-Free Uncertainty
        Quantification", 2021, section 2.3.

    Example:
        >>> samples = 5 + jnp.array([[-1.0], [1.0]]) * jnp.ones(99)
        >>> truth = 5 + jnp.linspace(0.0, 20.0, 99)
        >>> round(interval_coverage(samples, truth).item(), 2)
        0.55
        >>> factor = interval_widening(samples, truth)
        >>> round(interval_coverage(samples, truth, widening=1.0001 * factor).item(), 2)
        0.91
    """
    error, reach, counts = _compared(samples, truth, level, where)
    ratio = jnp.where(error == 0, 0.0, error / reach)
    ordered = jnp.sort(jnp.where(counts, ratio, jnp.nan), axis=None)  # NaN comes last
    n = jnp.sum(counts)
    rank = jnp.minimum(jnp.ceil(level * (n + 1)).astype(int), n)
    return jnp.where(n > 0, ordered[jnp.maximum(rank - 1, 0)], jnp.nan)


def sample_widening(drawn: np.ndarray, truth: np.ndarray, where: np.ndarray, *, level: float = 0.9) -> float:
    """`interval_widening` as a number to keep: what the intervals of later samples are multiplied by.

    Args:
        drawn: samples ``[n, ...]``, of validation data.
        truth: ``[...]``.
        where: bool ``[...]``, the values that count.
        level: of the interval.

    Returns:
        The factor; 1 where that has no meaning, as where nothing counts; NaN where any sample diverged.

    Example:
        >>> sample_widening(np.zeros((2, 3)), np.ones(3), np.zeros(3, bool))
        1.0
    """
    if not np.isfinite(drawn).all():
        return float("nan")
    found = float(interval_widening(jnp.asarray(drawn), jnp.asarray(truth), level=level, where=jnp.asarray(where)))
    return found if np.isfinite(found) else 1.0


def sample_uncertainty(
    drawn: np.ndarray, truth: np.ndarray, where: np.ndarray, widening: float, *, level: float = 0.9
) -> dict[str, float]:
    """How well the samples' standard deviation tells the error of their mean.

    Args:
        drawn: samples ``[n, ...]``.
        truth: ``[...]``.
        where: bool ``[...]``, the values that count.
        widening: from `sample_widening` on validation data.
        level: of the interval.

    Returns:
        ``rank``, the rank correlation of the samples' standard deviation with the error; ``coverage`` of the intervals;
        ``calibrated``, that of the widened intervals; and ``widening``. All are NaN where any sample diverged.

    Example:
        >>> drawn = np.array([[-1.0, -2.0], [1.0, 2.0]])
        >>> found = sample_uncertainty(drawn, np.array([0.5, 1.0]), np.ones(2, bool), 2.0)
        >>> round(found["rank"], 3), found["coverage"]
        (1.0, 1.0)
    """
    if not np.isfinite(drawn).all():
        return dict.fromkeys(("rank", "coverage", "calibrated", "widening"), float("nan"))
    from scipy.stats import spearmanr  # takes a second to load

    error, spread = np.abs(drawn.mean(0) - truth)[where], drawn.std(0, ddof=1)[where]

    def covered(factor: float) -> float:
        x, reference, counts = jnp.asarray(drawn), jnp.asarray(truth), jnp.asarray(where)
        return float(interval_coverage(x, reference, level=level, widening=factor, where=counts))

    return {
        "rank": float(np.nan_to_num(spearmanr(spread, error).statistic)) if len(error) else 0.0,
        "coverage": covered(1.0),
        "calibrated": covered(widening),
        "widening": widening,
    }
