"""Whether probabilities mean what they say: reliability, expected calibration error, Brier score. Safe under jit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.metrics._sums import blocked, total
from jaxgen.types import Array


class Reliability(NamedTuple):
    """A reliability curve over equal bins of [0, 1].

    Attributes:
        probability: ``[bins]``, the mean predicted probability of each bin, NaN where it is empty.
        frequency: ``[bins]``, the share of positive outcomes of each bin, NaN where it is empty.
        number: ``[bins]``, int32, how many predictions fell into each bin.
    """

    probability: Array
    frequency: Array
    number: Array


def reliability_curve(probability: Array, outcome: Array, *, bins: int = 15) -> Reliability:
    """How often the event happened, against how probable it was said to be.

    Bin k holds the predictions in ``[k / bins, (k + 1) / bins)``, the last one also 1.

    Args:
        probability: of the event, in [0, 1], any shape (pixels and examples are pooled).
        outcome: whether it happened, nonzero or not, the same shape.
        bins: how many bins of equal width.

    Returns:
        The `Reliability` curve; NaN in every bin where a probability or an outcome is NaN or infinite.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        DeGroot and Fienberg, "The Comparison and Evaluation of Forecasters", 1983.

    Example:
        >>> import jax.numpy as jnp
        >>> reliability_curve(jnp.array([0.25, 0.25, 0.75]), jnp.array([0, 1, 1]), bins=2).frequency.tolist()
        [0.5, 1.0]
    """
    probability, outcome = _checked(probability, outcome)
    index = jnp.clip(jnp.nan_to_num(jnp.floor(probability * bins)), 0, bins - 1).astype(jnp.int32)
    centre = (jnp.arange(bins) + 0.5) / bins
    # counts are integers, and only offsets from the bin's centre are added up in float32: little to round
    add = jax.vmap(lambda values, where: jax.ops.segment_sum(values, where, bins + 1))
    where = blocked(index, fill=bins)  # the filling goes into a bin too many, dropped below
    offset = jnp.sum(add(blocked(probability - centre[index]), where), axis=0)[:bins]
    happened = jax.ops.segment_sum((outcome > 0).astype(jnp.int32), index, bins)
    count = jax.ops.segment_sum(jnp.ones_like(index), index, bins)
    known = jnp.all(jnp.isfinite(probability) & jnp.isfinite(outcome))
    share = jnp.where(known & (count > 0), count, jnp.nan)
    return Reliability(centre + offset / share, happened / share, count)


def expected_calibration_error(probability: Array, outcome: Array, *, bins: int = 15) -> Array:
    """Expected calibration error of a binary event: ``sum_k (n_k / n) |frequency_k - probability_k|``.

    Args:
        probability: of the event, in [0, 1], any shape.
        outcome: whether it happened, the same shape.
        bins: how many bins of equal width.

    Returns:
        float32 scalar in [0, 1]; NaN where a probability or an outcome is NaN or infinite.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015, eq. 2,
        for the probability of the event rather than of the predicted class.

    Example:
        >>> import jax.numpy as jnp
        >>> expected_calibration_error(jnp.array([0.5, 0.5, 1.0, 1.0]), jnp.array([0, 1, 1, 0])).item()
        0.25
    """
    curve = reliability_curve(probability, outcome, bins=bins)
    gap = jnp.where(curve.number > 0, jnp.abs(curve.frequency - curve.probability), 0)
    return jnp.sum(gap * curve.number) / jnp.sum(curve.number)


def brier_score(probability: Array, outcome: Array) -> Array:
    """Brier score of a binary event: ``mean (probability - outcome)^2``.

    Args:
        probability: of the event, in [0, 1], any shape.
        outcome: whether it happened, the same shape.

    Returns:
        float32 scalar in [0, 1]; 0.25 for a constant one half. NaN where a probability or an outcome is NaN.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950; half of its equation 2.

    Example:
        >>> import jax.numpy as jnp
        >>> brier_score(jnp.array([0.5, 1.0]), jnp.array([0, 1])).item()
        0.125
    """
    probability, outcome = _checked(probability, outcome)
    return total(jnp.square(probability - outcome)) / probability.size


def _checked(probability: Array, outcome: Array) -> tuple[Array, Array]:
    probability = jnp.asarray(probability, jnp.float32)
    outcome = jnp.asarray(outcome)
    outcome = jnp.where(jnp.isfinite(outcome), (outcome != 0).astype(jnp.float32), jnp.nan)
    if probability.shape != outcome.shape:
        raise ValueError(f"probabilities have shape {probability.shape}, outcomes {outcome.shape}")
    return probability.ravel(), outcome.ravel()
