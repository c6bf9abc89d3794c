"""Autoregressive bijections of vectors: each number is transformed with parameters computed from those before it."""

import jax
import jax.numpy as jnp

from jaxgen.bijections.bijection import Bijection, init_net, lift, total, transform_parameters
from jaxgen.bijections.monotonic import MonotonicTransform
from jaxgen.types import Array, Key, Net, Params


def autoregressive(net: Net, transform: MonotonicTransform) -> Bijection:
    """Transform number by number: ``y_i = f(x_i; net(x)_i)``, where ``net(x)_i`` depends on ``x_0 .. x_{i-1}`` alone.

    `forward` is one pass of the network, `inverse` as many as there are numbers; `invert` exchanges the two.

    Args:
        net: an autoregressive conditioner, such as `jaxgen.nets.masked_mlp`, from ``[b, d]`` to
            ``[b, transform.parameters * d]``, ordered parameter by parameter.
        transform: f, such as `affine` or `rational_quadratic`.

    Returns:
        A `Bijection` of vectors.

    Reference:
        Papamakarios, Pavlakou & Murray 2017, "Masked autoregressive flow for density estimation", arXiv 1705.07057;
        Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow", for the inverse.

    Example:
        >>> from jaxgen.bijections import affine
        >>> def apply(params, x):  # shifts the second number by the first
        ...     shift = jnp.stack([jnp.zeros(len(x)), x[:, 0]], axis=-1)
        ...     return jnp.concatenate([shift, jnp.zeros_like(x)], axis=-1)
        >>> layer = autoregressive(Net(lambda key, x: {}, apply), affine())
        >>> layer.forward({}, jnp.array([[1.0, 2.0]]))[0].tolist()
        [[1.0, 3.0]]
        >>> layer.inverse({}, jnp.array([[1.0, 3.0]]))[0].tolist()
        [[1.0, 2.0]]
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        return init_net(net, key, lift(x), condition)

    def parameters(params: Params, x: Array, condition: Array | None) -> Array:
        return transform_parameters(net, params, x, condition, transform.parameters, x.shape[-1])

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        x = lift(x)
        y, log_slope = transform.forward(parameters(params, x, condition), x)
        return y, total(log_slope)

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        y = lift(y)
        d = y.shape[-1]

        def next_number(i: int, x: Array) -> Array:
            found, _ = transform.inverse(parameters(params, x, condition), y)
            return jnp.where(jnp.arange(d) == i, found, x)

        # After d - 1 rounds every parameter is right, so the last round gives all numbers and all slopes at once.
        x = jax.lax.fori_loop(0, d - 1, next_number, jnp.zeros_like(y))
        x, log_slope = transform.inverse(parameters(params, x, condition), y)
        return x, total(log_slope)

    return Bijection(init, forward, inverse)
