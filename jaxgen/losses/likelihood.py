"""Negative log-likelihoods of data under a network's output, one value per example, in nats."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.types import Array


def _float(a: Any) -> Array:
    a = jnp.asarray(a)
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


def _reduce(values: Array, reduce: str) -> Array:
    axes = tuple(range(1, values.ndim))
    if reduce not in ("sum", "mean"):
        raise ValueError(f"unknown reduction {reduce!r}: choose sum or mean")
    return jnp.sum(values, axes) if reduce == "sum" else jnp.mean(values, axes)


def bernoulli(logits: Array, x: Array, *, reduce: str = "sum") -> Array:
    """Binary cross-entropy from logits: ``-x log p - (1 - x) log(1 - p)`` with ``p = sigmoid(logits)``.

    Stable for logits of any size.

    Args:
        logits: ``[b, *spatial, c]``.
        x: targets in [0, 1] (soft ones are allowed), of the same shape.
        reduce: over all but the first axis: ``"sum"`` is the negative log-likelihood, ``"mean"`` the value a pixel.

    Returns:
        Float32 ``[b]``, nats.

    Raises:
        ValueError: if `reduce` is unknown.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 11.

    Example:
        >>> round(float(bernoulli(jnp.array([[1000.0, 0.0]]), jnp.array([[1.0, 1.0]]))[0]), 4)
        0.6931
    """
    logits, x = _float(logits), _float(x)
    return _reduce(jax.nn.softplus(logits) - x * logits, reduce)


def gaussian(mean: Array, x: Array, scale: Array | float = 1.0, *, reduce: str = "sum") -> Array:
    """Negative log-density of a normal: ``((x - mean) / scale)^2 / 2 + log(scale) + log(2 pi) / 2``.

    Args:
        mean: ``[b, *spatial, c]``.
        x: targets of the same shape.
        scale: the standard deviation, positive, anything that broadcasts against x.
        reduce: ``"sum"`` or ``"mean"`` over all but the first axis.

    Returns:
        Float32 ``[b]``, nats.

    Raises:
        ValueError: if `reduce` is unknown.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 12.

    Example:
        >>> round(float(gaussian(jnp.zeros((1, 2)), jnp.zeros((1, 2)))[0]), 4)
        1.8379
    """
    mean, x = _float(mean), _float(x)
    return _reduce(0.5 * ((x - mean) / scale) ** 2 + jnp.log(scale) + 0.5 * math.log(2 * math.pi), reduce)


def categorical(logits: Array, labels: Array, *, reduce: str = "sum") -> Array:
    """Cross-entropy of integer labels: ``-log softmax(logits)[label]``.

    Args:
        logits: ``[b, *spatial, classes]``.
        labels: integers ``[b, *spatial]`` in 0 .. classes - 1.
        reduce: ``"sum"`` or ``"mean"`` over all but the first axis.

    Returns:
        Float32 ``[b]``, nats.

    Raises:
        ValueError: if `reduce` is unknown.

    Reference:
        Bishop 2006, "Pattern recognition and machine learning", eq. 4.108.

    Example:
        >>> round(float(categorical(jnp.zeros((2, 4)), jnp.array([0, 3]))[0]), 4)
        1.3863
    """
    log_p = jax.nn.log_softmax(_float(logits))
    return _reduce(-jnp.take_along_axis(log_p, jnp.asarray(labels)[..., None], axis=-1)[..., 0], reduce)


_TAIL = -50.0


def _log_normal_cdf(z: Array) -> Array:
    """JAX's own loses its gradient's digits far out in the tail, where the first terms of a series are exact."""
    far = jnp.where(z < _TAIL, z, _TAIL)
    series = -0.5 * far**2 - jnp.log(-far) - 0.5 * math.log(2 * math.pi) - 1 / far**2
    return jnp.where(z < _TAIL, series, jax.scipy.stats.norm.logcdf(jnp.where(z < _TAIL, _TAIL, z)))


def discretised_gaussian(
    mean: Array,
    x: Array,
    scale: Array | float,
    *,
    bins: int = 256,
    low: float = -1.0,
    high: float = 1.0,
    reduce: str = "sum",
) -> Array:
    """Negative log-probability of data of `bins` values under a Gaussian discretised to as many bins.

    The values lie at ``low + (high - low) k / (bins - 1)``; each gets the mass within half a spacing of it, and the two
    outermost ones the tails as well. Stable however far the mean is off, with gradients that do not vanish.

    Args:
        mean: ``[b, *spatial, c]``.
        x: targets of the same shape, at (or near) those values.
        scale: the standard deviation, positive, anything that broadcasts against x.
        bins: the number of values, at least 2.
        low: the least of them.
        high: the greatest.
        reduce: ``"sum"`` or ``"mean"`` over all but the first axis.

    Returns:
        Float32 ``[b]``, nats.

    Raises:
        ValueError: if `reduce` is unknown.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 13.

    Example:
        >>> value = discretised_gaussian(jnp.zeros((1, 1)), jnp.ones((1, 1)), 1.0, bins=2)  # values -1 and 1
        >>> round(float(value[0]), 4)
        0.6931
    """
    mean, x = _float(mean), _float(x)
    half = (high - low) / (bins - 1) / 2
    off = x - mean
    least, greatest = x < low + half, x > high - half
    edge = least | greatest
    # Mirrored into the lower tail, where the normal's distribution function keeps its digits.
    mirror = jnp.where(edge, greatest, off > 0)
    above = (half + jnp.where(mirror, -off, off)) / scale
    below = jnp.where(edge, above - 1, above - 2 * half / scale)
    log_above, log_below = _log_normal_cdf(jnp.stack([above, below]))
    far = above < _TAIL
    gap = jnp.where(far, 0.5 * (above - below) * (above + below) - jnp.log(jnp.where(far, below / above, 1)), 0)
    gap = jnp.where(edge, -1, jnp.where(far, gap, log_below - log_above))  # an edge's is not used, but has a gradient
    value = log_above + jnp.where(edge, 0, jnp.log(-jnp.expm1(gap)))
    return _reduce(-value, reduce)


def discretised_logistic(
    mean: Array,
    x: Array,
    scale: Array | float,
    *,
    bins: int = 256,
    low: float = -1.0,
    high: float = 1.0,
    reduce: str = "sum",
) -> Array:
    """Negative log-probability of data of `bins` values under a logistic distribution discretised to as many bins.

    As `discretised_gaussian`, with the distribution function ``1 / (1 + exp(-(x - mean) / scale))``: a cell from u to v
    (in scales from the mean) has the mass ``s(v) s(-u) (1 - e^(u - v))``, s the logistic function, of which no digit is
    lost anywhere.

    Args:
        mean: ``[b, *spatial, c]``.
        x: targets of the same shape, at (or near) those values.
        scale: of the logistic distribution, positive, anything that broadcasts against x; its standard deviation is
            ``pi / sqrt(3)`` times as large.
        bins: the number of values, at least 2.
        low: the least of them.
        high: the greatest.
        reduce: ``"sum"`` or ``"mean"`` over all but the first axis.

    Returns:
        Float32 ``[b]``, nats.

    Raises:
        ValueError: if `reduce` is unknown.

    Reference:
        Salimans et al. 2017, "PixelCNN++", eq. 2, for a mixture of one part; the factored form of the mass is ours.

    Example:
        >>> value = discretised_logistic(jnp.zeros((1, 1)), jnp.ones((1, 1)), 1.0, bins=2)  # values -1 and 1
        >>> round(float(value[0]), 4)
        0.6931
    """
    mean, x = _float(mean), _float(x)
    half = (high - low) / (bins - 1) / 2
    off = (x - mean) / scale
    width = half / scale
    below = jnp.where(x < low + half, 0, jax.nn.softplus(off - width))  # -log s(-u), and 0 where u is -infinity
    above = jnp.where(x > high - half, 0, jax.nn.softplus(-off - width))  # -log s(v), and 0 where v is infinity
    inside = (x >= low + half) & (x <= high - half)
    return _reduce(below + above - jnp.where(inside, jnp.log(-jnp.expm1(-2 * width)), 0), reduce)
