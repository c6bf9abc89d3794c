"""Spatially adaptive normalisation: a map says, pixel by pixel, how features are scaled and shifted."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.types import Array


def shrink(segmentation: Array, shape: tuple[int, ...]) -> Array:
    """Resize a map to a coarser grid by the mean over blocks: of a one-hot map, the fraction of each class.

    The paper takes the nearest pixel, which loses structures thinner than the coarse pixels; the mean keeps them.

    Args:
        segmentation: ``[b, *spatial, k]``.
        shape: the coarse spatial shape, whose every axis divides that of the map.

    Returns:
        ``[b, *shape, k]``.

    Raises:
        ValueError: if an axis does not divide.

    Example:
        >>> shrink(jnp.eye(4)[None, ..., None], (2, 2))[0, ..., 0].tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    b, *spatial, k = segmentation.shape
    if len(spatial) != len(shape) or any(n % m for n, m in zip(spatial, shape, strict=True)):
        raise ValueError(f"a segmentation of shape {tuple(spatial)} does not fit features of shape {shape}")
    split = segmentation.reshape(b, *(size for n, m in zip(spatial, shape, strict=True) for size in (m, n // m)), k)
    return jnp.mean(split, axis=tuple(range(2, 2 * len(shape) + 1, 2)))


class Spade(nn.Module):
    """``(1 + gamma(map)) * norm(x) + beta(map)``, gamma and beta two convolutions of the map; starts as the norm.

    Reference:
        Park et al. 2019, arXiv 1903.07291, eq. 1 and 2; over group norm as in Wang et al. 2022, arXiv 2207.00050.
    """

    hidden: int
    norm: Callable[..., nn.Module] = layers.GroupNorm

    @nn.compact
    def __call__(self, x: Array, segmentation: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        """Normalise ``[b, *spatial, c]`` under a finer or equal map; `scale` and `shift` ``[b, c]`` act afterwards."""
        c = x.shape[-1]
        h = layers.Conv(self.hidden)(shrink(segmentation, x.shape[1:-1]).astype(x.dtype))
        gamma, beta = jnp.split(layers.Conv(2 * c, kernel_init=nn.initializers.zeros)(nn.silu(h)), 2, axis=-1)
        y = self.norm(affine=False)(x) * (1 + gamma) + beta
        if scale is not None and shift is not None:
            broad = (x.shape[0], *(1,) * (x.ndim - 2), c)
            y = y * (1 + scale.reshape(broad)) + shift.reshape(broad)
        return y
