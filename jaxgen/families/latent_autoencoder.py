"""The autoencoder that latent diffusion stands on: a code with spatial axes, sharp images, and a measured scale."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.vae import draw_code, posterior
from jaxgen.losses.adversarial import Adversarial, hinge
from jaxgen.losses.autoencoding import gaussian_kl
from jaxgen.losses.perceptual import perceptual_distance
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params


def latent_autoencoder_model(
    encoder: Net,
    decoder: Net,
    *,
    code: Sequence[int],
    divergence_weight: float = 1e-6,
    features: Callable[[Array], Sequence[Array]] | None = None,
    perceptual_weight: float = 1.0,
    discriminator: Net | None = None,
    losses: Adversarial | None = None,
    adversarial_weight: float = 0.5,
    data: str = "image",
) -> Model:
    """A convolutional autoencoder of ``batch[data]`` with a slightly regularised normal code, in 2-D or 3-D.

    Encoder and decoder are trained on ``mean |y - x| + perceptual_weight LPIPS(y, x) + divergence_weight KL / pixels +
    adversarial_weight g(y)``, y the decoder's answer to a draw of the code and g what the discriminator makes of it;
    the discriminator on telling y from x. Leave it out for the first epochs: train two stages, the second of which
    starts from the first one's parameters.

    Args:
        encoder: ``apply(params, x [b, *shape]) -> [b, *code[:-1], 2 code[-1]]``, mean and log-variance, such as
            `jaxgen.nets.encoder`.
        decoder: ``apply(params, z [b, *code]) -> [b, *shape]``.
        code: the shape of z, ``(*spatial, c)``.
        divergence_weight: of the divergence from a standard Gaussian, summed over the code and divided by the number
            of values of an image.
        features: ``images -> layers`` for `jaxgen.losses.perceptual_distance`; None leaves that term out.
        perceptual_weight: its weight.
        discriminator: ``apply(params, x) -> [b]`` or ``[b, *spatial]``, such as `jaxgen.nets.dcgan_discriminator` with
            patches; None leaves it out.
        losses: of the two players; None for `jaxgen.losses.adversarial.hinge`.
        adversarial_weight: of the decoder's part.
        data: the entry of the batch to model.

    Returns:
        A `Model` with the groups ``"encoder"``, ``"decoder"`` and, with one, ``"discriminator"``. ``sample(params, key,
        n)`` decodes draws of a standard Gaussian: with so small a weight of the divergence that is noise, and the
        work of a diffusion model of codes (`encode`, `decode`, `measure_scale`).

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, section
        3.1 and appendix G; patches: Esser et al. 2021, arXiv 2012.09841, section 3.1. Its adaptive weight of the
        discriminator is left out: a fixed one keeps a loss a value an example.

    Example:
        >>> import jax
        >>> from jaxgen.nets import decoder, encoder
        >>> nets = encoder(8, channels=(8, 8)), decoder(1, channels=(8, 8))
        >>> model = latent_autoencoder_model(*nets, code=(4, 4, 4))
        >>> params = model.init(jax.random.key(0), {"image": jnp.zeros((2, 8, 8, 1))})
        >>> encode(nets[0], params, jnp.zeros((2, 8, 8, 1)), 1.0).shape
        (2, 4, 4, 4)
    """
    players = losses or hinge()

    def init(key: Key, batch: Batch) -> Params:
        encoder_key, decoder_key, discriminator_key = draws.split(key, 3)
        x = batch[data]
        params = {
            "encoder": encoder.init(encoder_key, x),
            "decoder": decoder.init(decoder_key, jnp.zeros((x.shape[0], *code))),
        }
        return params | ({} if discriminator is None else {"discriminator": discriminator.init(discriminator_key, x)})

    def through(params: Params, key: Key, x: Array) -> tuple[Array, Array]:
        """The reconstruction, and the divergence of its code."""
        encoder_key, code_key, decoder_key = draws.split(key, 3)
        mean, log_variance = posterior(encoder, params["encoder"], x, encoder_key)
        y = decoder.apply(params["decoder"], draw_code(code_key, mean, log_variance), key=decoder_key)
        return y, gaussian_kl(mean, log_variance)

    def reconstruct(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        x = batch[data]
        y, divergence = through(params, key, x)
        info = {
            "absolute": jnp.mean(jnp.abs(y.astype(jnp.float32) - x.astype(jnp.float32)), tuple(range(1, x.ndim))),
            "divergence": divergence,
        }
        value = info["absolute"] + divergence_weight * divergence / x[0].size
        if features is not None:
            info["perceptual"] = perceptual_distance(features, y, x)
            value += perceptual_weight * info["perceptual"]
        if discriminator is not None:
            real, made = (discriminator.apply(params["discriminator"], image) for image in (x, y))
            info["adversarial"] = players.generator(real, made)
            value += adversarial_weight * info["adversarial"]
        return value, info

    def criticise(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        assert discriminator is not None
        y, _ = through(params, key, batch[data])
        real, made = (discriminator.apply(params["discriminator"], image) for image in (batch[data], y))
        return players.critic(real, made), {"logit_real": jnp.mean(real), "logit_made": jnp.mean(made)}

    def sample(params: Params, key: Key, n: int, cond: Array | None = None) -> Array:
        if cond is not None:
            raise ValueError("this model is unconditional: leave cond out")
        return decoder.apply(params["decoder"], draws.normal(key, (n, *code)))

    objectives: tuple[Objective, ...] = (Objective(("encoder", "decoder"), reconstruct),)
    if discriminator is not None:
        objectives += (Objective("discriminator", criticise),)
    return Model(init, objectives, sample)


def encode(encoder: Net, params: Params, x: Array, scale: float | Array, key: Key | None = None) -> Array:
    """The code of images in the unit of a diffusion model, ``scale z``.

    Args:
        encoder: of the autoencoder.
        params: of the autoencoder, with the group ``"encoder"``.
        x: images ``[b, *shape]``.
        scale: as of `measure_scale`.
        key: to draw the code from its distribution; None takes the mean.

    Returns:
        Float32 ``[b, *code]``.

    Reference:
        Rombach et al. 2022, arXiv 2112.10752, appendix G.

    Example:
        >>> twice = Net(lambda key, x: {}, lambda params, x, key=None: jnp.concatenate([x, 0 * x], -1))
        >>> encode(twice, {"encoder": {}}, jnp.ones((1, 2, 2, 1)), 0.5).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    mean, log_variance = posterior(encoder, params["encoder"], x)
    return scale * (mean if key is None else draw_code(key, mean, log_variance))


def decode(decoder: Net, params: Params, z: Array, scale: float | Array) -> Array:
    """The images of codes in the unit of a diffusion model; the inverse of `encode`.

    Args:
        decoder: of the autoencoder.
        params: of the autoencoder, with the group ``"decoder"``.
        z: codes ``[b, *code]``.
        scale: as given to `encode`.

    Returns:
        ``[b, *shape]``.

    Example:
        >>> same = Net(lambda key, z: {}, lambda params, z, key=None: z)
        >>> decode(same, {"decoder": {}}, jnp.ones((1, 2)), 0.5).tolist()
        [[2.0, 2.0]]
    """
    return decoder.apply(params["decoder"], z / scale)


def measure_scale(codes: Array) -> float:
    """The factor that brings codes to standard deviation 1: ``1 / std(codes)`` over all of them.

    Measure it on the codes of training images and keep it with the checkpoint: it belongs to one trained autoencoder.

    Args:
        codes: ``[n, *code]``, as of `encode` with a scale of 1.

    Returns:
        The scale.

    Raises:
        ValueError: if the codes are all alike.

    Reference:
        Rombach et al. 2022, arXiv 2112.10752, appendix G.

    Example:
        >>> measure_scale(jnp.array([[-2.0], [2.0]]))
        0.5
    """
    deviation = float(jnp.std(codes.astype(jnp.float32)))
    if not deviation > 0:
        raise ValueError("the codes are all alike: train the autoencoder, or give more images")
    return 1 / deviation
