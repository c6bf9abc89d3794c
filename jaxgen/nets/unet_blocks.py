"""The blocks that the U-Net and its ControlNet share: embedding, encoder and middle.

These functions make the layers of the module that calls them, which is why both have the same names of parameters.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import layers, residual
from jaxgen.nets.attention import SelfAttention, SpatialTransformer
from jaxgen.nets.embedding import LabelEmbedding, embed_time, two_layers
from jaxgen.nets.rematerialise import rematerialised
from jaxgen.nets.unet_variant import Shape
from jaxgen.nets.volumetric import VolumetricLayer
from jaxgen.types import Array, Key

_PLAIN = {module: module for module in (residual.ResidualBlock, SelfAttention, SpatialTransformer)}
_REMAT = {module: rematerialised(module) for module in _PLAIN}


def embed(
    shape: Shape,
    time_features: Callable[[Array, int], Array],
    x: Array,
    t: Array | None,
    vector: Array | None,
    label: Array | None,
) -> Array | None:
    """The embedding ``[b, e]`` of time, vector and label that enters every residual block.

    Its width is ``4 channels[0]``, and as much again for each of ``variant.vector_parts``.

    Args:
        shape: of the network.
        time_features: what the embedding of time starts from.
        x: the input, whose batch and dtype the embedding follows.
        t: ``[b]``, a scalar, or None.
        vector: ``[b, e]`` or None.
        label: ``[b]`` or None.

    Returns:
        ``[b, e]``, or None where there is nothing to embed.

    Raises:
        ValueError: if the parts of the vector do not make its width.
    """
    first = shape.channels[0]
    width = 4 * first
    parts = []
    if t is not None:
        parts.append(embed_time(t, x, 2 * (first // 2), width, time_features))
    apart = shape.variant.vector_parts
    if vector is not None and not apart:
        parts.append(_embed_vector(vector.astype(x.dtype), width, shape.variant.vector_layers))
    if shape.classes is not None:
        parts.append(LabelEmbedding(shape.classes, width)(label, x.shape[0]))
    embedding = [sum(parts[1:], parts[0])] if parts else []
    if vector is not None and apart:
        return jnp.concatenate([*embedding, *_embed_parts(vector.astype(x.dtype), width, apart)], axis=-1)
    return embedding[0] if embedding else None


def _embed_parts(vector: Array, width: int, parts: Sequence[int]) -> list[Array]:
    if vector.shape[-1] != sum(parts):
        raise ValueError(f"a vector of width {vector.shape[-1]} does not have parts of widths {tuple(parts)}")
    ends = itertools.accumulate(parts)
    return [two_layers(vector[:, end - n : end], width) for end, n in zip(ends, parts, strict=True)]


def _embed_vector(vector: Array, width: int, count: int) -> Array:
    if count == 0:
        return vector
    return layers.Dense(width)(vector) if count == 1 else two_layers(vector, width)


class Blocks:
    """Makes blocks one after the other, inside the module that is being called.

    Args:
        shape: of the network.
        embedding: ``[b, e]`` or None, see `embed`.
        context: ``[b, m, e]`` or None.
        segmentation: ``[b, *spatial, k]`` or None.
        key: for dropout, or None.
    """

    def __init__(
        self,
        shape: Shape,
        embedding: Array | None,
        context: Array | None,
        segmentation: Array | None,
        key: Key | None,
    ) -> None:
        variant = shape.variant
        self.shape, self.variant, self.key = shape, variant, key
        self.embedding, self.context, self.segmentation = embedding, context, segmentation
        self.norm = functools.partial(
            layers.GroupNorm, groups=variant.groups, group_width=variant.group_width, epsilon=variant.epsilon
        )
        self.make = _REMAT if variant.remat else _PLAIN
        self.count = itertools.count()

    def residual(
        self, h: Array, width: int, *, decoder: bool = False, resample: Callable[[Array], Array] | None = None
    ) -> Array:
        """A residual block to `width` channels."""
        i = next(self.count)
        dropout_key = None if self.key is None else draws.fold_in(self.key, i)
        block = self.make[residual.ResidualBlock](
            width,
            self.shape.adaptive,
            self.shape.dropout,
            self.norm,
            self.variant.spade or 0,
            resample,
            self.variant.spade_form,
        )
        map_here = (decoder or self.variant.spade_encoder) and (resample is None or self.variant.spade_form.resampling)
        return self.across(block(h, self.embedding, dropout_key, self.segmentation if map_here else None))

    def across(self, h: Array) -> Array:
        """The volumetric layer behind a block, where there are volumes."""
        return VolumetricLayer(self.variant.slices)(h) if self.variant.slices else h

    def transformer(self, h: Array, level: int) -> Array:
        """The transformer blocks of a level."""
        options, norm = self.variant.transformer, self.norm
        if options.epsilon is not None:
            norm = functools.partial(norm, epsilon=options.epsilon)
        block = self.make[SpatialTransformer](
            self.shape.head_width[level],
            norm,
            self.shape.depth[level],
            options.context,
            options.gated,
            self.variant.attention_projection,
        )
        return self.across(block(h, self.context))

    def self_attention(self, h: Array, level: int, norm: Callable[..., nn.Module] | None) -> Array:
        """Self-attention with heads as wide as those of a level."""
        block = self.make[SelfAttention](self.shape.head_width[level], norm, self.variant.attention_projection)
        return self.across(block(h))

    def block(self, h: Array, level: int, *, decoder: bool = False) -> Array:
        """A residual block of a level and its attention."""
        h = self.residual(h, self.shape.channels[level], decoder=decoder)
        if level in self.variant.cross_attention:
            return self.transformer(h, level)
        return self.self_attention(h, level, self.norm) if level in self.shape.attention else h

    def encode(self, h: Array) -> tuple[Array, list[Array]]:
        """From the first features down to the coarsest level, and all features on the way for the decoder."""
        skips = [h]
        last = len(self.shape.channels) - 1
        for level, width in enumerate(self.shape.channels):
            for _ in range(self.shape.blocks[level]):
                h = self.block(h, level)
                skips.append(h)
            if level < last:
                if self.variant.residual_resampling:
                    h = self.residual(h, width, resample=residual.average)
                else:
                    h = residual.Downsample(width, self.variant.downsample_padding)(h)
                skips.append(h)
        return h, skips

    def middle(self, h: Array) -> Array:
        """The blocks between encoder and decoder."""
        width, last = self.shape.channels[-1], len(self.shape.channels) - 1
        h = self.residual(h, width)
        attends, groups = self.shape.middle_attends, self.variant.middle_groups
        if attends and self.shape.middle_transforms:
            h = self.transformer(h, last)
        elif attends:
            norm = self.norm if groups is None else functools.partial(self.norm, groups=groups)
            h = self.self_attention(h, last, None if groups == 0 else norm)
        if attends or self.variant.middle_attention is not None:
            h = self.residual(h, width)
        return h

    def decode(self, h: Array, skips: list[Array]) -> list[Array]:
        """From the coarsest level to the finest, features of the encoder joined: what each residual block gives."""
        found = []
        for level in range(len(self.shape.channels) - 1, -1, -1):
            width = self.shape.channels[level]
            for _ in range(self.shape.blocks[level] + 1):
                h = self.block(jnp.concatenate([h, skips.pop()], axis=-1), level, decoder=True)
                found.append(h)
            if level > 0:
                if self.variant.residual_resampling:
                    h = self.residual(h, width, decoder=True, resample=residual.repeat)
                else:
                    h = residual.Upsample(width)(h)
        return found
