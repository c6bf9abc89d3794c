"""Total variation: the least squares image whose gradient is sparse, for any linear measurement."""

import jax
import jax.numpy as jnp

from jaxgen.imaging.operators import LinearOperator, squared_norm_bound
from jaxgen.types import Array

_PRIMAL = 3.0
"""The step in x, in units of 1 / |A|^2: of 0.3 to 30 the nearest to the end after 300 iterations, on brain slices."""


def _gradient(x: Array) -> Array:
    """Forward differences along each spatial axis, 0 at the far border: ``[axes, b, *spatial, c]``."""
    return jnp.stack([jnp.diff(x, axis=a, append=jnp.take(x, jnp.array([-1]), a)) for a in range(1, x.ndim - 1)])


def _gradient_adjoint(p: Array) -> Array:
    """The adjoint of `_gradient`: minus the divergence."""
    total = jnp.zeros_like(p[0])
    for number, part in enumerate(p):
        axis, n = number + 1, part.shape[number + 1]
        inner = jax.lax.slice_in_dim(part, 0, n - 1, axis=axis)
        widths = [(0, 0)] * part.ndim
        after, before = list(widths), list(widths)
        after[axis], before[axis] = (1, 0), (0, 1)
        total = total + jnp.pad(inner, after) - jnp.pad(inner, before)
    return total


def total_variation_norm(x: Array) -> Array:
    """Isotropic total variation: the sum over pixels of the length of the gradient, all channels together.

    ``sum_r sqrt(sum_(axes, c) (x_c[r + 1] - x_c[r])^2)``. Turning the phase of a complex image in two channels does not
    change it.

    Args:
        x: ``[b, *spatial, c]``.

    Returns:
        ``[b]``.

    Reference:
        Rudin, Osher and Fatemi 1992, "Nonlinear total variation based noise removal algorithms".

    Example:
        >>> total_variation_norm(jnp.zeros((1, 4, 4, 1)).at[0, :, 2:].set(3.0)).tolist()
        [12.0]
    """
    return jnp.sum(jnp.sqrt(jnp.sum(_gradient(x) ** 2, (0, -1))), tuple(range(1, x.ndim - 1)))


def total_variation(
    operator: LinearOperator,
    y: Array,
    weight: float | Array,
    *,
    iterations: int = 300,
    squared_norm: float | Array | None = None,
    minimum: float | None = None,
) -> Array:
    """The image of least ``|A x - y|^2 / 2 + weight TV(x)``, by a primal-dual method.

    Args:
        operator: A.
        y: the measurements ``[b, ...]``.
        weight: of the total variation; in the units of y squared by those of x. A number, or one per example ``[b]``.
        iterations: each costs ``A`` and ``A'`` once.
        squared_norm: no less than ``|A|^2``; 1 for `jaxgen.imaging.mri.mri_operator`. A number, or one per example
            ``[b]``; None has it found by power iteration.
        minimum: no value may lie below it, such as 0 for attenuation; None for no bound.

    Returns:
        x, ``[b, *spatial, c]``; see `total_variation_norm` for more than one channel.

    Raises:
        ValueError: if there is no iteration.

    Reference:
        Chambolle and Pock 2011, "A first-order primal-dual algorithm for convex problems with applications to imaging";
        Sidky, Jorgensen and Pan 2012, "Convex optimization problem prototyping for image reconstruction in computed
        tomography with the Chambolle-Pock algorithm", for a dual variable of the measurements too.

    Example:
        >>> identity = LinearOperator(lambda x: x, lambda y: y)
        >>> step = jnp.zeros((1, 4, 4, 1)).at[0, :, 2:].set(1.0)
        >>> [round(float(v), 2) for v in total_variation(identity, step, 0.1, squared_norm=1.0)[0, 0, :, 0]]
        [0.05, 0.05, 0.95, 0.95]
    """
    if iterations < 1:
        raise ValueError(f"total variation needs an iteration, not {iterations}")
    start = operator.adjoint(y)
    rank = start.ndim - 2
    if squared_norm is None:
        squared_norm = 1.05 * squared_norm_bound(operator, jax.random.key(0), start.shape)

    def of_example(value: float | Array, like: Array) -> Array:
        value = jnp.asarray(value, jnp.float32)
        return value.reshape(value.shape + (1,) * (like.ndim - 1)) if value.ndim else value

    norm = of_example(squared_norm, start)
    # Half of 1 / step goes to the measurements, half to the gradient, whose squared norm is at most 4 an axis.
    step = _PRIMAL / norm
    measured_step, gradient_step = 0.5 / _PRIMAL, norm / (8 * rank * _PRIMAL)
    bound = of_example(weight, start)

    def advance(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, ahead, p, q = state
        p = (p + measured_step * (operator.forward(ahead) - y)) / (1 + measured_step)
        q = q + gradient_step * _gradient(ahead)
        length = jnp.sqrt(jnp.sum(q**2, (0, -1), keepdims=True))[0]
        q = q * (bound / jnp.maximum(jnp.maximum(length, bound), jnp.finfo(jnp.float32).tiny))
        moved = x - step * (operator.adjoint(p) + _gradient_adjoint(q))
        moved = moved if minimum is None else jnp.maximum(moved, minimum)
        return moved, 2 * moved - x, p, q

    x = start / norm
    return jax.lax.fori_loop(0, iterations, advance, (x, x, jnp.zeros_like(y), jnp.zeros_like(_gradient(x))))[0]
