"""The generators of pix2pix and CycleGAN, and their critic of patches: networks from image to image."""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.fixup import SLOPE
from jaxgen.nets.transposed_convolution import TransposedConv
from jaxgen.types import Array, Key, Net, Params

DCGAN_INIT = nn.initializers.normal(0.02)
DROPPED_LEVELS = 3
"""Levels of the decoder with dropout, from the coarsest but one."""


class InstanceNorm(nn.Module):
    """Every channel of every image at mean 0 and variance 1, then a scale and a shift."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise ``[b, *spatial, c]``."""
        return layers.GroupNorm(groups=x.shape[-1], group_width=1)(x)


class _Skipping(nn.Module):
    out_channels: int
    channels: Sequence[int]
    dropout: float

    @nn.compact
    def __call__(self, x: Array, key: Key | None) -> Array:
        found, h, last = [], x, len(self.channels) - 1
        for level, width in enumerate(self.channels):
            h = nn.leaky_relu(h, SLOPE) if level else h
            h = layers.Conv(width, width=4, stride=2, padding=(1, 1), kernel_init=DCGAN_INIT)(h)
            # The coarsest may be one pixel, of which a norm over space would leave nothing.
            h = InstanceNorm()(h) if 0 < level < last else h
            found.append(h)
        for level in range(last, 0, -1):
            h = InstanceNorm()(TransposedConv(self.channels[level - 1])(nn.relu(h)))
            if self.dropout > 0 and key is not None and last - DROPPED_LEVELS <= level < last:
                kept = draws.bernoulli(draws.fold_in(key, level), 1 - self.dropout, h.shape)
                h = jnp.where(kept, h / (1 - self.dropout), 0)
            h = jnp.concatenate([h, found[level - 1]], -1)
        return jnp.tanh(TransposedConv(self.out_channels)(nn.relu(h)))


class _Residual(nn.Module):
    out_channels: int
    width: int
    blocks: int
    halvings: int

    @nn.compact
    def __call__(self, x: Array, key: Key | None) -> Array:
        del key
        h = nn.relu(InstanceNorm()(_reflected(x, self.width, 7)))
        for level in range(1, self.halvings + 1):
            wide = layers.Conv(self.width * 2**level, stride=2, padding=(1, 1), kernel_init=DCGAN_INIT)
            h = nn.relu(InstanceNorm()(wide(h)))
        for _ in range(self.blocks):
            inner = nn.relu(InstanceNorm()(_reflected(h, h.shape[-1], 3)))
            h = h + InstanceNorm()(_reflected(inner, h.shape[-1], 3))
        for level in range(self.halvings - 1, -1, -1):
            h = TransposedConv(self.width * 2**level, width=3, output_padding=1)(h)
            h = nn.relu(InstanceNorm()(h))
        return jnp.tanh(_reflected(h, self.out_channels, 7))


def _reflected(x: Array, features: int, width: int) -> Array:
    """A convolution of the image continued by its mirror image; called within a module."""
    side = (width // 2, width // 2)
    x = jnp.pad(x, ((0, 0), *(side,) * (x.ndim - 2), (0, 0)), mode="reflect")
    return layers.Conv(features, width=width, padding=(0, 0), kernel_init=DCGAN_INIT)(x)


class _Patches(nn.Module):
    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        options: dict[str, Any] = {"width": 4, "padding": (1, 1), "kernel_init": DCGAN_INIT}
        h = x
        for level, width in enumerate(self.channels):
            h = layers.Conv(width, stride=1 if level == len(self.channels) - 1 else 2, **options)(h)
            h = nn.leaky_relu(InstanceNorm()(h) if level else h, SLOPE)
        return layers.Conv(1, **options)(h)[..., 0]


def _net(module: nn.Module) -> Net:
    def init(key: Key, x: Array) -> Params:
        return module.init(key, x, None)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        return cast(Array, module.apply({"params": params}, x, key))

    return float32_answer(Net(init, apply))


def skip_translator(
    out_channels: int,
    *,
    channels: Sequence[int] = (64, 128, 256, 512, 512, 512, 512, 512),
    dropout: float = 0.5,
) -> Net:
    """The generator of pix2pix, "U-Net 256": strided convolutions, transposed ones, and skips between them; tanh.

    ``apply(params, x, key=None)`` maps ``[b, *spatial, c]`` to ``[b, *spatial, out_channels]`` in [-1, 1]. Norms are of
    each image by itself: what the paper's batch norms are with its batches of one.

    Args:
        out_channels: of the answer.
        channels: widths from the finest level; resolution is halved before each.
        dropout: in three levels of the decoder from the coarsest but one, where `key` is given; the paper keeps it in
            samples.

    Returns:
        A `Net`.

    Reference:
        Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", arXiv 1611.07004,
        appendix 6.1.1.

    Example:
        >>> import jax
        >>> net, x = skip_translator(1, channels=(4, 8, 8)), jnp.zeros((2, 8, 8, 3))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 8, 8, 1)
    """
    return _net(_Skipping(out_channels, tuple(channels), dropout))


def residual_translator(out_channels: int, *, width: int = 64, blocks: int = 9, halvings: int = 2) -> Net:
    """The generator of CycleGAN: strided convolutions, residual blocks with reflection padding, and back; tanh.

    ``apply(params, x, key=None)`` maps ``[b, *spatial, c]``, its sides multiples of ``2^halvings``, to ``[b, *spatial,
    out_channels]`` in [-1, 1]. Norms are of each image by itself.

    Args:
        out_channels: of the answer.
        width: channels at full resolution, doubled at each halving.
        blocks: residual blocks at the lowest resolution: 9 for images of 256 pixels, 6 for 128.
        halvings: of the resolution.

    Returns:
        A `Net`.

    Reference:
        Zhu et al. 2017, arXiv 1703.10593, appendix 7.2; Johnson et al. 2016, arXiv 1603.08155.

    Example:
        >>> import jax
        >>> net, x = residual_translator(1, width=4, blocks=1), jnp.zeros((2, 8, 8, 3))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 8, 8, 1)
    """
    return _net(_Residual(out_channels, width, blocks, halvings))


def patch_critic(channels: Sequence[int] = (64, 128, 256, 512)) -> Net:
    """PatchGAN: one logit for every patch of the image, of 70 pixels with the default's four levels.

    Convolutions of width 4, of stride 2 but for the last level and the logits. ``apply(params, x, condition=None)``
    maps ``[b, *spatial, c]`` to a map of logits; a condition ``[b, *spatial, k]`` is concatenated with the channels.

    Args:
        channels: widths from the finest level: four see patches of 70 pixels, three of 34, two of 16.

    Returns:
        A `Net`.

    Reference:
        Isola et al. 2017, arXiv 1611.07004, section 3.2.2 and appendix 6.1.2.

    Example:
        >>> import jax
        >>> net, x = patch_critic((4, 8, 8)), jnp.zeros((2, 32, 32, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 6, 6)
    """
    module = _Patches(tuple(channels))

    def seen(x: Array, condition: Array | None) -> Array:
        return x if condition is None else jnp.concatenate([x, condition.astype(x.dtype)], -1)

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        return module.init(key, seen(x, condition))["params"]

    def apply(params: Params, x: Array, condition: Array | None = None, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, seen(x, condition)))

    return float32_answer(Net(init, apply))
