"""What every method is compared with in addition to simple baselines: two learned references that a run trains."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxgen.experiment import Run, StageSpec
from jaxgen.families import denoising_autoencoder_model, gaussian_likelihood, vae_model
from jaxgen.families.vae import posterior
from jaxgen.imaging.noise import coarse_noise
from jaxgen.medical.anomaly import FLOOR, Method
from jaxgen.nets import decoder, encoder
from jaxgen.tasks import images
from jaxgen.tasks.anomaly.data import AnomalyConfig, prepare
from jaxgen.tasks.anomaly.methods import by_network
from jaxgen.tasks.networks import network
from jaxgen.types import Array, Key, Model, Net, Params


def _coarse_autoencoder(run: Run) -> Model:
    """A network that learns to take coarse noise away (Kascenas et al. 2022)."""
    cells = max(1, run.config.size // 8)

    def corrupt(key: Key, x: Array) -> Array:
        noise = 0.4 * coarse_noise(key, x.shape, cells)
        return jnp.where((x > FLOOR).any(-1, keepdims=True), x + noise, x)

    return denoising_autoencoder_model(network(run), corrupt)


def _vae_networks(run: Run) -> tuple[Net, Net]:
    config = run.config
    options: dict[str, Any] = {"channels": config.channels, "patch": config.patch}
    return (
        encoder(2 * config.vae_code, vector=True, **options),
        decoder(run.facts.image_channels, spatial=(config.size, config.size), **options),
    )


def _vae(run: Run) -> Model:
    """A variational autoencoder with a learned standard deviation of the pixels."""
    return vae_model(*_vae_networks(run), (run.config.vae_code,), gaussian_likelihood())


def _wanted(steps: str) -> Callable[[AnomalyConfig], bool]:
    return lambda config: getattr(config, steps) > 0


STAGES: tuple[StageSpec, ...] = (
    images.stage(
        "reference", _coarse_autoencoder, steps="reference_steps", prepare=prepare, wanted=_wanted("reference_steps")
    ),
    images.stage(
        "vae",
        _vae,
        steps="vae_steps",
        prepare=prepare,
        groups=("encoder", "decoder", "law"),
        wanted=_wanted("vae_steps"),
    ),
)
"""The stages of the learned references."""


def learned(run: Run) -> list[Method]:
    """The learned references that the run has trained."""
    found = []
    if "reference" in run.params:
        found.append(Method("coarse autoencoder", by_network(run, network(run).apply, run.params["reference"]["net"])))
    if "vae" in run.params:
        encode, decode = _vae_networks(run)

        def through(params: Params, x: Array) -> Array:
            return decode.apply(params["decoder"], posterior(encode, params["encoder"], x)[0])

        found.append(Method("vae", by_network(run, through, run.params["vae"])))
    return found
