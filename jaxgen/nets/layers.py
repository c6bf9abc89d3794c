"""Flax layers over `jaxgen.nets.ops`: they hold the parameters, the operations do the work."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import ops
from jaxgen.nets.embedding import sinusoidal
from jaxgen.types import Array, Key

default_init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")


class Dense(nn.Module):
    """Affine map of the last axis."""

    features: int
    kernel_init: Callable = default_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., c]`` to ``[..., features]``."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ops.dense(x, kernel, bias)


class Conv(nn.Module):
    """Convolution of odd width; the spatial rank is that of its input."""

    features: int
    width: int = 3
    stride: int = 1
    kernel_init: Callable = default_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *spatial / stride, features]``."""
        window = (self.width,) * (x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*window, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return ops.convolution(x, kernel, bias, self.stride)


def group_count(channels: int, groups: int) -> int:
    """The largest divisor of `channels` that is at most `groups` and leaves at least 4 channels a group.

    Example:
        >>> group_count(128, 32), group_count(32, 32), group_count(6, 32)
        (32, 8, 1)
    """
    return next(n for n in range(max(1, min(groups, channels // 4)), 0, -1) if channels % n == 0)


class GroupNorm(nn.Module):
    """Group normalisation, with its scale and shift given by the caller as well where the norm is adaptive."""

    groups: int = 32

    @nn.compact
    def __call__(self, x: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        """Normalise ``[b, *spatial, c]``; `scale` and `shift` ``[b, c]`` act as ``(1 + scale) * norm(x) + shift``."""
        c = x.shape[-1]
        gamma = self.param("scale", nn.initializers.ones, (c,))
        beta = self.param("shift", nn.initializers.zeros, (c,))
        if scale is not None and shift is not None:
            gamma, beta = gamma * (1 + scale), beta * (1 + scale) + shift
        return ops.group_norm(x, gamma, beta, group_count(c, self.groups))


class SelfAttention(nn.Module):
    """Self-attention over all positions with a residual connection; starts as the identity."""

    head_width: int = 32
    groups: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to the same shape."""
        b, *spatial, c = x.shape
        heads = max(1, c // self.head_width)
        if c % heads:
            raise ValueError(f"{c} channels do not split into {heads} heads of width about {self.head_width}")
        h = GroupNorm(self.groups)(x).reshape(b, -1, c)
        query, key, value = jnp.split(Dense(3 * c)(h).reshape(b, -1, heads, 3 * (c // heads)), 3, axis=-1)
        h = ops.attention(query, key, value).reshape(b, *spatial, c)
        return x + Dense(c, kernel_init=nn.initializers.zeros)(h)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, with a skip connection; an embedding enters between the two.

    With `adaptive` the embedding gives the second norm its scale and shift (adaptive group norm, Dhariwal & Nichol
    2021, arXiv 2105.05233, section 3); without, it is added to the features (Ho et al. 2020, arXiv 2006.11239).
    """

    features: int
    adaptive: bool = True
    dropout: float = 0.0
    groups: int = 32

    @nn.compact
    def __call__(self, x: Array, embedding: Array | None = None, key: Key | None = None) -> Array:
        """Map ``[b, *spatial, c]``, with an `embedding` ``[b, e]``, to ``[b, *spatial, features]``; `key` drops out."""
        h = Conv(self.features)(nn.silu(GroupNorm(self.groups)(x)))
        scale = shift = None
        if embedding is not None:
            width = 2 * self.features if self.adaptive else self.features
            e = Dense(width)(nn.silu(embedding))
            if self.adaptive:
                scale, shift = jnp.split(e, 2, axis=-1)
            else:
                h = h + e.reshape(e.shape[0], *((1,) * (x.ndim - 2)), -1)
        h = nn.silu(GroupNorm(self.groups)(h, scale, shift))
        if self.dropout > 0 and key is not None:
            h = jnp.where(draws.bernoulli(key, 1 - self.dropout, h.shape), h / (1 - self.dropout), 0)
        h = Conv(self.features, kernel_init=nn.initializers.zeros)(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, width=1)(x)
        return x + h


class Downsample(nn.Module):
    """Halve every spatial axis by a strided convolution."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *spatial / 2, features]``."""
        return Conv(self.features, stride=2)(x)


class Upsample(nn.Module):
    """Double every spatial axis by repeating pixels, then convolve."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *2 spatial, features]``."""
        for axis in range(1, x.ndim - 1):
            x = jnp.repeat(x, 2, axis=axis)
        return Conv(self.features)(x)


class LabelEmbedding(nn.Module):
    """A table of ``classes + 1`` vectors; the last is that of the null label of classifier-free guidance.

    Reference:
        Ho & Salimans 2022, arXiv 2207.12598, section 3.
    """

    classes: int
    features: int

    @nn.compact
    def __call__(self, label: Array | None, b: int) -> Array:
        """Map integers ``[b]`` or a scalar to ``[b, features]``; None is the null label, one out of range gives NaN."""
        table = self.param("table", nn.initializers.normal(0.02), (self.classes + 1, self.features))
        label = jnp.broadcast_to(jnp.asarray(self.classes if label is None else label), (b,))
        return jnp.take(table, jnp.where(label < 0, self.classes + 1, label), axis=0, mode="fill", fill_value=jnp.nan)


def embed_time(t: Array, x: Array, features: int, width: int) -> Array:
    """Time embedding of the module that calls it: sinusoidal features, then two dense layers with SiLU between.

    Args:
        t: ``[b]`` or a scalar.
        x: the input ``[b, ...]`` whose batch and dtype the embedding follows.
        features: number of sinusoidal features, even.
        width: of the result.

    Returns:
        ``[b, width]``.

    Reference:
        Ho et al. 2020, arXiv 2006.11239, appendix B.
    """
    t = jnp.broadcast_to(jnp.asarray(t, jnp.float32), x.shape[:1])
    h = sinusoidal(t, features).astype(x.dtype)
    return Dense(width)(nn.silu(Dense(width)(h)))
