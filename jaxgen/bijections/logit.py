"""The logit, which takes data from an interval to the whole line."""

import math

import jax
import jax.numpy as jnp

from jaxgen.bijections.bijection import Bijection, total, without_parameters
from jaxgen.types import Array


def logit(low: float = 0.0, high: float = 1.0, *, margin: float = 0.0) -> Bijection:
    """Map an interval to the line: ``y = log(p / (1 - p))``, ``p = margin + (1 - 2 margin) (x - low) / (high - low)``.

    Args:
        low: the interval's lower end.
        high: its upper end.
        margin: keeps p off 0 and 1, so that data at the very ends stays finite.

    Returns:
        A `Bijection` of any shape.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", section 4.1.

    Example:
        >>> y, log_det = logit().forward({}, jnp.array([[0.5]]))
        >>> y.tolist(), round(float(log_det[0]), 4)
        ([[0.0]], 1.3863)
    """
    factor = (1 - 2 * margin) / (high - low)

    def log_slope(y: Array) -> Array:
        """Of the inverse: ``log p (1 - p) / factor``."""
        return -jax.nn.softplus(y) - jax.nn.softplus(-y) - math.log(factor)

    def forward(x: Array) -> tuple[Array, Array]:
        p = margin + factor * (x - low)
        y = jnp.log(p) - jnp.log1p(-p)
        return y, -total(log_slope(y))

    def inverse(y: Array) -> tuple[Array, Array]:
        return low + (jax.nn.sigmoid(y) - margin) / factor, total(log_slope(y))

    return without_parameters(forward, inverse)
