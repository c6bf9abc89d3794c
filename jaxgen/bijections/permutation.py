"""The numbers of the last axis in another order."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxgen.bijections.bijection import Bijection, no_change, without_parameters
from jaxgen.types import Array


def permutation(order: Sequence[int]) -> Bijection:
    """Put the last axis in another order: ``y[..., i] = x[..., order[i]]``.

    Args:
        order: each of 0 .. c - 1 once.

    Returns:
        A `Bijection`.

    Raises:
        ValueError: if `order` is no permutation.

    Example:
        >>> permutation((2, 0, 1)).forward({}, jnp.array([[10.0, 11.0, 12.0]]))[0].tolist()
        [[12.0, 10.0, 11.0]]
    """
    forward_order = np.asarray(order)
    if sorted(forward_order.tolist()) != list(range(len(forward_order))):
        raise ValueError(f"{tuple(order)} is no permutation of 0 .. {len(forward_order) - 1}")
    back = np.argsort(forward_order)
    return without_parameters(
        lambda x: (jnp.take(x, forward_order, axis=-1), no_change(x)),
        lambda y: (jnp.take(y, back, axis=-1), no_change(y)),
    )


def reverse() -> Bijection:
    """Turn the order of the last axis round.

    Example:
        >>> import jax.numpy as jnp
        >>> reverse().forward({}, jnp.array([[1.0, 2.0, 3.0]]))[0].tolist()
        [[3.0, 2.0, 1.0]]
    """

    def turn(x: Array) -> tuple[Array, Array]:
        return x[..., ::-1], no_change(x)

    return without_parameters(turn, turn)
