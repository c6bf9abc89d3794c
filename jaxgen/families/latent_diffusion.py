"""Latent diffusion: a diffusion or flow model of the codes of a trained autoencoder, told covariates or a class."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.families.conditions import Cond, Conditions
from jaxgen.families.latent_autoencoder import decode, encode
from jaxgen.guidance import classifier_free_batched
from jaxgen.losses.diffusion import denoising
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path
from jaxgen.samplers import Sampling, denoiser, from_noise
from jaxgen.types import Array, Batch, Info, Key, Model, Net, Objective, Params, Step


class Autoencoder(NamedTuple):
    """A trained autoencoder, its parameters within.

    Attributes:
        encode: ``encode(x [b, *shape], key=None) -> [b, *code]``; with a key, a draw from the code's distribution.
        decode: ``decode(z [b, *code]) -> [b, *shape]``.
    """

    encode: Callable[..., Array]
    decode: Callable[[Array], Array]


def trained_autoencoder(encoder: Net, decoder: Net, params: Params) -> Autoencoder:
    """The autoencoder of `jaxgen.families.latent_autoencoder_model`.

    Args:
        encoder: to mean and log-variance of a code.
        decoder: from a code.
        params: the groups ``"encoder"`` and ``"decoder"``.

    Returns:
        The autoencoder, its codes as they are.

    Example:
        >>> twice = Net(lambda key, x: {}, lambda params, x, key=None: jnp.concatenate([x, 0 * x], -1))
        >>> same = Net(lambda key, z: {}, lambda params, z, key=None: z)
        >>> trained_autoencoder(twice, same, {"encoder": {}, "decoder": {}}).encode(jnp.ones((1, 2))).tolist()
        [[1.0, 1.0]]
    """
    return Autoencoder(
        lambda x, key=None: encode(encoder, params, x, 1.0, key), lambda z: decode(decoder, params, z, 1.0)
    )


def latent_diffusion_model(
    net: Net,
    code: Sequence[int],
    sampling: Sampling,
    autoencoder: Autoencoder,
    *,
    conditions: Conditions = Conditions(),  # noqa: B008  (a tuple, which no one can change)
    target: str | None = None,
    weight: Callable[[Array], Array] | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    data: str = "image",
) -> Model:
    """A model of the codes of ``batch[data]``, in 2-D or 3-D, by diffusion or by flow: the path says which.

    Trained on ``w(t) mean |net(x_t, t, conditions) - target|^2`` with ``x_t = alpha s z + sigma noise``, z a draw of
    the code and s the scale that brings codes to standard deviation 1, measured on the first batch. A batch with an
    entry ``code`` holds codes that are encoded already. On `jaxgen.paths.rectified` with a network that predicts the
    velocity this is flow matching.

    Args:
        net: ``apply(params, x [b, *spatial, c + k], t [b] or scalar, context=..., label=..., key=None)``, of the
            arguments those that `conditions` asks for, such as `jaxgen.nets.unet` with ``c`` channels out.
        code: the shape of a code, ``(*spatial, c)``.
        sampling: the path, the sampler's step and grid, and what the network predicts.
        autoencoder: trained; it stays as it is.
        conditions: covariates and classes, how they enter, and how often training hides them.
        target: the space of the error; None for that of the prediction.
        weight: ``w(t [b]) -> [b]``, one of `jaxgen.losses.weights`.
        time: distribution of the training times, one of `jaxgen.losses.times`.
        data: the entry with the images.

    Returns:
        A `Model` with the groups ``"net"`` and ``"scale"``, and ``"null"`` with a learned null. ``sample(params, key,
        n, cond=None, guidance=None)`` gives images; `cond` is a dict of ``covariates [n, k]`` and ``label [n]``, what
        is left out is unknown; `guidance` is the scale of classifier-free guidance, and None or 1 is without.

    Raises:
        ValueError: if the sampler's step needs a learned variance; when sampling, if the conditions do not fit.

    Reference:
        Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", arXiv 2112.10752, section
        3.2; Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", arXiv 2209.07162.

    Example:
        >>> from jaxgen.nets import unet
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids
        >>> half = Autoencoder(lambda x, key=None: x[:, ::2, ::2], lambda z: z.repeat(2, 1).repeat(2, 2))
        >>> sampling = Sampling(rectified(), euler(rectified()), grids.uniform(rectified(), 2))
        >>> net, told = unet(1, channels=(4,), blocks=1), Conditions(covariates=2)
        >>> model = latent_diffusion_model(net, (4, 4, 1), sampling, half, conditions=told)
        >>> batch = {"image": jnp.ones((2, 8, 8, 1)), "covariates": jnp.ones((2, 2))}
        >>> params = model.init(jax.random.key(0), batch)
        >>> model.sample(params, jax.random.key(1), 3, {"covariates": jnp.zeros((3, 2))}, guidance=2.0).shape
        (3, 8, 8, 1)
    """
    path, step, grid, prediction = sampling
    if not isinstance(step, Step):
        raise ValueError("latent diffusion learns no variance: give a plain step")

    def codes(batch: Batch, key: Key) -> Array:
        return batch["code"] if "code" in batch else autoencoder.encode(batch[data], key)

    def init(key: Key, batch: Batch) -> Params:
        net_key, code_key, drop_key = draws.split(key, 3)
        z = codes(batch, code_key)
        factor = 1 / jnp.maximum(jnp.std(z.astype(jnp.float32)), 1e-6)
        cond, known = conditions.training(drop_key, batch)
        x, told = conditions.inputs(conditions.init(), z, cond, known)
        params = {"net": net.init(net_key, x, jnp.zeros(x.shape[:1]), **told), "scale": {"factor": factor}}
        return params | conditions.init()

    def predictor(params: Params, cond: Cond, known: Array | None, key: Key | None = None) -> Callable[..., Array]:
        def predict(x_t: Array, t: Array) -> Array:
            x, told = conditions.inputs(params, x_t, cond, known)
            return net.apply(params["net"], x, t, key=key, **told)

        return predict

    def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
        loss_key, drop_key, dropout_key, code_key = draws.split(key, 4)
        z = params["scale"]["factor"] * codes(batch, code_key)
        predict = predictor(params, *conditions.training(drop_key, batch), dropout_key)
        options: dict[str, Any] = {"prediction": prediction, "target": target, "weight": weight, "time": time}
        return denoising(predict, path, loss_key, z, **options), {}

    def sample(
        params: Params, key: Key, n: int, cond: Cond | None = None, guidance: Array | float | None = None
    ) -> Array:
        asked = cond or {}
        conditions.check(asked, n)

        def denoise(x: Array, t: Array, told: tuple[Cond, Array]) -> Array:
            return denoiser(predictor(params, *told), path, prediction)(x, t)

        told, hidden = (asked, jnp.ones((n,), bool)), (asked, jnp.zeros((n,), bool))
        if guidance is None or not asked:
            chosen = lambda x, t: denoise(x, t, told)  # noqa: E731
        else:
            chosen = classifier_free_batched(denoise, told, hidden, guidance)
        keys = key if key.ndim else jax.random.split(key, n)
        z = from_noise(path, chosen, step, grid, keys, tuple(code))
        return autoencoder.decode(z / params["scale"]["factor"])

    return Model(init, (Objective(("net", *conditions.groups), loss),), sample)
