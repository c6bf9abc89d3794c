"""Diffusion of codes of unknown scale: it is measured on the first batch and kept with the parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen.families.latent_autoencoder import decode, encode
from jaxgen.types import Array, Batch, Denoise, Info, Key, Model, Net, Params


def scaled_codes_model(model: Model, *, data: str = "code") -> Model:
    """A model of codes that sees them at standard deviation 1: ``scale z``, the scale measured on the first batch.

    Args:
        model: of ``batch[data]``, with one objective, such as `jaxgen.families.diffusion_model`.
        data: the entry of the batch to model.

    Returns:
        The `Model`, with the group ``"scale"`` beside its own: ``params["scale"]["factor"]`` is for
        `jaxgen.families.latent_autoencoder.encode` and ``decode``. Its samples have standard deviation 1.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, appendix
        G.

    Example:
        >>> import jax
        >>> from jaxgen.types import Objective
        >>> loss = lambda params, key, batch: (batch["code"][:, 0], {})
        >>> model = scaled_codes_model(Model(lambda key, batch: {}, (Objective("net", loss),), print))
        >>> batch = {"code": jnp.array([[-2.0], [2.0]])}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.objectives[0].loss(params, None, batch)[0].tolist()
        [-1.0, 1.0]
    """
    (objective,) = model.objectives

    def init(key: Key, batch: Batch) -> Params:
        factor = 1 / jnp.maximum(jnp.std(batch[data].astype(jnp.float32)), 1e-6)
        return model.init(key, batch) | {"scale": {"factor": factor}}

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        return objective.loss(params, key, {**batch, data: batch[data] * params["scale"]["factor"]})

    return model._replace(init=init, objectives=(objective._replace(loss=loss),))


class Codes(NamedTuple):
    """The trained networks of both stages.

    Attributes:
        encode: ``images [b, h, w, c] -> codes`` at standard deviation 1.
        decode: ``codes -> images``.
        denoise: of codes.
    """

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]
    denoise: Denoise


def latent_codes(encoder: Net, decoder: Net, params: Params, scale: Array, denoise: Denoise) -> Codes:
    """The networks of latent diffusion, with codes at standard deviation 1.

    Args:
        encoder: of `jaxgen.families.latent_autoencoder_model`.
        decoder: the same.
        params: the parameters of both.
        scale: ``params["scale"]["factor"]`` of `scaled_codes_model`.
        denoise: the denoiser of codes.

    Returns:
        The networks.
    """
    return Codes(lambda x: encode(encoder, params, x, scale), lambda z: decode(decoder, params, z, scale), denoise)
