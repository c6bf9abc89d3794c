"""Linear measurements of images ``y = A x``, their adjoints, and what a solver needs of them.

An image is real, ``[b, *spatial, c]``; a complex image has two real channels. A measurement may be complex. Adjoints
are those of the real inner product ``Re <a, b> = Re sum conj(a) b``, so that ``Re <A x, y> = <x, A' y>``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key

_ROUNDING = 10
"""How many units of rounding of b count as a residual of 0."""
_State = tuple[Array, Array, Array, Array]


class LinearOperator(NamedTuple):
    """A linear map of images and its adjoint, both on batches.

    Attributes:
        forward: ``forward(x [b, *spatial, c]) -> y [b, ...]``.
        adjoint: ``adjoint(y) -> x``, with ``Re <forward(x), y> = <x, adjoint(y)>``.
        normal: ``A' A`` by a shorter way than one after the other, if there is one; see `apply_normal`.
    """

    forward: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]
    normal: Callable[[Array], Array] | None = None


def apply_normal(operator: LinearOperator, x: Array) -> Array:
    """``A' A x``: what conjugate gradients ask for again and again.

    Args:
        operator: A.
        x: images ``[b, *spatial, c]``.

    Returns:
        Images of the same shape.

    Example:
        >>> float(apply_normal(LinearOperator(lambda x: 3 * x, lambda y: 3 * y), jnp.ones((1, 1)))[0, 0])
        9.0
    """
    return operator.adjoint(operator.forward(x)) if operator.normal is None else operator.normal(x)


def inner_product(a: Array, b: Array) -> Array:
    """``Re sum conj(a) b`` of each example.

    Args:
        a: ``[b, ...]``, real or complex.
        b: of the same shape.

    Returns:
        ``[b]``, real.

    Example:
        >>> float(inner_product(jnp.array([[1j, 2.0]]), jnp.array([[1j, 3.0]]))[0])
        7.0
    """
    return jnp.sum(jnp.real(jnp.conj(a) * b), tuple(range(1, a.ndim)))


def _along(weights: Array, x: Array) -> Array:
    """One weight an example ``[b]``, shaped to multiply `x`."""
    return weights.reshape(-1, *(1,) * (x.ndim - 1))


def adjoint_by_transpose(
    forward: Callable[[Array], Array], x_example: Array | jax.ShapeDtypeStruct
) -> Callable[[Array], Array]:
    """The exact adjoint of a linear function that JAX can trace.

    ``A' y = conj(A^T conj(y))``, A^T by `jax.linear_transpose`: no second implementation that could disagree.

    Args:
        forward: linear, ``[b, *spatial, c] -> [b, ...]``.
        x_example: an image batch of the right size and dtype; its values and its number of examples do not count.

    Returns:
        ``adjoint(y) -> x`` for batches of any number.

    Example:
        >>> adjoint = adjoint_by_transpose(lambda x: jnp.cumsum(x, 1), jnp.zeros((1, 3, 1)))
        >>> adjoint(jnp.ones((2, 3, 1)))[0, :, 0].tolist()
        [3.0, 2.0, 1.0]
    """

    def adjoint(y: Array) -> Array:
        x = jax.ShapeDtypeStruct((y.shape[0], *x_example.shape[1:]), x_example.dtype)
        return jnp.conj(jax.linear_transpose(forward, x)(jnp.conj(y))[0])

    return adjoint


def conjugate_gradient(
    apply_symmetric: Callable[[Array], Array],
    b: Array,
    x0: Array | None = None,
    *,
    iterations: int,
    tolerance: float = 0.0,
) -> Array:
    """Solve ``B x = b`` for each example, B symmetric and positive (semi)definite.

    An example whose residual is at most ``tolerance |b|``, or at the level of rounding, keeps still, so that its answer
    does not depend on the rest of the batch. Without a tolerance the number of iterations is fixed and the loop can be
    differentiated in reverse; with one, it ends once every example is done.

    Args:
        apply_symmetric: ``B``, on batches ``[n, ...]``.
        b: ``[n, ...]``, real or complex.
        x0: where to start; zero if left out, which gives the solution of least norm where there are several.
        iterations: at most.
        tolerance: relative to the norm of `b`.

    Returns:
        x, of the shape and dtype of `b`.

    Reference:
        Hestenes and Stiefel 1952, "Methods of conjugate gradients for solving linear systems".

    Example:
        >>> conjugate_gradient(lambda x: 2 * x, jnp.array([[4.0, 6.0]]), iterations=1).tolist()
        [[2.0, 3.0]]
    """
    if x0 is None:
        x, residual = jnp.zeros_like(b), b
    else:
        x, residual = x0, b - apply_symmetric(x0)
    # Past rounding, the residual is noise; where B is singular that noise would be divided by next to nothing.
    least = max(tolerance, _ROUNDING * float(jnp.finfo(b.dtype).eps))
    enough = least**2 * jnp.maximum(inner_product(b, b), inner_product(residual, residual))

    def advance(state: _State) -> _State:
        x, residual, direction, squared = state
        applied = apply_symmetric(direction)
        curvature = inner_product(direction, applied)
        active = (squared > enough) & (curvature > 0)
        # Both branches of a where are differentiated: the divisor must be good in the one that is not taken too.
        length = jnp.where(active, squared / jnp.where(active, curvature, 1), 0)
        x = x + _along(length, x) * direction
        residual = residual - _along(length, x) * applied
        updated = inner_product(residual, residual)
        ratio = jnp.where(active, updated / jnp.where(active, squared, 1), 0)
        direction = residual + _along(ratio, x) * direction
        return x, residual, direction, jnp.where(active, updated, squared)

    start = (x, residual, residual, inner_product(residual, residual))
    if not tolerance:
        return jax.lax.fori_loop(0, iterations, lambda _, state: advance(state), start)[0]

    def unfinished(counted: tuple[Array, _State]) -> Array:
        done, state = counted
        return (done < iterations) & jnp.any(state[3] > enough)

    return jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, advance(c[1])), (jnp.int32(0), start))[1][0]


def pseudo_inverse(
    operator: LinearOperator, *, iterations: int, damping: float | Array = 0.0
) -> Callable[[Array], Array]:
    """``y -> argmin_x |A x - y|^2 + damping |x|^2`` by conjugate gradients on the normal equations.

    With no damping and iterations enough it is ``A^+ y``, the least squares solution of least norm; iterations cut
    short act as damping, since the small singular values come last.

    Args:
        operator: A.
        iterations: of `conjugate_gradient`.
        damping: on the squared norm of x.

    Returns:
        ``y -> x``.

    Example:
        >>> halve = LinearOperator(lambda x: x / 2, lambda y: y / 2)
        >>> pseudo_inverse(halve, iterations=1)(jnp.ones((1, 2, 1))).ravel().tolist()
        [2.0, 2.0]
    """

    def normal(x: Array) -> Array:
        return apply_normal(operator, x) + damping * x

    return lambda y: conjugate_gradient(normal, operator.adjoint(y), iterations=iterations)


def squared_norm_bound(operator: LinearOperator, key: Key, shape: Sequence[int], iterations: int = 20) -> Array:
    """The largest squared singular value of each example's operator, by power iteration on ``A' A``.

    ``x <- A' A x / |A' A x|``, then ``|A x|^2``. The estimate comes from below: give a step size that must not exceed
    ``1 / |A|^2`` a few per cent of room.

    Args:
        operator: A.
        key: for the first x; one key, or keys ``[b]``.
        shape: of a batch of images, ``[b, *spatial, c]``.
        iterations: more where the largest singular values lie close together.

    Returns:
        ``[b]``.

    Example:
        >>> double = LinearOperator(lambda x: 2 * x, lambda y: 2 * y)
        >>> round(float(squared_norm_bound(double, jax.random.key(0), (1, 4, 1))[0]), 4)
        4.0
    """

    def normalise(x: Array) -> Array:
        squared = inner_product(x, x)
        return x * _along(jnp.where(squared > 0, jax.lax.rsqrt(jnp.where(squared > 0, squared, 1)), 0), x)

    def advance(_: Array, x: Array) -> Array:
        return normalise(apply_normal(operator, x))

    x = jax.lax.fori_loop(0, iterations, advance, normalise(draws.normal(key, tuple(shape))))
    y = operator.forward(x)
    return inner_product(y, y)
