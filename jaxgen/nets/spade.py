"""Spatially adaptive normalisation: a map says, pixel by pixel, how features are scaled and shifted."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers, ops
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


class SpadeForm(NamedTuple):
    """How the spatially adaptive norms of published networks differ.

    Attributes:
        nearest: a map is resized by the nearest pixel, not by the mean over pixels.
        leak: slope of the leaky ReLU between the convolutions; None for SiLU in its place.
        standardised: whether gamma and beta are brought to mean 0 and variance 1 over the positions of each channel.
        affine: whether the norm below has a scale and a shift of its own, for each channel.
        resampling: whether a map also enters the residual blocks that change resolution.
    """

    nearest: bool = False
    leak: float | None = None
    standardised: bool = False
    affine: bool = False
    resampling: bool = True


MONAI_FORM = SpadeForm(nearest=True, leak=0.01, standardised=True, affine=True, resampling=False)
"""MONAI's; the norms of its autoencoder have no scale and shift of their own."""


def _resized(segmentation: Array, shape: tuple[int, ...], form: SpadeForm) -> Array:
    if not form.nearest:
        return shrink(segmentation, shape)
    spatial = segmentation.shape[1:-1]
    if any(n % m for n, m in zip(spatial, shape, strict=True)):
        raise ValueError(f"a segmentation of shape {spatial} does not fit features of shape {shape}")
    steps = (slice(None, None, n // m) for n, m in zip(spatial, shape, strict=True))
    return segmentation[:, *steps]


class Spade(nn.Module):
    """``(1 + gamma(map)) * norm(x) + beta(map)``, gamma and beta two convolutions of the map; starts as the norm.

    Reference:
        Park et al. 2019, arXiv 1903.07291, eq. 1 and 2; over group norm as in Wang et al. 2022, arXiv 2207.00050.
    """

    hidden: int
    norm: Callable[..., nn.Module] = layers.GroupNorm
    form: SpadeForm = SpadeForm()

    @nn.compact
    def __call__(self, x: Array, segmentation: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        """Normalise ``[b, *spatial, c]`` under a finer or equal map; `scale` and `shift` ``[b, c]`` act afterwards."""
        c = x.shape[-1]
        h = layers.Conv(self.hidden)(_resized(segmentation, x.shape[1:-1], self.form).astype(x.dtype))
        h = nn.silu(h) if self.form.leak is None else nn.leaky_relu(h, self.form.leak)
        both = layers.Conv(2 * c, kernel_init=nn.initializers.zeros)(h)
        if self.form.standardised:
            both = ops.group_norm(both, jnp.ones(2 * c), jnp.zeros(2 * c), 2 * c)
        gamma, beta = jnp.split(both, 2, axis=-1)
        y = self.norm(affine=self.form.affine)(x) * (1 + gamma) + beta
        if scale is not None and shift is not None:
            broad = (x.shape[0], *(1,) * (x.ndim - 2), c)
            y = y * (1 + scale.reshape(broad)) + shift.reshape(broad)
        return y
