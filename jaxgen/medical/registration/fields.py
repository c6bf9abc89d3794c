"""Displacement fields as maps ``p -> p + u(p)``: composed, inverted, and made from velocities."""

import jax

from jaxgen.medical.registration.transformer import warp
from jaxgen.types import Array


def compose(first: Array, second: Array) -> Array:
    """The field of one warp after another, ``u(p) = second(p) + first(p + second(p))``.

    ``warp(warp(image, first), second)`` is ``warp(image, compose(first, second))`` up to interpolation and what leaves
    the image.

    Args:
        first: ``[b, *spatial, r]`` in voxels.
        second: the same shape.

    Returns:
        ``[b, *spatial, r]``.

    Example:
        >>> import jax.numpy as jnp
        >>> compose(jnp.full((1, 4, 4, 2), 2.0), jnp.full((1, 4, 4, 2), 0.5)).mean().item()
        2.5
    """
    return second + warp(first, second)


def invert(flow: Array, *, iterations: int = 20) -> Array:
    """The inverse of a field by fixed-point iteration, ``v(p) = -u(p + v(p))``.

    It converges where u changes by less than a voxel per voxel (a Lipschitz constant below 1); a field that folds
    has no inverse.

    Args:
        flow: ``[b, *spatial, r]`` in voxels.
        iterations: the number of steps; the error shrinks by the Lipschitz constant at each.

    Returns:
        ``[b, *spatial, r]``.

    Reference:
        Chen et al. 2008, "A simple fixed-point approach to invert a deformation field", eq. 3.

    Example:
        >>> import jax.numpy as jnp
        >>> invert(jnp.full((1, 4, 4, 2), 1.5)).mean().item()
        -1.5
    """
    return jax.lax.fori_loop(0, iterations, lambda _, back: -warp(flow, back), -flow)


def exponential(velocity: Array, *, steps: int = 7) -> Array:
    """The flow of a stationary velocity field over unit time, by scaling and squaring.

    ``u_0 = v / 2^steps``, then ``u <- u + u(p + u)`` `steps` times. For a smooth velocity the map is a diffeomorphism
    in the limit of fine grids, and that of ``-v`` its inverse.

    Args:
        velocity: ``[b, *spatial, r]`` in voxels.
        steps: squarings, 0 or more; 0 gives the velocity itself.

    Returns:
        Displacements ``[b, *spatial, r]``, of a constant velocity that velocity, exactly.

    Reference:
        Arsigny et al. 2006, "A log-Euclidean framework for statistics on diffeomorphisms", section 3; Dalca et al.
        2018, arXiv 1805.04605, section 3.1.

    Example:
        >>> import jax.numpy as jnp
        >>> bool((exponential(jnp.full((1, 4, 4, 2), 0.7)) == jnp.float32(0.7)).all())
        True
    """

    def square(flow: Array, _: None) -> tuple[Array, None]:
        return compose(flow, flow), None

    return jax.lax.scan(square, velocity / 2**steps, None, length=steps)[0]
