"""Each number transformed on its own, with learned parameters or with ones that a condition decides."""

from typing import Any

import jax.numpy as jnp

from jaxgen.bijections.bijection import Bijection, lift, total
from jaxgen.bijections.monotonic import MonotonicTransform
from jaxgen.types import Array, Key, Net, Params


def elementwise(transform: MonotonicTransform, net: Net | None = None) -> Bijection:
    """Apply a monotonic transform to every number of an example, ``y_i = f(x_i; theta_i)``.

    Args:
        transform: f, such as `affine` or `rational_quadratic`.
        net: None for parameters theta that are learned themselves, and start at the identity; or a network from the
            condition ``[b, e]`` to ``[b, transform.parameters * d]`` for an example of d numbers: a distribution of its
            own for each class.

    Returns:
        A `Bijection`, of any shape.

    Raises:
        ValueError: if there is a net and no condition.

    Example:
        >>> import jax
        >>> from jaxgen.bijections import affine
        >>> bijection, x = elementwise(affine()), jnp.ones((2, 3))
        >>> y, log_det = bijection.forward(bijection.init(jax.random.key(0), x), x)
        >>> y.shape, log_det.tolist()
        ((2, 3), [0.0, 0.0])
    """

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        if net is None:
            return {"theta": jnp.zeros((transform.parameters, x[0].size))}
        return net.init(key, _needed(condition))

    def apply(run: Any, params: Params, x: Array, condition: Array | None) -> tuple[Array, Array]:
        theta = params["theta"] if net is None else net.apply(params, _needed(condition))
        flat = lift(x).reshape(x.shape[0], -1)
        y, log_slope = run(theta.reshape(-1, transform.parameters, flat.shape[1]), flat)
        return y.reshape(x.shape), total(log_slope)

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return apply(transform.forward, params, x, condition)

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return apply(transform.inverse, params, y, condition)

    return Bijection(init, forward, inverse)


def _needed(condition: Array | None) -> Array:
    if condition is None:
        raise ValueError("this elementwise bijection reads its parameters from a condition: give one")
    return condition
