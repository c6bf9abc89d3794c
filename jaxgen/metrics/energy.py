"""The energy distance between two sets of points."""

import jax.numpy as jnp

from jaxgen.types import Array


def _mean_distance(a: Array, b: Array, pairs: int) -> Array:
    squared = jnp.sum(jnp.square(a), -1)[:, None] + jnp.sum(jnp.square(b), -1)[None] - 2 * a @ b.T
    return jnp.sum(jnp.sqrt(jnp.maximum(squared, 0))) / pairs


def energy_distance(x: Array, y: Array) -> Array:
    """Squared energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``, unbiased: it may fall below 0.

    Args:
        x: points ``[n, d]``, n at least 2.
        y: points ``[m, d]``, m at least 2.

    Returns:
        A scalar, 0 in expectation if and only if the distributions are equal.

    Raises:
        ValueError: if a set has fewer than two points, or the dimensions differ.

    Reference:
        Szekely & Rizzo 2013, "Energy statistics", eq. 5.

    Example:
        >>> x, y = jnp.array([[0.0], [1.0]]), jnp.array([[3.0], [4.0]])
        >>> float(energy_distance(x, y))
        4.0
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"two sets of at least two points of one dimension, not {x.shape} and {y.shape}")
    n, m = len(x), len(y)
    centre = jnp.mean(y, axis=0)  # distances do not change; the squares above lose fewer digits
    x, y = x - centre, y - centre
    return 2 * _mean_distance(x, y, n * m) - _mean_distance(x, x, n * (n - 1)) - _mean_distance(y, y, m * (m - 1))
