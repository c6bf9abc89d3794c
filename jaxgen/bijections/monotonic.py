"""Monotonic transforms, increasing functions of one number with parameters from a conditioner: here the affine one."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen.bijections.bijection import lift
from jaxgen.types import Array


class MonotonicTransform(NamedTuple):
    """An increasing function of one number, applied to many numbers with parameters of their own.

    Parameters that are all zero make it the identity.

    Attributes:
        parameters: how many parameters each number takes.
        forward: ``forward(theta [..., parameters, c], x [..., c]) -> (y [..., c], log dy/dx [..., c])``.
        inverse: ``inverse(theta, y) -> (x, log dx/dy)``.
    """

    parameters: int
    forward: Callable[[Array, Array], tuple[Array, Array]]
    inverse: Callable[[Array, Array], tuple[Array, Array]]


def affine(bound: float = 3.0) -> MonotonicTransform:
    """Scale and shift: ``y = exp(s) x + a`` with ``s = r / (1 + |r| / bound)``, so that ``|s| < bound``.

    A scale that is bounded keeps a deep flow invertible in float32 whatever its networks answer; at zero s has the
    slope 1.

    Args:
        bound: the largest logarithm of the scale.

    Returns:
        A `MonotonicTransform` with the two parameters a and r.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", eq. 4, for scale and shift.

    Example:
        >>> theta = jnp.array([[[1.0], [0.0]]])  # shift by 1
        >>> y, log_slope = affine().forward(theta, jnp.array([[2.0]]))
        >>> y.tolist(), log_slope.tolist()
        ([[3.0]], [[0.0]])
    """

    def shift_and_log_scale(theta: Array) -> tuple[Array, Array]:
        theta = lift(theta)
        raw = theta[..., 1, :]
        return theta[..., 0, :], raw / (1 + jnp.abs(raw) / bound)

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        shift, log_scale = shift_and_log_scale(theta)
        return x * jnp.exp(log_scale) + shift, jnp.broadcast_to(log_scale, x.shape)

    def inverse(theta: Array, y: Array) -> tuple[Array, Array]:
        shift, log_scale = shift_and_log_scale(theta)
        return (y - shift) * jnp.exp(-log_scale), jnp.broadcast_to(-log_scale, y.shape)

    return MonotonicTransform(2, forward, inverse)
