"""Networks of low-dose CT: RED-CNN, and the generator and critic of WGAN-VGG."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.fixup import SLOPE, he_init
from jaxgen.nets.transposed_convolution import TransposedConv
from jaxgen.types import Array, Key, Net, Params

WINDOW, LAYERS = 5, 5
LEAST_SIDE = LAYERS * (WINDOW - 1) + 1
"""Pixels: an image is so much smaller after the encoder of RED-CNN."""


class _REDCNN(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if min(x.shape[1:-1]) < LEAST_SIDE:
            raise ValueError(f"RED-CNN needs images of {LEAST_SIDE} pixels or more, got {x.shape[1:-1]}")
        h, kept = x, []
        for number in range(LAYERS):
            if number in (0, 2, 4):
                kept.append(h)
            h = nn.relu(layers.Conv(self.width, width=WINDOW, padding=(0, 0), kernel_init=he_init())(h))
        for number in range(LAYERS):
            last = number == LAYERS - 1
            features, init = (x.shape[-1], nn.initializers.zeros) if last else (self.width, layers.default_init)
            h = TransposedConv(features, width=WINDOW, stride=1, padding=0, kernel_init=init)(h)
            if number in (0, 2, 4):
                h = h + kept.pop().astype(h.dtype)
            h = h if last else nn.relu(h)
        return jnp.maximum(h, -1)


class _Plain(nn.Module):
    width: int
    depth: int
    residual: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x
        for _ in range(self.depth - 1):
            h = nn.relu(layers.Conv(self.width, kernel_init=he_init())(h))
        if self.residual:
            return x + layers.Conv(x.shape[-1], kernel_init=nn.initializers.zeros)(h)
        return layers.Conv(x.shape[-1])(h)


class _Critic(nn.Module):
    channels: Sequence[int]
    hidden: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x
        for number, width in enumerate(self.channels):
            h = nn.leaky_relu(
                layers.Conv(width, stride=1 + number % 2, padding=(1, 1), kernel_init=he_init())(h), SLOPE
            )
        h = nn.leaky_relu(layers.Dense(self.hidden)(h.reshape(len(h), -1)), SLOPE)
        return layers.Dense(1)(h)[..., 0]


def _net(module: nn.Module) -> Net:
    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))


def red_cnn(width: int = 96) -> Net:
    """RED-CNN: five convolutions of width 5 and five transposed ones, none of whose parameters are shared.

    Shortcuts from the input and from the second and fourth convolution are added before the rectifiers of the decoder;
    ``apply(params, x)`` keeps the shape ``[b, *spatial, c]``, 21 pixels at least, and answers -1 (air) or more. The
    last layer starts at zero, hence the network with the image itself.

    Args:
        width: channels of every layer.

    Returns:
        A `Net`.

    Raises:
        ValueError: from `init` and `apply`, if an image is smaller.

    Reference:
        Chen et al. 2017, "Low-dose CT with a residual encoder-decoder convolutional neural network", arXiv 1702.00288.

    Example:
        >>> import jax
        >>> net, x = red_cnn(4), jnp.zeros((2, 24, 24, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 24, 24, 1)
    """
    return _net(_REDCNN(width))


def plain_cnn(width: int = 32, depth: int = 8, *, residual: bool = False) -> Net:
    """The generator of WGAN-VGG: convolutions of width 3 with rectifiers between them, at full resolution.

    Args:
        width: channels of every layer but the last.
        depth: convolutions.
        residual: answer the change of the image, none at first; the paper's answers the image itself.

    Returns:
        A `Net`; ``apply(params, x)`` keeps the shape.

    Reference:
        Yang et al. 2018, "Low-dose CT image denoising using a generative adversarial network with Wasserstein distance
        and perceptual loss", arXiv 1708.00961, section II-D.

    Example:
        >>> import jax
        >>> net, x = plain_cnn(4, 3), jnp.zeros((2, 8, 8, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2, 8, 8, 1)
    """
    return _net(_Plain(width, depth, residual))


def dose_critic(channels: Sequence[int] = (64, 64, 128, 128, 256, 256), hidden: int = 1024) -> Net:
    """The critic of WGAN-VGG: convolutions of width 3, every second of stride 2, then two dense layers; one logit.

    Args:
        channels: of the convolutions.
        hidden: width of the dense layer.

    Returns:
        A `Net` from patches ``[b, *spatial, c]``, all of one size, to logits ``[b]``.

    Reference:
        Yang et al. 2018, arXiv 1708.00961, section II-D.

    Example:
        >>> import jax
        >>> net, x = dose_critic((4, 4), 8), jnp.zeros((2, 8, 8, 1))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (2,)
    """
    return _net(_Critic(tuple(channels), hidden))
