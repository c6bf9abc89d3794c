"""Discriminators, or critics: networks that answer larger numbers for what looks real."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.imaging.folding import space_to_depth
from jaxgen.nets import layers, resampling, residual
from jaxgen.nets.door import float32_answer
from jaxgen.nets.embedding import ClassEmbedding
from jaxgen.nets.fixup import SLOPE, FixupBlock, he_init
from jaxgen.types import Array, Key, Net, Params


def _logits(h: Array, label: Array | None, classes: int | None, patch: bool) -> Array:
    """Logits of features, an affine map plus the projection of the features on the label's embedding; float32."""
    flat = h if patch else h.reshape(h.shape[0], -1)
    logits = layers.Dense(1)(flat)[..., 0].astype(jnp.float32)
    if classes is None:
        return logits
    features = (h if patch else jnp.mean(h, tuple(range(1, h.ndim - 1)))).astype(jnp.float32)
    embedding = ClassEmbedding(classes, h.shape[-1], nn.initializers.normal(h.shape[-1] ** -0.5))(cast(Array, label))
    return logits + jnp.sum(features * embedding.reshape(h.shape[0], *(1,) * (features.ndim - 2), -1), -1)


class _DCGAN(nn.Module):
    channels: Sequence[int]
    patch: bool
    classes: int | None
    features: bool

    @nn.compact
    def __call__(self, x: Array, label: Array | None) -> Array:
        h = x
        for width in self.channels:
            h = layers.Conv(width, width=4, stride=2, padding=(1, 1), kernel_init=he_init())(h)
            h = nn.leaky_relu(h, SLOPE)
        return h if self.features else _logits(h, label, self.classes, self.patch)


class _Residual(nn.Module):
    channels: Sequence[int]
    blocks: int
    expansion: int
    group_width: int
    smooth: bool
    fold: int
    patch: bool
    classes: int | None

    @nn.compact
    def __call__(self, x: Array, label: Array | None) -> Array:
        h = layers.Conv(self.channels[0], width=1)(space_to_depth(x, self.fold) if self.fold > 1 else x)
        for level, width in enumerate(self.channels):
            if level > 0:
                h = resampling.halve(h) if self.smooth else residual.average(h)
            if h.shape[-1] != width:
                h = layers.Conv(width, width=1)(h)
            for _ in range(self.blocks):
                h = FixupBlock(self.blocks * len(self.channels), self.expansion, self.group_width)(h)
        return _logits(h, label, self.classes, self.patch)


def _net(module: nn.Module) -> Net:
    def seen(x: Array, condition: Array | None) -> Array:
        return x if condition is None else jnp.concatenate([x, condition.astype(x.dtype)], -1)

    def init(key: Key, x: Array, label: Array | None = None, condition: Array | None = None) -> Params:
        return module.init(key, seen(x, condition), label)["params"]

    def apply(
        params: Params,
        x: Array,
        label: Array | None = None,
        condition: Array | None = None,
        *,
        key: Key | None = None,
    ) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, seen(x, condition), label))

    return float32_answer(Net(init, apply))


def dcgan_discriminator(
    *,
    channels: Sequence[int] = (32, 64, 128, 256),
    patch: bool = False,
    classes: int | None = None,
    features: bool = False,
) -> Net:
    """The small classic critic: strided convolutions of width 4 with leaky ReLU, then one logit, or one a patch.

    ``apply(params, x, label=None, condition=None)`` maps ``[b, *spatial, c]`` to float32 logits ``[b]``, or with
    `patch` to a map of them, ``[b, *spatial / 2^levels]``. Labels ``[b]`` enter by projection, the inner product of
    the features with the label's embedding; a condition ``[b, *spatial, k]`` is concatenated with the channels of the
    image. What is None at `init` must be None at `apply`. It has no normalisation, so penalties of its gradient mean
    what they say; see `jaxgen.nets.spectral_norm` as well.

    Args:
        channels: widths from the finest level; resolution is halved before each.
        patch: one logit a patch of the image, as in PatchGAN.
        classes: the number of labels; None for no labels.
        features: answer what the logits are made from, ``[b, *spatial / 2^levels, c]``; parameters of the critic that
            gives logits serve (`jaxgen.medical.anomaly.inversion_model`).

    Returns:
        A `Net`.

    Reference:
        Radford et al. 2016, arXiv 1511.06434; patches Isola et al. 2017, arXiv 1611.07004, section 3.2.2; projection
        Miyato & Koyama 2018, "cGANs with projection discriminator", arXiv 1802.05637, eq. 4.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.zeros((2, 16, 16, 1))
        >>> nets = dcgan_discriminator(channels=(4, 8)), dcgan_discriminator(channels=(4, 8), patch=True)
        >>> [net.apply(net.init(jax.random.key(0), x), x).shape for net in nets]
        [(2,), (2, 4, 4)]
    """
    return _net(_DCGAN(tuple(channels), patch, classes, features))


def residual_discriminator(
    *,
    channels: Sequence[int] = (384, 768, 768, 768, 768),
    blocks: int = 2,
    expansion: int = 2,
    group_width: int = 16,
    smooth: bool = True,
    fold: int = 1,
    patch: bool = False,
    classes: int | None = None,
) -> Net:
    """The modern critic: residual blocks without normalisation, then one logit, or one a patch.

    ``apply(params, x, label=None, condition=None)`` maps ``[b, *spatial, c]`` to float32 logits ``[b]``, or with
    `patch` to a map of them, ``[b, *spatial / 2^(levels - 1)]``. Labels ``[b]`` enter by projection, a condition
    ``[b, *spatial, k]`` is concatenated with the channels of the image. What is None at `init` must be None at `apply`.

    Args:
        channels: width of each level, from the finest; resolution is halved between them.
        blocks: residual blocks a level.
        expansion: how much wider a block is inside.
        group_width: channels a group of its middle convolution.
        smooth: halve the resolution with the weights 1, 3, 3, 1; otherwise by the mean of two pixels.
        fold: fold blocks of ``fold`` pixels along each axis into channels first.
        patch: one logit a patch of the image, as in PatchGAN.
        classes: the number of labels; None for no labels.

    Returns:
        A `Net`.

    Raises:
        ValueError: from `init` and `apply`, if a spatial axis cannot be halved so often.

    Reference:
        Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline", arXiv 2501.05441, section 4;
        the defaults are its configuration for images of 64 pixels. Projection: Miyato & Koyama 2018, arXiv
        1802.05637, eq. 4.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, x = residual_discriminator(channels=(4, 8), blocks=1, group_width=4), jnp.zeros((2, 8, 8, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2,)
    """
    return _net(_Residual(tuple(channels), blocks, expansion, group_width, smooth, fold, patch, classes))
