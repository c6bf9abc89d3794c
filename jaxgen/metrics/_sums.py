"""Sums over many pixels that do not lose the small terms to float32."""

import jax.numpy as jnp

from jaxgen.types import Array


def blocked(x: Array, fill: float = 0) -> Array:
    """A vector as about ``sqrt(n)`` rows of ``sqrt(n)`` numbers, filled up with `fill`.

    Adding row by row and then the rows keeps the error of a float32 sum of n terms near ``sqrt(n)`` roundings, where a
    running sum has n: ten million ones would stop at 2^24.
    """
    width = max(int(x.size**0.5), 1)
    rows = -(-x.size // width)
    return jnp.pad(x.ravel(), (0, rows * width - x.size), constant_values=fill).reshape(rows, width)


def total(x: Array) -> Array:
    """The sum of all elements, in float32."""
    return jnp.sum(jnp.sum(blocked(jnp.asarray(x, jnp.float32)), axis=1))
