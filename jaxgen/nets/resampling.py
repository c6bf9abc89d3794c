"""Doubling and halving the resolution by linear interpolation."""

import jax.numpy as jnp
from jax import lax

from jaxgen.types import Array


def _neighbours(left: Array, right: Array, axis: int) -> tuple[Array, Array]:
    """The `right` before and the `left` after each element along an axis; at its ends the element's own."""
    n = left.shape[axis]

    def cut(x: Array, start: int, stop: int) -> Array:
        return lax.slice_in_dim(x, start, stop, axis=axis)

    before = jnp.concatenate([cut(left, 0, 1), cut(right, 0, n - 1)], axis)
    after = jnp.concatenate([cut(left, 1, n), cut(right, n - 1, n)], axis)
    return before, after


def double(x: Array) -> Array:
    """Double every spatial axis of ``[b, *spatial, c]`` by linear interpolation between the centres of pixels.

    Example:
        >>> double(jnp.array([0.0, 4.0]).reshape(1, 2, 1)).ravel().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    for axis in range(1, x.ndim - 1):
        before, after = _neighbours(x, x, axis)
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def halve(x: Array) -> Array:
    """Halve every spatial axis of ``[b, *spatial, c]`` with the weights 1, 3, 3, 1: the transpose of `double`, halved.

    Raises:
        ValueError: if a spatial axis is odd.

    Example:
        >>> halve(jnp.array([0.0, 0.0, 8.0, 8.0]).reshape(1, 4, 1)).ravel().tolist()
        [1.0, 7.0]
    """
    if any(n % 2 for n in x.shape[1:-1]):
        raise ValueError(f"an odd axis cannot be halved: {x.shape[1:-1]}")
    for axis in range(1, x.ndim - 1):
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        left, right = (lax.index_in_dim(pairs, k, axis + 1, keepdims=False) for k in (0, 1))
        before, after = _neighbours(left, right, axis)
        x = 0.375 * (left + right) + 0.125 * (before + after)
    return x
