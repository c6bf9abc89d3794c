"""Blocks of pixels folded into channels, and back."""

from jaxgen.types import Array


def space_to_depth(x: Array, block: int) -> Array:
    """Fold each block of pixels into channels: ``[b, *spatial, c] -> [b, *spatial / block, block^rank * c]``.

    Raises:
        ValueError: if a spatial axis is no multiple of `block`.

    Example:
        >>> import jax.numpy as jnp
        >>> space_to_depth(jnp.zeros((1, 4, 6, 2)), 2).shape
        (1, 2, 3, 8)
    """
    b, *spatial, c = x.shape
    if any(n % block for n in spatial):
        raise ValueError(f"spatial shape {tuple(spatial)} must be a multiple of the block {block} along every axis")
    rank = len(spatial)
    split = x.reshape(b, *(m for n in spatial for m in (n // block, block)), c)
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return split.transpose(order).reshape(b, *(n // block for n in spatial), block**rank * c)


def depth_to_space(x: Array, block: int) -> Array:
    """Inverse of `space_to_depth`.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.arange(48.0).reshape(1, 4, 6, 2)
        >>> bool((depth_to_space(space_to_depth(x, 2), 2) == x).all())
        True
    """
    b, *spatial, c = x.shape
    rank = len(spatial)
    split = x.reshape(b, *spatial, *((block,) * rank), c // block**rank)
    order = (0, *(axis for i in range(rank) for axis in (1 + i, 1 + rank + i)), 2 * rank + 1)
    return split.transpose(order).reshape(b, *(n * block for n in spatial), c // block**rank)
