"""Convolutional encoders and decoders, in 2-D and 3-D: to a code with spatial axes, or to a vector."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import cast

import flax.linen as nn

from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.nets import layers, residual
from jaxgen.nets.attention import SelfAttention
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params


def _level(h: Array, width: int, blocks: int, attends: bool, head_width: int, norm: Callable[..., nn.Module]) -> Array:
    """The residual blocks of one level; called within a module, which owns their parameters."""
    for _ in range(blocks):
        h = residual.ResidualBlock(width, norm=norm)(h)
        if attends:
            h = SelfAttention(head_width, norm)(h)
    return h


class _Encoder(nn.Module):
    features: int
    channels: Sequence[int]
    blocks: int
    attention: Sequence[int]
    head_width: int
    groups: int
    patch: int
    vector: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        norm = functools.partial(layers.GroupNorm, self.groups)
        h = layers.Conv(self.channels[0])(space_to_depth(x, self.patch) if self.patch > 1 else x)
        for level, width in enumerate(self.channels):
            h = _level(h, width, self.blocks, level in self.attention, self.head_width, norm)
            if level < len(self.channels) - 1:
                h = residual.Downsample(self.channels[level + 1])(h)
        h = nn.silu(norm()(h))
        if self.vector:
            return layers.Dense(self.features)(h.reshape(h.shape[0], -1))
        return layers.Conv(self.features)(h)


class _Decoder(nn.Module):
    features: int
    channels: Sequence[int]
    blocks: int
    attention: Sequence[int]
    head_width: int
    groups: int
    patch: int
    spatial: Sequence[int] | None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        norm = functools.partial(layers.GroupNorm, self.groups)
        last = self.channels[-1]
        if self.spatial is None:
            h = layers.Conv(last)(z)
        else:
            h = layers.Dense(math.prod(self.spatial) * last)(z).reshape(z.shape[0], *self.spatial, last)
        for level in reversed(range(len(self.channels))):
            h = _level(h, self.channels[level], self.blocks, level in self.attention, self.head_width, norm)
            if level > 0:
                h = residual.Upsample(self.channels[level - 1])(h)
        h = layers.Conv(self.features * self.patch ** (h.ndim - 2))(nn.silu(norm()(h)))
        return depth_to_space(h, self.patch) if self.patch > 1 else h


def encoder(
    features: int,
    *,
    channels: Sequence[int] = (32, 64, 96),
    blocks: int = 1,
    attention: Sequence[int] = (),
    head_width: int = 32,
    groups: int = 32,
    patch: int = 1,
    vector: bool = False,
) -> Net:
    """Convolutional encoder: residual blocks at ever lower resolution; its spatial rank is that of its input.

    ``apply(params, x)`` maps ``[b, *spatial, c]`` to ``[b, *spatial / f, features]`` with
    ``f = patch 2^(levels - 1)``, or with `vector` to ``[b, features]``. For a code with mean and log-variance ask for
    twice as many features (`jaxgen.families.vae_model` splits them).

    Args:
        features: channels of the code, or its width as a vector.
        channels: width of each level, the finest first; each further one halves the resolution.
        blocks: residual blocks a level.
        attention: the levels (0 is the finest) that have self-attention.
        head_width: width of an attention head.
        groups: of the group norms, fewer where a level is narrow.
        patch: fold blocks of ``patch`` pixels along each axis into channels before the first convolution.
        vector: end in one dense layer over all positions. The parameters then belong to one size of image.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty; when called, if the size of an image is no multiple of f.

    Reference:
        Rombach et al. 2022, arXiv 2112.10752, section 3.1 and appendix E, for the form without `vector`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = encoder(4, channels=(8, 16))
        >>> x = jnp.zeros((2, 8, 8, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 4, 4, 4)
    """
    multiple = _check(channels, patch)
    module = _Encoder(features, tuple(channels), blocks, tuple(attention), head_width, groups, patch, vector)

    def check(x: Array) -> None:
        if any(n % multiple for n in x.shape[1:-1]):
            raise ValueError(f"spatial shape {x.shape[1:-1]} must be a multiple of {multiple} along every axis")

    def init(key: Key, x: Array) -> Params:
        check(x)
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        check(x)
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))


def decoder(
    features: int,
    *,
    channels: Sequence[int] = (32, 64, 96),
    blocks: int = 1,
    attention: Sequence[int] = (),
    head_width: int = 32,
    groups: int = 32,
    patch: int = 1,
    spatial: Sequence[int] | None = None,
) -> Net:
    """Convolutional decoder, the mirror of `encoder` with the same options.

    ``apply(params, z)`` maps a code ``[b, *spatial / f, d]``, or a vector ``[b, d]`` where `spatial` is given, to
    ``[b, *spatial, features]``.

    Args:
        features: channels of the image.
        channels: width of each level, the finest first, as of the encoder.
        blocks: residual blocks a level.
        attention: the levels (0 is the finest) that have self-attention.
        head_width: width of an attention head.
        groups: of the group norms.
        patch: blocks of pixels that the last convolution unfolds.
        spatial: of the image, if the code is a vector; None for a code with spatial axes.

    Returns:
        A `Net`.

    Raises:
        ValueError: if `channels` is empty, or `spatial` no multiple of ``f = patch 2^(levels - 1)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = decoder(1, channels=(8, 16), spatial=(8, 8))
        >>> z = jnp.zeros((2, 5))
        >>> net.apply(net.init(jax.random.key(0), z), z).shape
        (2, 8, 8, 1)
    """
    multiple = _check(channels, patch)
    if spatial is not None and any(n % multiple for n in spatial):
        raise ValueError(f"spatial shape {tuple(spatial)} must be a multiple of {multiple} along every axis")
    coarse = None if spatial is None else tuple(n // multiple for n in spatial)
    module = _Decoder(features, tuple(channels), blocks, tuple(attention), head_width, groups, patch, coarse)

    def init(key: Key, z: Array) -> Params:
        return module.init(key, z)["params"]

    def apply(params: Params, z: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, z))

    return float32_answer(Net(init, apply))


def _check(channels: Sequence[int], patch: int) -> int:
    """By how much the resolution falls."""
    if not channels:
        raise ValueError("channels must name at least one level")
    return patch * 2 ** (len(channels) - 1)
