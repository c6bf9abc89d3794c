"""Class-conditional diffusion of images: its options, the noisy classifier, and drawing under either guidance."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import guidance
from jaxgen.config import option
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import classifier_model
from jaxgen.nets import classifier
from jaxgen.samplers import clip, from_noise, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, images
from jaxgen.types import Array, Denoise, Key, Model, Net, Params

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidedConfig(diffusion.DiffusionConfig):
    """The options of class-conditional diffusion; intervals are of times from 0, the data, to 1, the noise."""

    drop_label: float = option(0.15, "share of labels that training leaves out", ge=0, le=1, group="method")
    rescale: float = option(0.0, "share of the unguided images' contrast to restore", ge=0, le=1, group="method")
    interval: Interval = option(
        (0.0, 1.0), "classifier-free guidance between these times, 0 data and 1 noise", ge=0, le=1, group="method"
    )
    classifier_interval: Interval = option(
        (0.0, 0.9), "classifier guidance between these; near 1 it magnifies errors", ge=0, le=1, group="method"
    )
    classifier_steps: int = option(800, "training steps of the noisy classifier", ge=1, group="training")
    classifier_channels: images.Widths = option((32, 64, 96), "its widths", ge=4, group="network")
    sampler: str = option("dpm_solver_2m", "how images are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(20, "steps from noise to image", ge=1, le=10_000, group="sampling")


def noisy_classifier(run: Run) -> Net:
    """The classifier of noisy images."""
    config = run.config
    return classifier(len(run.facts.classes), channels=config.classifier_channels, blocks=1, patch=config.patch)


def make_classifier(run: Run) -> Model:
    """The model that trains it."""
    return classifier_model(noisy_classifier(run), path=diffusion.make_path(run.config))


def make_model(run: Run) -> Model:
    """The class-conditional diffusion model, whose network knows the null label too."""
    config, classes = run.config, len(run.facts.classes)
    step = SAMPLERS[config.sampler].step
    return diffusion.make_model(run, step, config.sampler_steps, classes=classes, drop_label=config.drop_label)


STAGES: tuple[StageSpec, ...] = (
    images.stage("classifier", make_classifier, steps="classifier_steps"),
    images.stage("ddpm", make_model),
)


def classifier_free(run: Run, params: Params, label: Array, scale: Array) -> Denoise:
    """Guidance by the same network with the null label (Ho & Salimans 2022)."""
    null, interval = len(run.facts.classes), run.config.interval
    return guidance.classifier_free_batched(
        lambda x, t, label: diffusion.denoise_with(run, params["ddpm"]["net"], label, classes=null)(x, t),
        label,
        jnp.full_like(label, null),
        scale,
        rescale=run.config.rescale,
        interval=None if interval == (0.0, 1.0) else interval,
    )


def by_classifier(run: Run, params: Params, label: Array, scale: Array) -> Denoise:
    """Guidance of the unconditional model by the gradient of the noisy classifier (Dhariwal & Nichol 2021)."""
    net, null, path = noisy_classifier(run), len(run.facts.classes), diffusion.make_path(run.config)

    def log_prob(x: Array, t: Array) -> Array:
        logits = net.apply(params["classifier"]["net"], x, t)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=-1)[:, 0]

    unconditional = diffusion.denoise_with(run, params["ddpm"]["net"], jnp.full_like(label, null), classes=null)
    return guidance.classifier(unconditional, log_prob, path, scale, interval=run.config.classifier_interval)


Draw = Callable[[Key, np.ndarray, float], np.ndarray]


def drawing(run: Run, guided: Callable[[Run, Params, Array, Array], Denoise]) -> Draw:
    """Draw images of given classes; the scale is an argument of the program, which is compiled once.

    Args:
        run: the run.
        guided: `classifier_free` or `by_classifier`.

    Returns:
        ``draw(key, label [n], scale) -> [n, h, w, c]``.
    """
    config, path, shape = run.config, diffusion.make_path(run.config), images.image_shape(run)
    step, grid = SAMPLERS[config.sampler].step(path), grids.uniform(path, config.sampler_steps)

    @jax.jit
    def draw(params: Params, scale: Array, keys: Key, label: Array) -> Array:
        return from_noise(path, clip(guided(run, params, label, scale)), step, grid, keys, shape)

    return lambda key, label, scale: images.draw_in_chunks(
        run, lambda keys, label: draw(run.params, jnp.float32(scale), keys, label), key, len(label), label
    )
