"""The divergence of a vector field, exactly or by random probes, from Jacobian-vector products."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key

Field = Callable[[Array], Array]


UNROLLED = 16
"""So many products are written out one by one: batched, the gradient of a network takes twice as long on CPU."""


def _inner(a: Array, b: Array) -> Array:
    """The inner product of each example ``[k, b, *shape]``, in float32 at least: ``[k, b]``."""
    a = a.astype(jnp.promote_types(a.dtype, jnp.float32))
    return jnp.sum(a * b, tuple(range(2, a.ndim)))


def basis(x: Array) -> Array:
    """The unit vectors of one example ``[b, *shape]``, for every example the same: ``[d, b, *shape]``.

    Example:
        >>> basis(jnp.zeros((1, 2)))[:, 0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    d = x[0].size
    return jnp.broadcast_to(jnp.eye(d, dtype=x.dtype).reshape(d, 1, *x.shape[1:]), (d, *x.shape))


def products(field: Field, x: Array, directions: Array) -> tuple[Array, Array]:
    """The field, and the product of its Jacobian with each of the directions.

    Args:
        field: ``[b, *shape] -> [b, *shape]``.
        x: where, ``[b, *shape]``.
        directions: ``[k, b, *shape]``.

    Returns:
        The pair (field at x, products ``[k, b, *shape]``).

    Example:
        >>> value, product = products(lambda x: x**2, jnp.array([[1.0, 3.0]]), jnp.ones((1, 1, 2)))
        >>> product.tolist()
        [[[2.0, 6.0]]]
    """
    if len(directions) == 1:
        value, product = jax.jvp(field, (x,), (directions[0],))
        return value, product[None]
    value, push = jax.linearize(field, x)
    if len(directions) > UNROLLED:
        return value, jax.vmap(push)(directions)
    return value, jnp.stack([push(v) for v in directions])


def exact(field: Field, x: Array) -> tuple[Array, Array]:
    """The field and its divergence, ``sum_i d f_i / d x_i``: as many Jacobian-vector products as dimensions.

    Args:
        field: ``[b, *shape] -> [b, *shape]``, example by example (no example may depend on another).
        x: where, ``[b, *shape]``.

    Returns:
        The pair (field at x, divergence ``[b]``).

    Example:
        >>> value, divergence = exact(lambda x: x**2, jnp.array([[1.0, 2.0]]))
        >>> value.tolist(), divergence.tolist()
        ([[1.0, 4.0]], [6.0])
    """
    directions = basis(x)
    value, columns = products(field, x, directions)
    return value, jnp.sum(_inner(columns, directions), 0)


def estimate(field: Field, x: Array, probes: Array) -> tuple[Array, Array]:
    """The field and an estimate of its divergence, the mean of ``v' (df/dx) v`` over probes v.

    Unbiased where the entries of v are independent, of mean 0 and variance 1.

    Args:
        field: ``[b, *shape] -> [b, *shape]``.
        x: where, ``[b, *shape]``.
        probes: ``[k, b, *shape]``, as of `draw_probes`.

    Returns:
        The pair (field at x, estimate ``[b]``).

    Reference:
        Hutchinson 1989, "A stochastic estimator of the trace of the influence matrix"; Grathwohl et al. 2019,
        "FFJORD", eq. 7.

    Example:
        >>> probes = draw_probes(jax.random.key(0), (1, 2), 3)
        >>> estimate(lambda x: x**2, jnp.array([[1.0, 2.0]]), probes)[1].tolist()  # a diagonal Jacobian: exact
        [6.0]
    """
    value, each = products(field, x, probes)
    return value, jnp.mean(_inner(each, probes), 0)


def draw_probes(
    key: Key, shape: tuple[int, ...], count: int = 1, *, gaussian: bool = False, dtype: Any = jnp.float32
) -> Array:
    """Random probes: signs (Rademacher), whose estimates have the least variance, or standard normal numbers.

    Args:
        key: one key, or keys ``[b]``.
        shape: of x, ``[b, *shape]``.
        count: how many probes an example.
        gaussian: normal numbers instead of signs.
        dtype: of the probes.

    Returns:
        ``[count, b, *shape]``.

    Example:
        >>> sorted(set(draw_probes(jax.random.key(0), (8, 4)).ravel().tolist()))
        [-1.0, 1.0]
    """

    def draw(k: Key) -> Array:
        if gaussian:
            return draws.normal(k, shape, dtype)
        return jnp.where(draws.bernoulli(k, 0.5, shape), 1, -1).astype(dtype)

    return jnp.stack([draw(k) for k in draws.split(key, count)])
