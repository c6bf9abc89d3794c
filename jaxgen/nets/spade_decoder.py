"""The decoder of a published latent autoencoder whose norms read a map."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn

from jaxgen.nets import layers, residual
from jaxgen.nets.attention import SelfAttention
from jaxgen.nets.door import float32_answer
from jaxgen.nets.kl_autoencoder import ENLARGE, KLForm, Layer, decoder_layers, norm_of
from jaxgen.nets.spade import SpadeForm
from jaxgen.types import Array, Key, Net, Params


class _Decoder(nn.Module):
    plan: Sequence[Layer]
    form: KLForm
    hidden: int
    spade_form: SpadeForm

    @nn.compact
    def __call__(self, h: Array, segmentation: Array) -> Array:
        norm = norm_of(self.form)
        for kind, name, features, _ in self.plan:
            width = h.shape[-1] if features is None else features
            if kind == "residual":
                block = residual.ResidualBlock(
                    width, norm=norm, spade=self.hidden, spade_form=self.spade_form, name=name
                )
                h = block(h, None, None, segmentation)
            elif kind == "attention":
                h = SelfAttention(width, norm, name=name)(h)
            elif kind == "upsample":
                h = residual.Upsample(width, ENLARGE[self.form.upsampling], name=name)(h)
            elif kind == "norm":
                h = norm(name=name)(h)
                h = nn.silu(h) if self.form.final_activation else h
            else:
                h = layers.Conv(width, width=3 if kind == "convolution" else 1, name=name)(h)
        return h


def spade_kl_decoder(features: int, form: KLForm, *, hidden: int = 128, spade_form: SpadeForm = SpadeForm()) -> Net:  # noqa: B008  (tuples, which no one can change)
    """`jaxgen.nets.kl_decoder` whose residual blocks are normalised as a map says, pixel by pixel.

    ``apply(params, z, segmentation)`` maps a code ``[b, *spatial / f, code]`` and a one-hot map ``[b, *spatial, k]`` to
    ``[b, *spatial, features]``.

    Args:
        features: channels of the image.
        form: see `KLForm`.
        hidden: channels of the convolutions that read the map.
        spade_form: how the map enters; see `SpadeForm`.

    Returns:
        A `Net`.

    Raises:
        ValueError: when called, if the map is no multiple of the resolution of a level.

    Reference:
        Park et al. 2019, arXiv 1903.07291; in latent diffusion: Fernandez et al. 2022, arXiv 2209.08256.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxgen.nets import monai_form
        >>> net = spade_kl_decoder(1, monai_form((8, 16), 1, groups=4, decoder_middle="none"), hidden=4)
        >>> z, segmentation = jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 8, 8, 2))
        >>> make = lambda key: net.apply(net.init(key, z, segmentation), z, segmentation)
        >>> jax.eval_shape(make, jax.random.key(0)).shape
        (1, 8, 8, 1)
    """
    module = _Decoder(tuple(decoder_layers(features, form)), form, hidden, spade_form)

    def init(key: Key, z: Array, segmentation: Array) -> Params:
        return module.init(key, z, segmentation)["params"]

    def apply(params: Params, z: Array, segmentation: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, z, segmentation))

    return float32_answer(Net(init, apply))
