"""Negative log-likelihoods of data under a network's output, one value an example, in nats."""

import math

import jax
import jax.numpy as jnp

from jaxgen.types import Array


def _float(a) -> Array:
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


def gaussian(mean: Array, x: Array, scale=1.0, *, reduce: str = "sum") -> Array:
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
