"""Wasserstein distances between sets of samples along directions. Safe under `jax.jit`."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen import draws
from jaxgen.types import Array, Key


def wasserstein_along(a: Array, b: Array, directions: Array, *, order: float = 2.0) -> Array:
    """Wasserstein distances, to the power `order`, of two sets projected onto directions.

    ``W_p^p = int_0^1 |F_a^-1(u) - F_b^-1(u)|^p du``, exact for the two empirical distributions, whatever their sizes.

    Args:
        a: ``[n, d]``; images are flattened.
        b: ``[m, d]``.
        directions: ``[p, d]``.
        order: the power p, 1 or more.

    Returns:
        float32 ``[p]``.

    Raises:
        ValueError: if the widths differ.

    Example:
        >>> x = jnp.array([[0.0, 0.0], [1.0, 0.0]])
        >>> wasserstein_along(x, x + jnp.array([3.0, 1.0]), jnp.eye(2)).tolist()
        [9.0, 1.0]
    """
    a, b = (jnp.asarray(x, jnp.float32).reshape(x.shape[0], -1) for x in (a, b))
    if not a.shape[1] == b.shape[1] == directions.shape[1]:
        raise ValueError(f"widths differ: {a.shape[1]}, {b.shape[1]} and {directions.shape[1]}")
    n, m = a.shape[0], b.shape[0]
    steps = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # where a quantile changes, in units of 1 / nm
    share = np.diff(steps, prepend=0) / (n * m)
    sorted_a, sorted_b = (
        jnp.sort(jnp.matmul(directions, x.T, precision=lax.Precision.HIGHEST), axis=1) for x in (a, b)
    )
    gap = sorted_a[:, (steps - 1) // m] - sorted_b[:, (steps - 1) // n]
    return jnp.sum(jnp.abs(gap) ** order * jnp.asarray(share, jnp.float32), axis=1)


def sliced_wasserstein(key: Key, a: Array, b: Array, *, projections: int = 512, order: float = 2.0) -> Array:
    """Sliced Wasserstein distance: ``(E_theta W_p^p(theta^T a, theta^T b))^(1/p)``, theta uniform on the sphere.

    Args:
        key: of the directions.
        a: ``[n, d]``; images are flattened.
        b: ``[m, d]``; m may differ from n.
        projections: how many directions.
        order: p, 1 or more.

    Returns:
        float32 scalar, in the unit of the features; sets that differ by a shift v have ``|v| / sqrt(d)`` for p = 2.

    Raises:
        ValueError: if the widths differ.

    Reference:
        Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015, definition 2.

    Example:
        >>> import jax
        >>> x = jnp.zeros((4, 1))
        >>> sliced_wasserstein(jax.random.key(0), x, x + 2).item()
        2.0
    """
    width = int(np.prod(a.shape[1:]))
    drawn = draws.normal(key, (projections, width))
    directions = drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)
    return jnp.mean(wasserstein_along(a, b, directions, order=order)) ** (1 / order)
