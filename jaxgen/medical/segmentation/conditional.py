"""Networks that read a condition image once and then denoise under it many times."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.imaging.folding import space_to_depth
from jaxgen.types import Array, Key, Net, Params


class ConditionalNet(NamedTuple):
    """A network in two parts, so that what depends on the image alone is computed once.

    Every time step of a sampler and every member of an ensemble shares `encode`; only `apply` is repeated.

    Attributes:
        init: ``init(key, image, x) -> params`` with ``image [b, *spatial, c]`` and ``x [b, *spatial, d]``.
        encode: ``encode(params, image) -> features``.
        apply: ``apply(params, x, t, features, key=None) -> [b, *spatial, d]``; `t` is ``[b]`` or a scalar.
    """

    init: Callable[[Key, Array, Array], Params]
    encode: Callable[[Params, Array], Array]
    apply: Callable[..., Array]


def conditional_net(encoder: Net, denoiser: Net, *, patch: int = 1) -> ConditionalNet:
    """Join an image encoder and a time-dependent network that adds the encoded image to its first features.

    Args:
        encoder: maps ``[b, *spatial / patch, patch^rank * c]`` to ``[b, *spatial / patch, width]``.
        denoiser: a `jaxgen.nets.unet` with the same `patch` whose first level has that width.
        patch: the image is folded by this factor before it is encoded.

    Returns:
        A `ConditionalNet` whose parameters are ``{"encoder": ..., "denoiser": ...}``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxgen.nets import unet
        >>> encoder = unet(8, channels=(8, 16), blocks=1)
        >>> net = conditional_net(encoder, unet(1, channels=(8,), blocks=1, patch=2), patch=2)
        >>> image = x = jnp.zeros((2, 8, 8, 1))
        >>> params = jax.eval_shape(net.init, jax.random.key(0), image, x)
        >>> jax.eval_shape(lambda params: net.apply(params, x, 0.5, net.encode(params, image)), params).shape
        (2, 8, 8, 1)
    """

    def fold(image: Array) -> Array:
        return space_to_depth(image, patch) if patch > 1 else image

    def init(key: Key, image: Array, x: Array) -> Params:
        encoder_key, denoiser_key = jax.random.split(key)
        folded = fold(image)
        encoder_params = encoder.init(encoder_key, folded)
        features = encoder.apply(encoder_params, folded)
        t = x.reshape(x.shape[0], -1)[:, 0]
        return {"encoder": encoder_params, "denoiser": denoiser.init(denoiser_key, x, t, None, features)}

    def encode(params: Params, image: Array) -> Array:
        return encoder.apply(params["encoder"], fold(image))

    def apply(params: Params, x: Array, t: Array, features: Array, *, key: Key | None = None) -> Array:
        return denoiser.apply(params["denoiser"], x, t, None, features, key=key)

    return ConditionalNet(init, encode, apply)


def concatenated_net(net: Net) -> ConditionalNet:
    """A denoising network that takes the clean image as further channels: ``net([x_t, image], t)``.

    Args:
        net: a `jaxgen.nets.unet` of ``[b, *spatial, d + c]``.

    Returns:
        A `ConditionalNet` whose `encode` gives the image back: nothing is shared between the steps.

    Reference:
        Wolleb et al. 2022, "Diffusion models for implicit image segmentation ensembles", arXiv 2112.03145, section 2.

    Example:
        >>> from jaxgen.nets import unet
        >>> net = concatenated_net(unet(1, channels=(8,), blocks=1))
        >>> image, x = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 8, 8, 1))
        >>> params = jax.jit(net.init)(jax.random.key(0), image, x)
        >>> jax.jit(net.apply)(params, x, 0.5, net.encode(params, image)).shape
        (2, 8, 8, 1)
    """

    def init(key: Key, image: Array, x: Array) -> Params:
        return net.init(key, jnp.concatenate([x, image], axis=-1), jnp.zeros(len(x)))

    def apply(params: Params, x: Array, t: Array, features: Array, *, key: Key | None = None) -> Array:
        return net.apply(params, jnp.concatenate([x, features], axis=-1), t, key=key)

    return ConditionalNet(init, lambda params, image: image, apply)
