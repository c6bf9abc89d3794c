"""Diffusion of images: the path, the loss weight, and the trained network as a denoiser."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.experiment import Run
from jaxgen.families import Labels, diffusion_model
from jaxgen.losses.weights import WEIGHTS
from jaxgen.paths import PATHS, Path
from jaxgen.samplers import Sampling, clip, ddim, denoiser, from_noise, grids
from jaxgen.tasks.images import draw_in_chunks, image_shape
from jaxgen.tasks.networks import UNetConfig, network
from jaxgen.types import Array, Denoise, Key, Model, Params, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionConfig(UNetConfig):
    """The options of every diffusion experiment on images."""

    path: str = option(
        "cosine",
        "how noise is mixed in: a table of 1000 steps, or a continuous path",
        choices=PATHS,
        group="method",
    )
    prediction: Literal["noise", "x0", "v", "velocity"] = option("v", "what the network predicts", group="method")
    weight: str = option("simple", "weight of the noise levels in the loss", choices=WEIGHTS, group="method")


def make_path(config: DiffusionConfig) -> Path:
    """The path that ``--path`` names."""
    return PATHS[config.path]()


def loss_weight(config: DiffusionConfig, path: Path) -> Callable[[Array], Array] | None:
    """The weight that ``--weight`` names, for the prediction."""
    weight = WEIGHTS[config.weight]
    return None if weight is None else weight(path, config.prediction)


def make_model(
    run: Run,
    step: Callable[[Path], Step] = ddim,
    steps: int = 1,
    *,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    drop_label: float = 0.1,
    **options: Any,
) -> Model:
    """The diffusion model of images, or of something else of another shape.

    Args:
        run: the run.
        step: a step of the model's own sampler.
        steps: how many of them ``model.sample`` makes.
        shape: of one example; None for that of an image.
        classes: the number of classes that the network is told; None for none.
        drop_label: the probability that training replaces a label by the null label.
        **options: those of `jaxgen.families.diffusion_model`.
    """
    path = make_path(run.config)
    shape = shape or image_shape(run)
    return diffusion_model(
        network(run, classes=classes, image_channels=shape[-1]),
        shape,
        Sampling(path, step(path), grids.uniform(path, steps), run.config.prediction),
        weight=loss_weight(run.config, path),
        labels=Labels(classes, drop_label),
        **options,
    )


def denoise_with(run: Run, params: Params, label: Array | None = None, *, classes: int | None = None) -> Denoise:
    """The trained network as a denoiser whose answers lie in [-1, 1]."""
    net, path = network(run, classes=classes), make_path(run.config)
    inputs = {} if label is None else {"label": label}
    return clip(denoiser(lambda x, t: net.apply(params, x, t, **inputs), path, run.config.prediction))


def draw_images(
    run: Run, params: Params, step: Callable[[Path], Step], steps: int, key: Key, n: int, *, keep: bool = False
) -> np.ndarray:
    """Draw images from the trained network.

    Args:
        run: the run.
        params: those of the network.
        step: ``step(path)``, one step of the sampler.
        steps: how many, evenly in time.
        key: one key.
        n: how many images.
        keep: keep the whole way from noise to image.

    Returns:
        ``[n, h, w, c]``; with `keep` ``[n, steps + 1, h, w, c]``.
    """
    path = make_path(run.config)
    made, grid, shape = step(path), grids.uniform(path, steps), image_shape(run)

    @jax.jit
    def draw(params: Params, keys: Key) -> Array:
        drawn = from_noise(path, denoise_with(run, params), made, grid, keys, shape, keep=keep)
        return jnp.moveaxis(drawn, 1, 0) if keep else drawn

    return draw_in_chunks(run, lambda keys: draw(params, keys), key, n)
