"""What the diffusion experiments share: their path, their weight, and the trained network as a denoiser."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.config import option
from jaxgen.families import Labels, diffusion_model
from jaxgen.losses import weights
from jaxgen.paths import PATHS, Path
from jaxgen.samplers import Sampling, clip, ddim, denoiser, grids
from jaxgen.tasks.old.networks import UNetConfig, network
from jaxgen.types import Array, Denoise, Key, Model, Params, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoiserConfig(UNetConfig):
    """The options of every diffusion experiment on images."""

    path: str = option(
        "cosine", "how noise is mixed in: a table of 1000 steps, or a continuous path", choices=PATHS, group="method"
    )
    prediction: Literal["noise", "x0", "v"] = option("v", "what the network predicts", group="method")
    weight: Literal["simple", "snr", "min_snr", "p2", "sigmoid"] = option(
        "simple", "weight of the noise levels in the loss", group="method"
    )


def make_path(config: DenoiserConfig) -> Path:
    """The path that `--path` names."""
    return PATHS[config.path]()


def time_at(path: Path, share: Any) -> Any:
    """The time that is this share of the way from the data to the noise."""
    return path.t_data + share * (path.t_noise - path.t_data)


def times_up_to(share: float, power: float = 1.0) -> Callable[[Path, Key, int], Array]:
    """The law of training times ``share u^power`` of the way from the data to the noise, u uniform in [0, 1)."""
    return lambda path, key, n: time_at(path, share * (1 - draws.uniform(key, (n,))) ** power)


def grid_from(path: Path, share: Any, steps: int) -> Array:
    """Times ``[steps + 1]`` from this share of the way to the noise, which a program may be given, to the data."""
    start = time_at(path, share)
    return start + (path.t_data - start) * jnp.linspace(0, 1, steps + 1)


def loss_weight(config: DenoiserConfig, path: Path) -> Callable[[Array], Array] | None:
    """The weight that `--weight` names, for the prediction."""
    if config.weight == "simple":
        return None
    made = {"snr": weights.snr, "min_snr": weights.min_snr, "p2": weights.p2, "sigmoid": weights.sigmoid}
    return made[config.weight](path, config.prediction)


def make_model(
    config: DenoiserConfig,
    constants: Mapping[str, Any],
    step: Callable[[Path], Step] = ddim,
    steps: int = 1,
    *,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    drop_label: float = 0.1,
    **options: Any,
) -> Model:
    """The diffusion model of the images, or of what else has the shape; ``sample`` makes so many of the steps.

    `options` are those of `jaxgen.families.diffusion_model`.
    """
    path = make_path(config)
    return diffusion_model(
        network(config, constants, classes=classes),
        shape or (config.size, config.size, constants["channels"]),
        Sampling(path, step(path), grids.uniform(path, steps), config.prediction),
        weight=loss_weight(config, path),
        labels=Labels(classes, drop_label),
        **options,
    )


def denoise_with(
    config: DenoiserConfig, constants: Mapping[str, Any], params: Params, label: Array | None = None, *, classes=None
) -> Denoise:
    """The trained network as a denoiser whose answers lie in [-1, 1]."""
    net, path = network(config, constants, classes=classes), make_path(config)
    inputs = {} if label is None else {"label": label}
    return clip(denoiser(lambda x, t: net.apply(params, x, t, **inputs), path, config.prediction))


def starting_noise(path: Path, key: Key, shape: tuple[int, ...]) -> Array:
    """Where sampling starts: noise of the path's last level; an example's own if there is a key for each."""
    return path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(key, shape)
