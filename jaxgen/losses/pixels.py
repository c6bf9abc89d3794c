"""Errors of images pixel by pixel, one value per example."""

import jax.numpy as jnp

from jaxgen.losses.likelihood import _float
from jaxgen.types import Array


def absolute_error(x: Array, target: Array) -> Array:
    """The mean absolute error, ``mean |x - target|``: L1.

    Args:
        x: ``[b, ...]``.
        target: of the same shape.

    Returns:
        Float32 ``[b]``.

    Example:
        >>> absolute_error(jnp.array([[1.0, -3.0]]), jnp.zeros((1, 2))).tolist()
        [2.0]
    """
    return jnp.mean(jnp.abs(_float(x) - _float(target)), tuple(range(1, x.ndim)))
