"""The record of a bijection, and what all of them share."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen.types import Array, Key, Net, Params


class Bijection(NamedTuple):
    """An invertible map of each example of a batch, with the logarithm of how it changes volumes.

    By convention `forward` leads from data to the base of a flow and `inverse` from the base to data, so that `init`
    can look at data. Results and log-determinants are float32 (float64 for data in float64), whatever the parameters
    are.

    Attributes:
        init: ``init(key, x [b, *shape], condition=None) -> params``; `x` is a batch as `forward` will get it, whose
            values may matter (`actnorm`), and `condition` is None or what both directions will be given.
        forward: ``forward(params, x [b, *shape], condition=None) -> (y, log |det dy/dx| [b])``.
        inverse: ``inverse(params, y, condition=None) -> (x, log |det dx/dy| [b])``.
    """

    init: Callable[..., Params]
    forward: Callable[..., tuple[Array, Array]]
    inverse: Callable[..., tuple[Array, Array]]


def invert(bijection: Bijection) -> Bijection:
    """The bijection the other way round: an inverse autoregressive flow from a masked autoregressive one.

    Its `init` hands the batch to the bijection's own as if it came from the other side.

    Args:
        bijection: what to turn round.

    Returns:
        A `Bijection`.

    Example:
        >>> from jaxgen.bijections import logit
        >>> sigmoid = invert(logit())
        >>> sigmoid.forward({}, jnp.zeros((1, 1)))[0].tolist()
        [[0.5]]
    """
    return Bijection(bijection.init, bijection.inverse, bijection.forward)


def lift(x: Array) -> Array:
    """The array in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def total(log_slopes: Array) -> Array:
    """The sum over each example, ``[b, ...] -> [b]``."""
    return jnp.sum(log_slopes, tuple(range(1, log_slopes.ndim)))


def init_net(net: Net, key: Key, x: Array, condition: Array | None) -> Params:
    """The parameters of a conditioner, which is told of the condition where there is one."""
    return net.init(key, x) if condition is None else net.init(key, x, condition=condition)


def transform_parameters(
    net: Net, params: Params, x: Array, condition: Array | None, count: int, features: int
) -> Array:
    """What a conditioner says of each number to transform, ``[b, ..., count, features]``.

    Raises:
        ValueError: if it does not answer ``count * features`` channels.
    """
    answer = net.apply(params, x) if condition is None else net.apply(params, x, condition=condition)
    if answer.shape[-1] != count * features:
        raise ValueError(
            f"the conditioner answers {answer.shape[-1]} channels; {features} numbers with {count} parameters each "
            f"need {count * features}"
        )
    return answer.reshape(*answer.shape[:-1], count, features)


def without_parameters(forward: Callable[[Array], tuple], inverse: Callable[[Array], tuple]) -> Bijection:
    """A bijection that neither learns nor looks at a condition."""
    return Bijection(
        lambda key, x, condition=None: {},
        lambda params, x, condition=None: forward(lift(x)),
        lambda params, y, condition=None: inverse(lift(y)),
    )


def no_change(x: Array) -> Array:
    """The log-determinants of a map that keeps volumes: zeros ``[b]``."""
    return jnp.zeros(x.shape[0], jnp.promote_types(x.dtype, jnp.float32))
