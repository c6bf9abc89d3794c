"""What autoencoders of other libraries become here: an encoder and a decoder, and one tree of their parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Key, Net, Params


class Autoencoder(NamedTuple):
    """The two networks of an autoencoder.

    Attributes:
        encoder: ``apply(params["encoder"], x [b, *spatial, c])`` gives mean and log-variance of a code side by side,
            or the vectors that a codebook replaces.
        decoder: ``apply(params["decoder"], z)`` gives images.
    """

    encoder: Net
    decoder: Net


class LoadedAutoencoder(NamedTuple):
    """An autoencoder with its weights.

    Attributes:
        encoder: see `Autoencoder`.
        decoder: see `Autoencoder`.
        params: float32, with the groups ``"encoder"`` and ``"decoder"`` (and ``"codebook"``), as the models of
            `jaxgen.families` take them.
        config: the configuration.
    """

    encoder: Net
    decoder: Net
    params: Params
    config: dict[str, Any]


def shapes(nets: Autoencoder, image: tuple[int, ...], code: int) -> Params:
    """The shapes of the parameters of both networks.

    Args:
        nets: the networks.
        image: the shape of an image, ``(*spatial, c)``.
        code: channels of the code.

    Returns:
        A dict with the groups ``"encoder"`` and ``"decoder"``, of anything with a shape.
    """
    x, key = jax.ShapeDtypeStruct((1, *image), jnp.float32), jax.random.key(0)
    encoder = jax.eval_shape(nets.encoder.init, key, x)
    encoded = jax.eval_shape(nets.encoder.apply, encoder, x)
    z = jax.ShapeDtypeStruct((*encoded.shape[:-1], code), jnp.float32)
    return {"encoder": encoder, "decoder": jax.eval_shape(nets.decoder.init, key, z)}


def reconstruction(nets: Autoencoder) -> Net:
    """Both networks as one that reconstructs images from the mean of their code.

    Args:
        nets: the networks of an autoencoder whose code has a mean and a log-variance.

    Returns:
        A `Net` with the groups of parameters ``"encoder"`` and ``"decoder"``; `apply` maps images to images.

    Example:
        >>> twice = Net(lambda key, x: {}, lambda params, x: jnp.concatenate([x, 0 * x], -1))
        >>> same = Net(lambda key, z: {}, lambda params, z: z)
        >>> reconstruction(Autoencoder(twice, same)).apply({"encoder": {}, "decoder": {}}, jnp.ones((1, 2))).tolist()
        [[1.0, 1.0]]
    """

    def mean(params: Params, x: Array) -> Array:
        return jnp.split(nets.encoder.apply(params["encoder"], x), 2, axis=-1)[0]

    def init(key: Key, x: Array) -> Params:
        encoder_key, decoder_key = jax.random.split(key)
        params = {"encoder": nets.encoder.init(encoder_key, x)}
        return params | {"decoder": nets.decoder.init(decoder_key, mean(params, x))}

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return nets.decoder.apply(params["decoder"], mean(params, x))

    return Net(init, apply)
