"""Adversarial training of images: options, networks, the two optimizers, what is watched in training, and drawing."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
import optax

from jaxgen.config import RunConfig, option
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Run
from jaxgen.families import Game, gan_model
from jaxgen.families.gan import latent_arcs
from jaxgen.families.image_features import Energies
from jaxgen.imaging.differentiable_augment import AUGMENTATIONS, named_augment
from jaxgen.losses.adversarial import LOSSES
from jaxgen.nets import (
    dcgan_discriminator,
    dcgan_generator,
    residual_discriminator,
    residual_generator,
    spectral_norm,
)
from jaxgen.tasks import features, generation, images
from jaxgen.train import Stage, Watch
from jaxgen.train.generator_watch import watch_generator
from jaxgen.types import Key, Model, Net, Params

R3GAN_64: dict[str, Any] = {
    "size": 64,
    "network": "residual",
    "channels": (768, 768, 768, 768, 384),
    "blocks": 2,
    "group_width": 16,
    "fold": 1,
    "latent": 64,
}
"""The networks for 64 pixels of Huang et al. 2024, "The GAN is dead; long live the GAN!", arXiv 2501.05441."""

DEFAULTS = {
    "small": {
        **generation.SMALL,
        "network": "dcgan",
        "channels": (128, 64, 48, 32, 16),
        "r1": 0.2,
        "r2": 0.2,
        "augment": ("translation",),
        "steps": 4000,
        "learning_rate": 5e-4,
        "gradient_clip": 0.0,
        "optimizer": "adam",
        "log_every": 25,
    },
    "smoke": {
        **generation.SMOKE,
        "network": "residual",
        "channels": (8, 4),
        "latent": 8,
        "watch_every": 2,
        "watch_images": 16,
    },
    "full": {
        **generation.FULL,
        "steps": 300_000,
        "batch_size": 256,
        "learning_rate": 2e-4,
        "warmup_steps": 0,
        "gradient_clip": 0.0,
        "optimizer": "adam",
        "ema_decay": 0.999,
        "watch_images": 2048,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageGANConfig(features.FeatureConfig):
    """The options of an experiment that draws images with a generator trained against a critic."""

    loss: str = option("relativistic", "adversarial loss", choices=LOSSES, group="method")
    r1: float = option(1.0, "weight gamma of half the critic's squared gradient at real images", ge=0, group="method")
    r2: float = option(1.0, "the same at generated images", ge=0, group="method")
    gradient_penalty: float = option(
        0.0, "weight of the penalty on gradient norms other than 1 (wasserstein: 10)", ge=0, group="method"
    )
    spectral: bool = option(False, "spectral normalisation of the critic", group="method")
    critic_steps: int = option(1, "updates of the critic per step", ge=1, le=100, group="method")
    augment: tuple[str, ...] | None = option(
        None,
        "changes of all images that the critic sees, for a few hundred or thousand training images",
        choices=AUGMENTATIONS,
        group="method",
    )

    network: Literal["residual", "dcgan"] = option("residual", "kind of both networks", group="network")
    channels: images.Widths = option(
        (64, 48, 24), "widths from the coarsest level to the finest, of both networks", ge=2, group="network"
    )
    blocks: int = option(1, "residual blocks per level (residual)", ge=1, le=16, group="network")
    expansion: int = option(2, "how much wider a block is inside (residual)", ge=1, le=8, group="network")
    group_width: int = option(
        1024, "channels per group of the blocks' middle convolution (residual)", ge=1, group="network"
    )
    fold: int = option(
        2, "fold blocks of this many pixels per side into channels first (residual)", ge=1, le=16, group="network"
    )
    latent: int = option(64, "latent dimension", ge=1, le=4096, group="network")
    momentum: float = option(0.0, "Adam's decay of the first moment", ge=0, lt=1, group="training")

    watch_every: int = option(5, "lines of the log between measurements of coverage", ge=1, group="evaluation")
    watch_images: int = option(128, "images drawn to measure it, and real ones to compare", ge=8, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        levels = len(self.channels)
        multiple = 2**levels if self.network == "dcgan" else self.fold * 2 ** (levels - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with these --channels, got {self.size}")


def experiment(**fields: Any) -> Experiment:
    """An experiment with a GAN: that of `jaxgen.tasks.generation.experiment` with the options and presets of GANs."""
    return generation.experiment(config=ImageGANConfig, defaults=DEFAULTS, **fields)


def networks(run: Run, classes: int | None = None) -> tuple[Net, Net]:
    """The generator and the critic; both are told one of `classes`, if given."""
    config = run.config
    widths, widths_back = config.channels, config.channels[::-1]
    if config.network == "dcgan":
        generator = dcgan_generator(images.image_shape(run), channels=widths, classes=classes)
        critic = dcgan_discriminator(channels=widths_back, classes=classes)
    else:
        options: dict[str, Any] = {
            "blocks": config.blocks,
            "expansion": config.expansion,
            "group_width": config.group_width,
            "fold": config.fold,
            "classes": classes,
        }
        generator = residual_generator(images.image_shape(run), channels=widths, **options)
        critic = residual_discriminator(channels=widths_back, **options)
    return generator, spectral_norm(critic) if config.spectral else critic


def make_model(run: Run, classes: int | None = None) -> Model:
    """The GAN; with `classes` one of labelled images."""
    config = run.config
    return gan_model(
        *networks(run, classes),
        images.image_shape(run),
        latent=config.latent,
        game=Game(LOSSES[config.loss](), config.r1, config.r2, config.gradient_penalty, config.critic_steps),
        augment=named_augment(config.augment),
        classes=classes,
    )


def player_optimizers(config: RunConfig, critic_steps: int, **decays: float) -> dict[str, optax.GradientTransformation]:
    """One for the generator and one for the critic, whose schedule is as long as it has updates."""
    updates = {"generator": config.steps, "critic": config.steps * critic_steps}
    return {group: images.optimizer(config, n, **decays) for group, n in updates.items()}


def make_stage(run: Run, classes: int | None = None) -> Stage:
    """The stage that trains both networks, watched in the features of images."""
    config, model = run.config, make_model(run, classes)
    optimizers = player_optimizers(config, config.critic_steps, b1=config.momentum, b2=0.99)
    return Stage("gan", model, optimizers, config.steps, images.prepare_images(config), make_watch(run, model))


def make_watch(run: Run, model: Model) -> Watch:
    """What `jaxgen.train.generator_watch` measures in training, in the features of images."""
    config, classes = run.config, len(run.facts.classes)
    some = jax.jit(lambda params, keys: model.sample(params, keys, len(keys)))

    def draw(params: Params, key: Key) -> np.ndarray:
        return images.draw_in_chunks(run, lambda keys: some(params, keys), key, config.watch_images)

    extractor = lambda: features.Features(run) if classes else Energies()  # noqa: E731  made late
    return watch_generator(draw, extractor, classes=classes, every=config.watch_every, examples=config.watch_images)


def draw_images(run: Run, key: Key, n: int, label: np.ndarray | None = None) -> np.ndarray:
    """Images ``[n, h, w, c]`` of the averaged generator; `key` is one key or ``[n]``, `label` the classes ``[n]``."""
    model = make_model(run, None if label is None else len(run.facts.classes))
    return generation.drawing(run, "gan", model)(key, n, label)


def interpolations(run: Run, key: Key, rows: int, columns: int, label: np.ndarray | None = None) -> np.ndarray:
    """Images ``[rows, columns, h, w, c]`` on arcs between pairs of latent vectors, `label` the class of each row."""
    generator, _ = networks(run, None if label is None else len(run.facts.classes))
    params, latent = run.params["gan"]["generator"], run.config.latent
    return np.asarray(latent_arcs(generator, params, key, latent, (rows, columns), label))
