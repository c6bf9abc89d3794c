"""The vector-quantised autoencoder of MONAI: strided convolutions, residual units without norms, transposed ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import flax.linen as nn

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.transposed_convolution import TransposedConv
from jaxgen.types import Array, Key, Net, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "sigmoid": nn.sigmoid, "tanh": nn.tanh}


class Down(NamedTuple):
    """A convolution that lowers the resolution.

    Attributes:
        stride: by how much.
        width: of its kernel.
        padding: zeros on either side of each axis.
    """

    stride: int = 2
    width: int = 4
    padding: int = 1


class Up(NamedTuple):
    """A transposed convolution that raises the resolution.

    Attributes:
        stride: by how much.
        width: of its kernel.
        padding: pixels cut off each end of the result.
        output_padding: pixels added to the far end.
    """

    stride: int = 2
    width: int = 4
    padding: int = 1
    output_padding: int = 0


class VQForm(NamedTuple):
    """Sizes of a vector-quantised autoencoder. The defaults are MONAI's.

    Attributes:
        channels: width of each level, the finest first.
        residual_channels: width inside the residual units of each level.
        units: residual units of each level.
        down: the convolution that begins each level of the encoder, the finest first.
        up: the transposed convolution that ends each level of the decoder, the coarsest first.
        output: ``"relu"``, ``"sigmoid"`` or ``"tanh"`` at the end of the decoder; None for nothing.
    """

    channels: Sequence[int] = (96, 96, 192)
    residual_channels: Sequence[int] = (96, 96, 192)
    units: int = 3
    down: Sequence[Down] = (Down(), Down(), Down())
    up: Sequence[Up] = (Up(), Up(), Up())
    output: str | None = None


class ResidualUnit(nn.Module):
    """Two convolutions with ReLU after each, the second after the skip connection is added."""

    inner: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to the same shape."""
        h = nn.relu(layers.Conv(self.inner)(x))
        return nn.relu(x + layers.Conv(x.shape[-1])(h))


class _Encoder(nn.Module):
    features: int
    form: VQForm

    @nn.compact
    def __call__(self, h: Array) -> Array:
        form = self.form
        for width, inner, (stride, k, padding) in zip(form.channels, form.residual_channels, form.down, strict=True):
            h = nn.relu(layers.Conv(width, k, stride, padding=(padding, padding))(h))
            for _ in range(form.units):
                h = ResidualUnit(inner)(h)
        return layers.Conv(self.features)(h)


class _Decoder(nn.Module):
    features: int
    form: VQForm

    @nn.compact
    def __call__(self, h: Array) -> Array:
        form = self.form
        h = layers.Conv(form.channels[-1])(h)
        for i, up in enumerate(form.up):
            level = len(form.channels) - 1 - i
            for _ in range(form.units):
                h = ResidualUnit(form.residual_channels[level])(h)
            h = TransposedConv(form.channels[level - 1] if level else self.features, *up)(h)
            h = nn.relu(h) if level else h
        return h if form.output is None else ACTIVATIONS[form.output](h)


def vqvae_encoder(code: int, form: VQForm = VQForm()) -> Net:  # noqa: B008  (a tuple, which no one can change)
    """The encoder of MONAI's vector-quantised autoencoder.

    ``apply(params, x)`` maps ``[b, *spatial, c]`` to vectors ``[b, *coarser, code]``, which
    `jaxgen.nets.quantiser.quantise` replaces by entries of a codebook; `jaxgen.families.vector_quantised_model` trains
    it.

    Args:
        code: channels of the code.
        form: see `VQForm`.

    Returns:
        A `Net`.

    Raises:
        ValueError: if the parts of the form differ in length, or its output activation is unknown.

    Reference:
        Tudosiu et al. 2022, "Morphology-preserving autoregressive 3D generative modelling of the brain", arXiv
        2209.03177.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = vqvae_encoder(3, VQForm((8,), (4,), 1, (Down(),), (Up(),)))
        >>> x = jnp.zeros((1, 8, 8, 1))
        >>> jax.eval_shape(lambda key: net.apply(net.init(key, x), x), jax.random.key(0)).shape
        (1, 4, 4, 3)
    """
    _check(form)
    return _net(_Encoder(code, form))


def vqvae_decoder(features: int, form: VQForm = VQForm()) -> Net:  # noqa: B008  (a tuple, which no one can change)
    """The decoder of MONAI's vector-quantised autoencoder, to `vqvae_encoder`.

    Args:
        features: channels of the image.
        form: as of the encoder.

    Returns:
        A `Net`: ``apply(params, codes [b, *coarser, code]) -> [b, *spatial, features]``.

    Raises:
        ValueError: if the parts of the form differ in length, or its output activation is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = vqvae_decoder(1, VQForm((8,), (4,), 1, (Down(),), (Up(),)))
        >>> z = jnp.zeros((1, 4, 4, 3))
        >>> jax.eval_shape(lambda key: net.apply(net.init(key, z), z), jax.random.key(0)).shape
        (1, 8, 8, 1)
    """
    _check(form)
    return _net(_Decoder(features, form))


def _net(module: nn.Module) -> Net:
    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))


def _check(form: VQForm) -> None:
    counts = {len(part) for part in (form.channels, form.residual_channels, form.down, form.up)}
    if len(counts) > 1 or not form.channels:
        raise ValueError(f"channels, residual_channels, down and up must be of one length, got {sorted(counts)}")
    if form.output is not None and form.output not in ACTIVATIONS:
        raise ValueError(f"output must be None or one of {sorted(ACTIVATIONS)}, got {form.output!r}")
