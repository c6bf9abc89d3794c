"""Likelihoods of images in bits per dimension, with how sure one is of them."""

import math

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.metrics.bootstrap import Estimate
from jaxgen.types import Array, Key


def dequantise(key: Key, x: Array, *, bins: int = 256, low: float = -1.0, high: float = 1.0) -> Array:
    """Continuous data from whole numbers: ``low + (high - low) (x + u) / bins`` with u uniform in [0, 1).

    The mean log-density of what comes out, plus ``d log((high - low) / bins)``, is a lower bound of the log-probability
    of the whole numbers, which `bits_per_dimension` accounts for.

    Args:
        key: one key, or keys ``[b]``.
        x: whole numbers 0 .. bins - 1, ``[b, *spatial, c]``, such as uint8.
        bins: how many values there are.
        low: the lower end of the result.
        high: its upper end.

    Returns:
        Float32 in [low, high), of the shape of x.

    Reference:
        Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models", section 3.1; Uria, Murray &
        Larochelle 2013, "RNADE", section 4.

    Example:
        >>> import jax
        >>> y = dequantise(jax.random.key(0), jnp.array([[0, 255]], jnp.uint8))
        >>> bool((y[0, 0] < -1 + 2 / 256) & (y[0, 1] >= 1 - 2 / 256))
        True
    """
    continuous = (x.astype(jnp.float32) + draws.uniform(key, x.shape)) / bins
    return low + (high - low) * continuous


def bits_per_dimension(
    log_prob: Array, dimensions: int, *, bins: int | None = 256, low: float = -1.0, high: float = 1.0
) -> Estimate:
    """The mean of ``-(log p / d + log((high - low) / bins)) / log 2`` over examples, and its standard error.

    Args:
        log_prob: log-densities ``[b]`` in nats of data in [low, high], b at least 2 for the error to be defined. For
            several draws of the dequantisation, or of probes, average them over one example first.
        dimensions: d, the numbers that one example is made of.
        bins: the values that each of them had before dequantisation; None for data that was continuous, or a
            log-probability of whole numbers.
        low: the lower end of the dequantised range.
        high: its upper end.

    Returns:
        An `Estimate` in bits; the standard error is that over examples, the standard deviation divided by ``sqrt(b)``.

    Reference:
        Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models", section 3.1.

    Example:
        >>> uniform = jnp.full(4, -3 * math.log(2.0))  # the density of three numbers uniform in [-1, 1]
        >>> round(bits_per_dimension(uniform, 3).value, 4)
        8.0
    """
    width = 1.0 if bins is None else (high - low) / bins
    bits = -(np.asarray(log_prob, np.float64) / dimensions + math.log(width)) / math.log(2.0)
    return Estimate(float(bits.mean()), float(bits.std(ddof=1) / math.sqrt(len(bits))))


def divergence_from(true: np.ndarray, log_prob: np.ndarray) -> Estimate:
    """The Kullback-Leibler divergence ``mean(log p(x) - log q(x))`` from a known distribution p to a model q.

    Taken example by example, its standard error is smaller than that of the likelihood.

    Args:
        true: ``log p(x) [n]`` in nats of examples x drawn from p.
        log_prob: ``log q(x) [n]`` of the same examples.

    Returns:
        An `Estimate` in nats.

    Example:
        >>> divergence_from(np.array([-1.0, -3.0]), np.array([-1.5, -3.5]))
        Estimate(value=0.5, standard_error=0.0)
    """
    lost = true - np.asarray(log_prob, np.float64)
    return Estimate(float(lost.mean()), float(lost.std(ddof=1) / np.sqrt(len(lost))))


def bits(nats: np.ndarray, dimensions: int, bins: int | None = 256) -> dict[str, float]:
    """Log-densities ``[b]`` as the metrics ``bits`` per dimension and ``bits_error``, its standard error.

    Args:
        nats: the log-densities.
        dimensions: of one example.
        bins: values of a dequantised dimension; None where the log-densities are of whole numbers.

    Returns:
        ``bits`` and ``bits_error``.
    """
    found = bits_per_dimension(jnp.asarray(nats), dimensions, bins=bins)
    return {"bits": found.value, "bits_error": found.standard_error}
