"""Generators: networks that turn a latent vector into an image or a volume."""

import math
from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.imaging.folding import depth_to_space
from jaxgen.nets import layers, resampling, residual
from jaxgen.nets.door import float32_answer
from jaxgen.nets.embedding import ClassEmbedding
from jaxgen.nets.fixup import FixupBlock
from jaxgen.nets.spade import shrink
from jaxgen.types import Array, Key, Net, Params


def _coarsest(shape: Sequence[int], halvings: int, fold: int = 1) -> tuple[int, ...]:
    multiple = fold * 2**halvings
    if not shape[:-1] or any(n % multiple for n in shape[:-1]):
        raise ValueError(f"spatial axes must be multiples of {multiple} for its levels, got {tuple(shape[:-1])}")
    return tuple(n // 2**halvings for n in shape[:-1])


def _see(h: Array, condition: Array | None, features: int) -> Array:
    """Add what a convolution makes of an image condition at the resolution of `h`."""
    if condition is None:
        return h
    return h + layers.Conv(features)(shrink(condition, h.shape[1:-1]).astype(h.dtype))


class _DCGAN(nn.Module):
    shape: Sequence[int]
    channels: Sequence[int]
    classes: int | None
    label_features: int

    @nn.compact
    def __call__(self, z: Array, label: Array | None, condition: Array | None) -> Array:
        coarsest = _coarsest(self.shape, len(self.channels) - 1)
        embedding = None
        if self.classes is not None:
            # Beside the latent it would soon outweigh it, and each class would have one image.
            embedding = ClassEmbedding(self.classes, self.label_features)(cast(Array, label))
        h = layers.Dense(math.prod(coarsest) * self.channels[0])(z).reshape(z.shape[0], *coarsest, -1)
        for level, width in enumerate(self.channels):
            h = _see(h if level == 0 else layers.Conv(width)(residual.repeat(h)), condition, width)
            scale = shift = None
            if embedding is not None:
                modulation = layers.Dense(2 * width, kernel_init=nn.initializers.zeros)(embedding)
                scale, shift = jnp.split(modulation, 2, axis=-1)
            h = nn.relu(layers.GroupNorm()(h, scale, shift))
        return jnp.tanh(layers.Conv(self.shape[-1])(h))


class _Residual(nn.Module):
    shape: Sequence[int]
    channels: Sequence[int]
    blocks: int
    expansion: int
    group_width: int
    smooth: bool
    fold: int
    classes: int | None
    label_features: int

    @nn.compact
    def __call__(self, z: Array, label: Array | None, condition: Array | None) -> Array:
        coarsest = tuple(n // self.fold for n in _coarsest(self.shape, len(self.channels) - 1, self.fold))
        embedding = None
        if self.classes is not None:
            embedding = ClassEmbedding(self.classes, self.label_features)(cast(Array, label))
            z = jnp.concatenate([z.astype(embedding.dtype), embedding], -1)
        basis = self.param("basis", nn.initializers.normal(1.0), (*coarsest, self.channels[0]))
        weights = layers.Dense(self.channels[0])(z)
        h = basis * weights.reshape(weights.shape[0], *(1,) * len(coarsest), -1)
        for level, width in enumerate(self.channels):
            if h.shape[-1] != width:
                h = layers.Conv(width, width=1)(h)
            if level > 0:
                h = resampling.double(h) if self.smooth else residual.repeat(h)
            h = _see(h, condition, width)
            for _ in range(self.blocks):
                h = FixupBlock(self.blocks * len(self.channels), self.expansion, self.group_width)(h, embedding)
        h = layers.Conv(self.fold ** len(coarsest) * self.shape[-1], width=1)(h)
        return depth_to_space(h, self.fold) if self.fold > 1 else h


def _net(module: nn.Module) -> Net:
    def init(key: Key, z: Array, label: Array | None = None, condition: Array | None = None) -> Params:
        return module.init(key, z, label, condition)["params"]

    def apply(
        params: Params,
        z: Array,
        label: Array | None = None,
        condition: Array | None = None,
        *,
        key: Key | None = None,
    ) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, z, label, condition))

    return float32_answer(Net(init, apply))


def dcgan_generator(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (256, 128, 64, 32, 16),
    classes: int | None = None,
    label_features: int = 64,
) -> Net:
    """The small classic generator: a dense layer, then resolution doubled by repeating, convolution, norm, ReLU; tanh.

    ``apply(params, z, label=None, condition=None)`` maps latents ``[b, d]`` to ``[b, *shape]`` in [-1, 1]. Labels
    ``[b]`` enter as scale and shift of the norms; a condition ``[b, *spatial, k]`` of the size of the image enters at
    every resolution through a convolution. What is None at `init` must be None at `apply`.
    Group norms stand for the paper's batch norms, so that no example depends on another, and resized convolutions for
    transposed ones, which leave checkerboards; the last features are as fine as the image, for a layer that answers at
    once from features of half its resolution leaves a grid of blocks.

    Args:
        shape: of one image, ``(*spatial, c)``, 2-D or 3-D.
        channels: widths from the coarsest features to the finest, which are those of the image; resolution doubles
            between them.
        classes: the number of labels; None for no labels.
        label_features: width of a label's embedding.

    Returns:
        A `Net`.

    Raises:
        ValueError: from `init` and `apply`, if a spatial axis cannot be halved so often.

    Reference:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional GANs", arXiv 1511.06434;
        conditional normalisation as in Miyato & Koyama 2018, arXiv 1802.05637.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, z = dcgan_generator((8, 8, 1), channels=(8, 4)), jnp.zeros((2, 16))
        >>> net.apply(net.init(jax.random.key(0), z), z).shape
        (2, 8, 8, 1)
    """
    return _net(_DCGAN(tuple(shape), tuple(channels), classes, label_features))


def residual_generator(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (768, 768, 768, 768, 384),
    blocks: int = 2,
    expansion: int = 2,
    group_width: int = 16,
    smooth: bool = True,
    fold: int = 1,
    classes: int | None = None,
    label_features: int = 64,
) -> Net:
    """The modern generator: a learned basis weighed by the latent, then residual blocks without normalisation.

    ``apply(params, z, label=None, condition=None)`` maps latents ``[b, d]`` to ``[b, *shape]``, unbounded. Labels
    ``[b]`` enter with the latent and by adaptive group norm at the head of every block; a condition
    ``[b, *spatial, k]`` of the size of the image enters at every resolution through a convolution. What is None at
    `init` must be None at `apply`.

    Args:
        shape: of one image, ``(*spatial, c)``, 2-D or 3-D.
        channels: width of each level, from the coarsest; resolution doubles between them.
        blocks: residual blocks a level.
        expansion: how much wider a block is inside.
        group_width: channels a group of its middle convolution.
        smooth: double the resolution by linear interpolation; otherwise by repeating pixels.
        fold: the last level outputs blocks of ``fold`` pixels along each axis.
        classes: the number of labels; None for no labels.
        label_features: width of a label's embedding.

    Returns:
        A `Net`.

    Raises:
        ValueError: from `init` and `apply`, if a spatial axis cannot be halved so often.

    Reference:
        Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline", arXiv 2501.05441, section 4;
        the defaults are its configuration for images of 64 pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, z = residual_generator((8, 8, 1), channels=(8, 4), blocks=1, group_width=4), jnp.zeros((2, 16))
        >>> net.apply(net.init(jax.random.key(0), z), z).shape
        (2, 8, 8, 1)
    """
    module = _Residual(
        tuple(shape), tuple(channels), blocks, expansion, group_width, smooth, fold, classes, label_features
    )
    return _net(module)
