"""Pixels folded into channels, so that couplings of channels can part them."""

import math

from jaxgen.bijections.bijection import Bijection, no_change, without_parameters
from jaxgen.types import Array


def squeeze(block: int = 2) -> Bijection:
    """Fold blocks of `block` pixels along each axis into channels: half the size, 4 or 8 times the channels.

    Args:
        block: pixels along each side of a block.

    Returns:
        A `Bijection` from ``[b, *spatial, c]`` to ``[b, *spatial / block, block^rank * c]``.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", section 3.6.

    Example:
        >>> import jax.numpy as jnp
        >>> squeeze().forward({}, jnp.zeros((1, 4, 4, 3)))[0].shape
        (1, 2, 2, 12)
    """

    def fold(x: Array) -> tuple[Array, Array]:
        b, *spatial, c = x.shape
        rank = len(spatial)
        if any(n % block for n in spatial):
            raise ValueError(f"spatial shape {tuple(spatial)} must be a multiple of the block {block} along every axis")
        split = x.reshape(b, *(m for n in spatial for m in (n // block, block)), c)
        order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
        return split.transpose(order).reshape(b, *(n // block for n in spatial), block**rank * c), no_change(x)

    def unfold(y: Array) -> tuple[Array, Array]:
        b, *spatial, c = y.shape
        rank = len(spatial)
        split = y.reshape(b, *spatial, *((block,) * rank), c // block**rank)
        order = (0, *(axis for i in range(rank) for axis in (1 + i, 1 + rank + i)), 2 * rank + 1)
        return split.transpose(order).reshape(b, *(n * block for n in spatial), c // block**rank), no_change(y)

    return without_parameters(fold, unfold)


def squeezed_shape(shape: tuple[int, ...], block: int = 2) -> tuple[int, ...]:
    """The shape ``(*spatial, c)`` of one example after `squeeze`.

    Example:
        >>> squeezed_shape((8, 8, 1))
        (4, 4, 4)
    """
    *spatial, c = shape
    return (*(n // block for n in spatial), math.prod([block] * len(spatial)) * c)
