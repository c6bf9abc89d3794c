"""Filling holes without a model: the smoothest surface through what is known."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.types import Array


def harmonic_fill(x: Array, mask: Array, *, iterations: int = 2000) -> Array:
    """Fill what is missing by Laplace's equation: each missing pixel becomes the mean of its neighbours.

    Beyond the edge of the image a neighbour is the edge itself. The equation is solved by weighted Jacobi sweeps; the
    fill of a hole of n pixels across needs some ``n^2`` of them.

    Args:
        x: images ``[b, *spatial, c]``; what it holds where the mask is 0 does not matter, so long as it is finite.
        mask: 1 where known and 0 where missing, broadcastable to x.
        iterations: how many sweeps.

    Returns:
        float32, of the shape of x; known pixels are as they were.

    Reference:
        Bertalmio et al. 2000, "Image inpainting", for the task; Laplace's equation is its simplest smooth answer.

    Example:
        >>> x, mask = jnp.array([0.0, 9.0, 9.0, 3.0]), jnp.array([1.0, 0.0, 0.0, 1.0])
        >>> [round(float(v), 3) for v in harmonic_fill(x[None, :, None], mask[None, :, None]).ravel()]
        [0.0, 1.0, 2.0, 3.0]
    """
    x = jnp.asarray(x, jnp.float32)
    known = jnp.broadcast_to(jnp.asarray(mask, jnp.float32), x.shape)
    axes = tuple(range(1, x.ndim - 1))
    mean = jnp.sum(x * known, axes, keepdims=True) / jnp.maximum(jnp.sum(known, axes, keepdims=True), 1)

    def sweep(_: Array, y: Array) -> Array:
        total = jnp.zeros_like(y)
        for axis in axes:
            n = y.shape[axis]
            before = jnp.take(y, jnp.maximum(jnp.arange(n) - 1, 0), axis=axis)
            after = jnp.take(y, jnp.minimum(jnp.arange(n) + 1, n - 1), axis=axis)
            total = total + before + after
        return known * x + (1 - known) * total / (2 * len(axes))

    return lax.fori_loop(0, iterations, sweep, known * x + (1 - known) * mean)


def square_hole(size: int) -> np.ndarray:
    """1 where known ``[h, w, 1]``: a square of half the side, off the centre, is missing.

    Args:
        size: pixels along a side.

    Returns:
        The mask.

    Example:
        >>> int((square_hole(8) == 0).sum())
        16
    """
    mask = np.ones((size, size, 1), np.float32)
    first = size // 8
    mask[first : first + size // 2, size // 2 - size // 8 : size - size // 8] = 0
    return mask
