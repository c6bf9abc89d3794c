"""Activation normalisation: a scale and a shift a channel, set from the first batch."""

import math

import jax.numpy as jnp

from jaxgen.bijections.bijection import Bijection, lift
from jaxgen.types import Array, Key, Params


def actnorm(epsilon: float = 1e-4) -> Bijection:
    """Scale and shift every channel: ``y = (x - shift) exp(-log_scale)``.

    The parameters start at the mean and the standard deviation of the batch that `init` is given, so that y begins
    with mean 0 and standard deviation 1, and are learned from there.

    Args:
        epsilon: the least standard deviation to start from.

    Returns:
        A `Bijection` of vectors or images; channels are the last axis.

    Reference:
        Kingma & Dhariwal 2018, "Glow", arXiv 1807.03039, section 3.1.

    Example:
        >>> import jax
        >>> layer, x = actnorm(), jnp.array([[2.0], [6.0]])
        >>> y, log_det = layer.forward(layer.init(jax.random.key(0), x), x)
        >>> y.tolist(), [round(float(value), 4) for value in log_det]
        ([[-1.0], [1.0]], [-0.6931, -0.6931])
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        axes = tuple(range(x.ndim - 1))
        x = x.astype(jnp.float32)
        return {"shift": jnp.mean(x, axes), "log_scale": jnp.log(jnp.maximum(jnp.std(x, axes), epsilon))}

    def shift_and_log_scale(params: Params, x: Array) -> tuple[Array, Array, Array]:
        log_scale = lift(params["log_scale"])
        log_det = math.prod(x.shape[1:-1]) * jnp.sum(log_scale)
        return lift(params["shift"]), log_scale, jnp.broadcast_to(log_det, x.shape[:1]).astype(x.dtype)

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        x = lift(x)
        shift, log_scale, log_det = shift_and_log_scale(params, x)
        return (x - shift) * jnp.exp(-log_scale), -log_det

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        y = lift(y)
        shift, log_scale, log_det = shift_and_log_scale(params, y)
        return y * jnp.exp(log_scale) + shift, log_det

    return Bijection(init, forward, inverse)
