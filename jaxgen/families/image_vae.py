"""A convolutional variational autoencoder of one vector per image or volume."""

from collections.abc import Sequence
from typing import Any

from jaxgen.families.vae import gaussian_likelihood, vae_model
from jaxgen.nets import decoder, encoder
from jaxgen.types import Model


def image_vae(shape: Sequence[int], *, channels: Sequence[int], patch: int = 1, code: int = 64) -> Model:
    """The variational autoencoder that samples of other models of images are compared with.

    Args:
        shape: of an image, ``(*spatial, c)``.
        channels: width of each level, the finest first.
        patch: blocks of pixels per side that are folded into channels first.
        code: the latent dimension.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"`` and ``"law"``; see `jaxgen.families.vae_model`.

    Reference:
        Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders", for the learned variance.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = image_vae((4, 4, 4, 1), channels=(4,), code=2)
        >>> params = jax.eval_shape(model.init, jax.random.key(0), {"image": jnp.zeros((2, 4, 4, 4, 1))})
        >>> jax.eval_shape(lambda params: model.sample(params, jax.random.key(0), 3), params).shape
        (3, 4, 4, 4, 1)
    """
    options: dict[str, Any] = {"channels": channels, "patch": patch}
    nets = encoder(2 * code, vector=True, **options), decoder(shape[-1], spatial=tuple(shape[:-1]), **options)
    return vae_model(*nets, (code,), gaussian_likelihood(start=0.2))
