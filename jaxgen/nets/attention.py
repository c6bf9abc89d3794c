"""Attention among the positions of an image, and from them to the tokens of a context."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers, ops
from jaxgen.types import Array


def head_count(channels: int, head_width: int) -> int:
    """How many heads of about `head_width` channels there are.

    Raises:
        ValueError: if the channels do not split into that many equal heads.

    Example:
        >>> head_count(96, 32), head_count(16, 32)
        (3, 1)
    """
    heads = max(1, channels // head_width)
    if channels % heads:
        raise ValueError(f"{channels} channels do not split into {heads} heads of width about {head_width}")
    return heads


class SelfAttention(nn.Module):
    """Self-attention over all positions with a residual connection; starts as the identity where it has a projection.

    The projection is a dense layer from the values of all heads to the result.
    """

    head_width: int = 32
    norm: Callable[..., nn.Module] | None = layers.GroupNorm
    projection: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to the same shape."""
        b, *spatial, c = x.shape
        heads = head_count(c, self.head_width)
        h = (x if self.norm is None else self.norm()(x)).reshape(b, -1, c)
        query, key, value = jnp.split(layers.Dense(3 * c)(h).reshape(b, -1, heads, 3 * (c // heads)), 3, axis=-1)
        h = ops.attention(query, key, value).reshape(b, *spatial, c)
        return x + (layers.Dense(c, kernel_init=nn.initializers.zeros)(h) if self.projection else h)


class MultiHeadAttention(nn.Module):
    """Attention of tokens to themselves, or to those of a context."""

    heads: int
    use_bias: bool = True
    projection: bool = True
    causal: bool = False

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """Map ``[b, n, c]``, with a `context` ``[b, m, e]``, to ``[b, n, c]``."""
        b, _, c = x.shape
        if c % self.heads:
            raise ValueError(f"{c} channels do not split into {self.heads} heads")
        width = c // self.heads

        def project(tokens: Array, parts: int) -> list[Array]:
            h = layers.Dense(parts * c, use_bias=self.use_bias)(tokens)
            return jnp.split(h.reshape(b, -1, self.heads, parts * width), parts, axis=-1)

        query, key, value = project(x, 3) if context is None else (*project(x, 1), *project(context, 2))
        h = ops.attention(query, key, value, causal=self.causal).reshape(b, -1, c)
        return layers.Dense(c)(h) if self.projection else h


class _Block(nn.Module):
    heads: int
    context: bool = True
    gated: bool = True
    projection: bool = True

    @nn.compact
    def __call__(self, x: Array, context: Array | None) -> Array:
        c = x.shape[-1]
        x = x + MultiHeadAttention(self.heads, use_bias=False, projection=self.projection)(layers.LayerNorm()(x))
        if self.context:
            x = x + MultiHeadAttention(self.heads, use_bias=False)(layers.LayerNorm()(x), context)
        if self.gated:
            h, gate = jnp.split(layers.Dense(8 * c)(layers.LayerNorm()(x)), 2, axis=-1)
            h = h * nn.gelu(gate, approximate=False)
        else:
            h = nn.gelu(layers.Dense(4 * c)(layers.LayerNorm()(x)), approximate=False)
        return ops.block_end(x + layers.Dense(c)(h))


class SpatialTransformer(nn.Module):
    """Transformer blocks among positions and towards a context, with a residual connection; start as the identity.

    Norm and projection in, then `depth` blocks of self-attention, cross-attention (with `context`) and a feed-forward
    layer (`gated` or not), each behind a layer norm, then a projection out that starts at zero. No position enters: the
    order of the tokens of the context has no effect. With `projection` the self-attention ends in a dense layer.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, section
        3.3 and appendix E.2.1.
    """

    head_width: int = 32
    norm: Callable[..., nn.Module] = layers.GroupNorm
    depth: int = 1
    context: bool = True
    gated: bool = True
    projection: bool = True

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """Map ``[b, *spatial, c]``, with a `context` ``[b, m, e]``, to the shape of `x`."""
        b, *_, c = x.shape
        h = layers.Dense(c)(self.norm()(x).reshape(b, -1, c))
        for _ in range(self.depth):
            h = _Block(head_count(c, self.head_width), self.context, self.gated, self.projection)(h, context)
        return x + layers.Dense(c, kernel_init=nn.initializers.zeros)(h).reshape(x.shape)
