"""Filters that smooth within regions and not across edges: bilateral, and non-local means."""

import functools
import itertools

import jax
import jax.numpy as jnp

from jaxgen.types import Array


def _shifted(x: Array, offset: tuple[int, ...], reach: int) -> Array:
    """``y[p] = x[p + offset]`` of an image padded by `reach` on all sides."""
    inner = tuple(n - 2 * reach for n in x.shape[1:-1])
    start = (0, *(reach + o for o in offset), 0)
    return jax.lax.slice(x, start, tuple(s + n for s, n in zip(start, (x.shape[0], *inner, x.shape[-1]), strict=True)))


def _padded(x: Array, reach: int) -> Array:
    return jnp.pad(x, ((0, 0), *((reach, reach),) * (x.ndim - 2), (0, 0)), mode="reflect")


@functools.partial(jax.jit, static_argnames="reach")
def bilateral_filter(x: Array, width: float | Array, edge: float | Array, *, reach: int = 3) -> Array:
    """Means weighed by how near pixels are in space and in value.

    ``w(p, q) = exp(-|p - q|^2 / (2 width^2) - (x_p - x_q)^2 / (2 edge^2))``.

    Args:
        x: ``[b, *spatial, 1]``.
        width: standard deviation of the Gaussian in space, pixels.
        edge: that of values.
        reach: pixels on each side that are looked at.

    Returns:
        Of the same shape.

    Reference:
        Tomasi and Manduchi 1998, "Bilateral filtering for gray and color images", eq. 7.

    Example:
        >>> step = jnp.array([0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0]).reshape(1, 8, 1)
        >>> bool(jnp.allclose(bilateral_filter(step, 2.0, 0.5), step))
        True
    """
    padded = _padded(x, reach)
    total, mass = jnp.zeros_like(x), jnp.zeros_like(x)
    for offset in itertools.product(range(-reach, reach + 1), repeat=x.ndim - 2):
        y = _shifted(padded, offset, reach)
        far = sum(o * o for o in offset) / (2 * width**2)
        weight = jnp.exp(-far - jnp.square(y - x) / (2 * edge**2))
        total, mass = total + weight * y, mass + weight
    return total / mass


@functools.partial(jax.jit, static_argnames=("reach", "patch"))
def non_local_means(x: Array, strength: float | Array, *, reach: int = 5, patch: int = 1) -> Array:
    """Means weighed by how alike the patches around pixels are: ``w = exp(-mean_patch (x_p - x_q)^2 / strength^2)``.

    Args:
        x: ``[b, *spatial, 1]``.
        strength: h, in units of the image.
        reach: pixels on each side that are looked at.
        patch: pixels on each side of the middle of a patch.

    Returns:
        Of the same shape.

    Reference:
        Buades, Coll and Morel 2005, "A non-local algorithm for image denoising", section 3.

    Example:
        >>> flat = jnp.ones((1, 8, 8, 1))
        >>> bool(jnp.allclose(non_local_means(flat, 0.1), flat))
        True
    """
    padded = _padded(x, reach)
    window, ones = (1, *(2 * patch + 1,) * (x.ndim - 2), 1), (1,) * x.ndim
    pixels = (2 * patch + 1) ** (x.ndim - 2)
    total, mass = jnp.zeros_like(x), jnp.zeros_like(x)
    for offset in itertools.product(range(-reach, reach + 1), repeat=x.ndim - 2):
        y = _shifted(padded, offset, reach)
        edges = [(0, 0), *((patch, patch),) * (x.ndim - 2), (0, 0)]
        square = jnp.pad(jnp.square(y - x), edges, mode="edge")
        distance = jax.lax.reduce_window(square, 0.0, jax.lax.add, window, ones, "VALID") / pixels
        weight = jnp.exp(-distance / strength**2)
        total, mass = total + weight * y, mass + weight
    return total / mass
