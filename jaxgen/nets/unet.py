"""The U-Net of diffusion and flow models, for one, two and three spatial dimensions."""

import itertools
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import layers, ops
from jaxgen.types import Array, Key, Net, Params


class _UNet(nn.Module):
    out_channels: int
    channels: Sequence[int]
    blocks: int
    attention: Sequence[int]
    head_width: int
    adaptive: bool
    dropout: float
    groups: int
    patch: int
    classes: int | None

    @nn.compact
    def __call__(
        self,
        x: Array,
        t: Array | None,
        vector: Array | None,
        features: Array | None,
        label: Array | None,
        key: Key | None,
    ) -> Array:
        embedding = self._embedding(x, t, vector, label)
        count = itertools.count()

        def residual(h: Array, width: int) -> Array:
            i = next(count)
            dropout_key = None if key is None else draws.fold_in(key, i)
            return layers.ResidualBlock(width, self.adaptive, self.dropout, self.groups)(h, embedding, dropout_key)

        def block(h: Array, width: int, level: int) -> Array:
            h = residual(h, width)
            return layers.SelfAttention(self.head_width, self.groups)(h) if level in self.attention else h

        if self.patch > 1:
            x = ops.space_to_depth(x, self.patch)
        h = layers.Conv(self.channels[0])(x)
        if features is not None:
            h = h + features
        skips = [h]
        last = len(self.channels) - 1
        for level, width in enumerate(self.channels):
            for _ in range(self.blocks):
                h = block(h, width, level)
                skips.append(h)
            if level < last:
                h = layers.Downsample(width)(h)
                skips.append(h)

        h = residual(h, self.channels[-1])
        if self.attention:
            h = residual(layers.SelfAttention(self.head_width, self.groups)(h), self.channels[-1])

        for level in range(last, -1, -1):
            for _ in range(self.blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), self.channels[level], level)
            if level > 0:
                h = layers.Upsample(self.channels[level])(h)
        h = nn.silu(layers.GroupNorm(self.groups)(h))
        rank = x.ndim - 2
        h = layers.Conv(self.out_channels * self.patch**rank, kernel_init=nn.initializers.zeros)(h)
        return ops.depth_to_space(h, self.patch) if self.patch > 1 else h

    def _embedding(self, x: Array, t: Array | None, vector: Array | None, label: Array | None) -> Array | None:
        width = 4 * self.channels[0]
        parts = []
        if t is not None:
            parts.append(layers.embed_time(t, x, 2 * (self.channels[0] // 2), width))
        if vector is not None:
            parts.append(layers.Dense(width)(vector.astype(x.dtype)))
        if self.classes is not None:
            parts.append(layers.LabelEmbedding(self.classes, width)(label, x.shape[0]))
        return sum(parts[1:], parts[0]) if parts else None


def unet(
    out_channels: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    blocks: int = 2,
    attention: Sequence[int] = (),
    head_width: int = 32,
    adaptive: bool = True,
    dropout: float = 0.0,
    groups: int = 32,
    patch: int = 1,
    classes: int | None = None,
) -> Net:
    """U-Net with residual blocks, time embedding and self-attention; its spatial rank is that of its input.

    ``apply(params, x, t=None, vector=None, features=None, label=None, key=None)`` maps `x` ``[b, *spatial, c]`` to
    ``[b, *spatial, out_channels]``. `t` ``[b]`` or a scalar is the time, `vector` ``[b, e]`` any other embedding
    (covariates), `features` ``[b, *spatial / patch, channels[0]]`` an encoded image that is added after the first
    convolution; a concatenated image condition is simply more channels of `x`. What is None at `init` must be None at
    `apply`. The last convolution starts at zero.

    With `classes`, `label` ``[b]`` holds integers: 0 to ``classes - 1`` are the classes, `classes` is the null label
    of classifier-free guidance, which also stands where `label` is None. A label outside that range gives NaN.

    Args:
        out_channels: channels of the result.
        channels: width of each level; each further level halves the resolution, so every spatial axis must be a
            multiple of ``patch * 2**(len(channels) - 1)``.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: the levels (0 is the finest) that have self-attention; where any has, so has the middle.
        head_width: width of an attention head.
        adaptive: whether embeddings enter as scale and shift of the norms, or are added.
        dropout: rate inside the residual blocks; active where `key` is given.
        groups: of the group norms, fewer where a level is narrow.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution and unfold
            the result, which makes every layer ``patch**rank`` times cheaper.
        classes: number of classes that `label` tells apart; None for a network without labels.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty, or (at `init` and `apply`) if a spatial axis does not divide or a label is
            given to a network without classes.

    Reference:
        Ronneberger et al. 2015, arXiv 1505.04597; in the form of Dhariwal & Nichol 2021, arXiv 2105.05233.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = unet(1, channels=(8, 16), blocks=1)
        >>> x, t = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2,))
        >>> params = net.init(jax.random.key(0), x, t)
        >>> net.apply(params, x, t).shape
        (2, 8, 8, 1)
    """
    if not channels:
        raise ValueError("channels must name at least one level")
    module = _UNet(
        out_channels,
        tuple(channels),
        blocks,
        tuple(attention),
        head_width,
        adaptive,
        dropout,
        groups,
        patch,
        classes,
    )
    multiple = patch * 2 ** (len(channels) - 1)

    def check(x: Array, label: Array | None) -> None:
        if any(n % multiple for n in x.shape[1:-1]):
            raise ValueError(f"spatial shape {x.shape[1:-1]} must be a multiple of {multiple} along every axis")
        if label is not None and classes is None:
            raise ValueError("a label was given to a network without classes: give unet its number of classes")

    def init(key: Key, x: Array, t=None, vector=None, features=None, label=None) -> Params:
        check(x, label)
        return module.init(key, x, t, vector, features, label, None)["params"]

    def apply(
        params: Params, x: Array, t=None, vector=None, features=None, label=None, *, key: Key | None = None
    ) -> Array:
        check(x, label)
        return cast(Array, module.apply({"params": params}, x, t, vector, features, label, key))

    return Net(init, apply)
