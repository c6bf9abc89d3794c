"""The U-Net of diffusion and flow models, for one, two and three spatial dimensions."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.nets import layers, residual
from jaxgen.nets.attention import SelfAttention, SpatialTransformer
from jaxgen.nets.door import float32_answer
from jaxgen.nets.embedding import LabelEmbedding, embed_time, sinusoidal
from jaxgen.types import Array, Key, Net, Params


class UNetVariant(NamedTuple):
    """What some published U-Nets have or do otherwise, and most do without.

    Attributes:
        cross_attention: the levels with a transformer block of self- and cross-attention instead of self-attention;
            where any has, so has the middle.
        middle_attention: whether the middle is two residual blocks with attention between them (True) or without
            (False); None gives it attention where any level has it, and one block alone otherwise.
        middle_groups: groups of the norm before the self-attention of the middle, 0 for no norm there; None is as
            `groups`.
        groups: of the group norms, fewer where a level is narrow.
        group_width: fewest channels of a group.
        epsilon: added to the variance in group norms.
        time_features: ``time_features(t [b], width) -> [b, k]``, what the time embedding starts from.
        spade: hidden channels of the convolutions that read a `segmentation`; None for a network without one.
        spade_encoder: whether the `segmentation` enters the encoder and the middle as well as the decoder.
        residual_resampling: change resolution inside residual blocks, by mean and repetition, not by convolutions.
        downsample_padding: zeros before and after each axis where a strided convolution halves the resolution.
    """

    cross_attention: Sequence[int] = ()
    middle_attention: bool | None = None
    middle_groups: int | None = None
    groups: int = 32
    group_width: int = 4
    epsilon: float = 1e-5
    time_features: Callable[[Array, int], Array] = sinusoidal
    spade: int | None = None
    spade_encoder: bool = False
    residual_resampling: bool = False
    downsample_padding: tuple[int, int] = (1, 1)


class _UNet(nn.Module):
    out_channels: int
    channels: Sequence[int]
    blocks: int
    attention: Sequence[int]
    head_width: int
    adaptive: bool
    dropout: float
    patch: int
    classes: int | None
    time_features: Callable[[Array, int], Array]
    variant: UNetVariant

    @nn.compact
    def __call__(
        self,
        x: Array,
        t: Array | None,
        vector: Array | None,
        features: Array | None,
        label: Array | None,
        context: Array | None,
        segmentation: Array | None,
        key: Key | None,
    ) -> Array:
        variant = self.variant
        norm = functools.partial(
            layers.GroupNorm, groups=variant.groups, group_width=variant.group_width, epsilon=variant.epsilon
        )
        embedding = self._embedding(x, t, vector, label)
        count = itertools.count()

        def residual_block(
            h: Array, width: int, decoder: bool, resample: Callable[[Array], Array] | None = None
        ) -> Array:
            i = next(count)
            dropout_key = None if key is None else draws.fold_in(key, i)
            block = residual.ResidualBlock(width, self.adaptive, self.dropout, norm, variant.spade or 0, resample)
            return block(h, embedding, dropout_key, segmentation if decoder or variant.spade_encoder else None)

        def block(h: Array, width: int, level: int, decoder: bool) -> Array:
            h = residual_block(h, width, decoder)
            if level in variant.cross_attention:
                return SpatialTransformer(self.head_width, norm)(h, cast(Array, context))
            return SelfAttention(self.head_width, norm)(h) if level in self.attention else h

        if self.patch > 1:
            x = space_to_depth(x, self.patch)
        h = layers.Conv(self.channels[0])(x)
        if features is not None:
            h = h + features.astype(h.dtype)
        skips = [h]
        last = len(self.channels) - 1
        for level, width in enumerate(self.channels):
            for _ in range(self.blocks):
                h = block(h, width, level, decoder=False)
                skips.append(h)
            if level < last:
                if variant.residual_resampling:
                    h = residual_block(h, width, False, residual.average)
                else:
                    h = residual.Downsample(width, variant.downsample_padding)(h)
                skips.append(h)

        h = residual_block(h, self.channels[-1], decoder=False)
        attends = self._middle_attends()
        if attends:
            if variant.cross_attention:
                h = SpatialTransformer(self.head_width, norm)(h, cast(Array, context))
            else:
                middle_norm = (
                    norm if variant.middle_groups is None else functools.partial(norm, groups=variant.middle_groups)
                )
                h = SelfAttention(self.head_width, None if variant.middle_groups == 0 else middle_norm)(h)
        if attends or variant.middle_attention is not None:
            h = residual_block(h, self.channels[-1], decoder=False)

        for level in range(last, -1, -1):
            width = self.channels[level]
            for _ in range(self.blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), width, level, decoder=True)
            if level > 0:
                if variant.residual_resampling:
                    h = residual_block(h, width, True, residual.repeat)
                else:
                    h = residual.Upsample(width)(h)
        h = nn.silu(norm()(h))
        rank = x.ndim - 2
        h = layers.Conv(self.out_channels * self.patch**rank, kernel_init=nn.initializers.zeros)(h)
        return depth_to_space(h, self.patch) if self.patch > 1 else h

    def _middle_attends(self) -> bool:
        if self.variant.middle_attention is None:
            return bool(self.attention or self.variant.cross_attention)
        return self.variant.middle_attention

    def _embedding(self, x: Array, t: Array | None, vector: Array | None, label: Array | None) -> Array | None:
        first = self.channels[0]
        width = 4 * first
        parts = []
        if t is not None:
            parts.append(embed_time(t, x, 2 * (first // 2), width, self.time_features))
        if vector is not None:
            parts.append(layers.Dense(width)(vector.astype(x.dtype)))
        if self.classes is not None:
            parts.append(LabelEmbedding(self.classes, width)(label, x.shape[0]))
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
    patch: int = 1,
    classes: int | None = None,
    variant: UNetVariant = UNetVariant(),  # noqa: B008  (a tuple, which no one can change)
) -> Net:
    """U-Net with residual blocks, time embedding and attention; its spatial rank is that of its input.

    ``apply(params, x, t=None, vector=None, features=None, label=None, context=None, segmentation=None, key=None)``
    maps `x` ``[b, *spatial, c]`` to ``[b, *spatial, out_channels]``. What is None at `init` must be None at `apply`.
    The last convolution starts at zero.

    - `t` ``[b]`` or a scalar is the time.
    - `vector` ``[b, e]`` is any other embedding (covariates).
    - `features` ``[b, *spatial / patch, channels[0]]`` is an encoded image that is added after the first convolution;
      a concatenated image condition is simply more channels of `x`.
    - `label` ``[b]``, with `classes`: integers, 0 to ``classes - 1`` for the classes and `classes` for the null label
      of classifier-free guidance, which also stands where `label` is None. A label out of range gives NaN.
    - `context` ``[b, m, e]``, with ``variant.cross_attention``: tokens (text, image patches) that every position
      attends to.
    - `segmentation` ``[b, *spatial, k]``, with ``variant.spade``: a one-hot map that scales and shifts the norms
      pixel by pixel.

    Args:
        out_channels: channels of the result.
        channels: width of each level; each further level halves the resolution, so every spatial axis must be a
            multiple of ``patch * 2**(len(channels) - 1)``.
        blocks: residual blocks a level on the way down; one more on the way up.
        attention: the levels (0 is the finest) that have self-attention.
        head_width: width of an attention head.
        adaptive: whether embeddings enter as scale and shift of the norms, or are added.
        dropout: rate inside the residual blocks; active where `key` is given.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution and unfold
            the result, which makes every layer ``patch**rank`` times cheaper.
        classes: number of classes that `label` tells apart; None for a network without labels.
        variant: cross-attention, spatially adaptive norms, and details of published networks.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty, or (at `init` and `apply`) if a spatial axis does not divide, or a label,
            context or segmentation is given to a network that does not take it, or is missing from one that needs it.

    Reference:
        Ronneberger et al. 2015, arXiv 1505.04597; in the form of Dhariwal & Nichol 2021, arXiv 2105.05233; context as
        Rombach et al. 2022, arXiv 2112.10752; segmentation as Park et al. 2019, arXiv 1903.07291.

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
        patch,
        classes,
        variant.time_features,
        variant._replace(cross_attention=tuple(variant.cross_attention), time_features=sinusoidal),
    )
    multiple = patch * 2 ** (len(channels) - 1)

    def check(x: Array, label: Array | None, context: Array | None, segmentation: Array | None) -> None:
        if any(n % multiple for n in x.shape[1:-1]):
            raise ValueError(f"spatial shape {x.shape[1:-1]} must be a multiple of {multiple} along every axis")
        if label is not None and classes is None:
            raise ValueError("a label was given to a network without classes: give unet its number of classes")
        if (context is None) == bool(variant.cross_attention):
            raise ValueError("a context goes with a network that has levels of cross_attention, and only with one")
        if (segmentation is None) != (variant.spade is None):
            raise ValueError("a segmentation goes with a network that has spade channels, and only with one")

    def init(
        key: Key,
        x: Array,
        t: Array | None = None,
        vector: Array | None = None,
        features: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
        segmentation: Array | None = None,
    ) -> Params:
        check(x, label, context, segmentation)
        return module.init(key, x, t, vector, features, label, context, segmentation, None)["params"]

    def apply(
        params: Params,
        x: Array,
        t: Array | None = None,
        vector: Array | None = None,
        features: Array | None = None,
        label: Array | None = None,
        context: Array | None = None,
        segmentation: Array | None = None,
        *,
        key: Key | None = None,
    ) -> Array:
        check(x, label, context, segmentation)
        given = (x, t, vector, features, label, context, segmentation, key)
        return cast(Array, module.apply({"params": params}, *given))

    return float32_answer(Net(init, apply))
