"""Pixels folded into channels, so that couplings of channels can part them."""

import math

from jaxgen.bijections.bijection import Bijection, no_change, without_parameters
from jaxgen.imaging.folding import depth_to_space, space_to_depth


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
    return without_parameters(
        lambda x: (space_to_depth(x, block), no_change(x)), lambda y: (depth_to_space(y, block), no_change(y))
    )


def squeezed_shape(shape: tuple[int, ...], block: int = 2) -> tuple[int, ...]:
    """The shape ``(*spatial, c)`` of one example after `squeeze`.

    Example:
        >>> squeezed_shape((8, 8, 1))
        (4, 4, 4)
    """
    *spatial, c = shape
    return (*(n // block for n in spatial), math.prod([block] * len(spatial)) * c)
