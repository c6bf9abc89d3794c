"""Flax layers over `jaxgen.nets.ops`: they hold the parameters, the operations do the work."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import ops
from jaxgen.nets.doubled_convolution import doubled_convolution
from jaxgen.types import Array

default_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class Dense(nn.Module):
    """Affine map of the last axis."""

    features: int
    kernel_init: Callable = default_init
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., c]`` to ``[..., features]``."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        return ops.dense(x, kernel, bias)


class Conv(nn.Module):
    """Convolution of odd width; the spatial rank is that of its input."""

    features: int
    width: int = 3
    stride: int = 1
    kernel_init: Callable = default_init
    padding: tuple[int, int] | None = None
    groups: int = 1
    doubled: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *spatial / stride, features]``; where `doubled`, of each pixel repeated."""
        window = (self.width,) * (x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*window, x.shape[-1] // self.groups, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.doubled:
            return doubled_convolution(x, kernel, bias)
        return ops.convolution(x, kernel, bias, self.stride, self.padding, self.groups)


def group_count(channels: int, groups: int, width: int = 4) -> int:
    """The largest divisor of `channels` that is at most `groups` and leaves at least `width` channels a group.

    Example:
        >>> group_count(128, 32), group_count(32, 32), group_count(6, 32), group_count(64, 32, width=1)
        (32, 8, 1, 32)
    """
    return next(n for n in range(max(1, min(groups, channels // width)), 0, -1) if channels % n == 0)


class GroupNorm(nn.Module):
    """Group normalisation, with its scale and shift given by the caller as well where the norm is adaptive."""

    groups: int = 32
    group_width: int = 4
    epsilon: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(self, x: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        """Normalise ``[b, *spatial, c]``; `scale` and `shift` ``[b, c]`` act as ``(1 + scale) * norm(x) + shift``."""
        c = x.shape[-1]
        gamma, beta = jnp.ones(c), jnp.zeros(c)
        if self.affine:
            gamma = self.param("scale", nn.initializers.ones, (c,))
            beta = self.param("shift", nn.initializers.zeros, (c,))
        if scale is not None and shift is not None:
            gamma, beta = gamma * (1 + scale), beta * (1 + scale) + shift
        return ops.group_norm(x, gamma, beta, group_count(c, self.groups, self.group_width), self.epsilon)


class LayerNorm(nn.Module):
    """Layer normalisation of the last axis, with its own scale and shift."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise ``[..., c]``."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        shift = self.param("shift", nn.initializers.zeros, x.shape[-1:])
        return ops.layer_norm(x, scale, shift, self.epsilon)
