"""What the experiments with a GAN share: options, networks, training, and how it is watched."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.families import Game, gan_model
from jaxgen.imaging import differentiable_augment
from jaxgen.losses import adversarial as losses
from jaxgen.metrics import density_coverage
from jaxgen.nets import (
    dcgan_discriminator,
    dcgan_generator,
    residual_discriminator,
    residual_generator,
    spectral_norm,
)
from jaxgen.tasks import images
from jaxgen.tasks import sample_quality as judging
from jaxgen.train import Stage, Watch, critic_wins, falls, stays_low
from jaxgen.types import Model, Net

GAMES: dict[str, Callable[[], losses.Adversarial]] = {
    "relativistic": losses.relativistic,
    "non_saturating": losses.non_saturating,
    "hinge": losses.hinge,
    "least_squares": losses.least_squares,
    "wasserstein": losses.wasserstein,
    "minimax": losses.minimax,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANConfig(images.JudgedConfig):
    """The options of an image-generation experiment with a generator and a critic."""

    loss: Literal["relativistic", "non_saturating", "hinge", "least_squares", "wasserstein", "minimax"] = option(
        "relativistic", "what the two play for", group="method"
    )
    r1: float = option(1.0, "weight gamma of half the critic's squared gradient at real images", ge=0, group="method")
    r2: float = option(1.0, "the same at generated images", ge=0, group="method")
    gradient_penalty: float = option(
        0.0, "weight of gradient norms other than 1 between the two (wasserstein: 10)", ge=0, group="method"
    )
    spectral: bool = option(False, "spectral normalisation of the critic", group="method")
    critic_steps: int = option(1, "updates of the critic a step", ge=1, le=100, group="method")
    augment: tuple[Literal["colour", "translation", "cutout"], ...] | None = option(
        None, "how to change all that the critic sees, for sets of a few hundred or thousand images", group="method"
    )

    network: Literal["residual", "dcgan"] = option("residual", "kind of both networks", group="network")
    channels: images.Widths = option(
        (64, 48, 24), "widths from the coarsest level to the finest, of both networks", ge=2, group="network"
    )
    blocks: int = option(1, "residual blocks a level (residual)", ge=1, le=16, group="network")
    expansion: int = option(2, "how much wider a block is inside (residual)", ge=1, le=8, group="network")
    group_width: int = option(
        1024, "channels a group of the blocks' middle convolution (residual)", ge=1, group="network"
    )
    fold: int = option(2, "blocks of so many pixels are one for the networks (residual)", ge=1, le=16, group="network")
    latent: int = option(64, "numbers in a latent vector", ge=1, le=4096, group="network")
    momentum: float = option(0.0, "Adam's decay of the first moment", ge=0, lt=1, group="training")

    watch_every: int = option(5, "measure coverage at every so many lines of the log", ge=1, group="judging")
    watch_images: int = option(128, "images drawn to measure it, and real ones beside them", ge=8, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        levels = len(self.channels)
        multiple = 2**levels if self.network == "dcgan" else self.fold * 2 ** (levels - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with so many --channels, got {self.size}")


def networks(config: GANConfig, constants: Mapping[str, Any], classes: int | None = None) -> tuple[Net, Net]:
    """The generator and the critic."""
    shape = (config.size, config.size, constants["channels"])
    wide_first, fine_first = config.channels, config.channels[::-1]
    if config.network == "dcgan":
        generator = dcgan_generator(shape, channels=wide_first, classes=classes)
        critic = dcgan_discriminator(channels=fine_first, classes=classes)
    else:
        options: dict[str, Any] = {
            "blocks": config.blocks,
            "expansion": config.expansion,
            "group_width": config.group_width,
            "fold": config.fold,
            "classes": classes,
        }
        generator = residual_generator(shape, channels=wide_first, **options)
        critic = residual_discriminator(channels=fine_first, **options)
    return generator, spectral_norm(critic) if config.spectral else critic


def make_model(config: GANConfig, constants: Mapping[str, Any], classes: int | None = None) -> Model:
    """The GAN; with `classes` one of labelled images."""
    generator, critic = networks(config, constants, classes)
    return gan_model(
        generator,
        critic,
        (config.size, config.size, constants["channels"]),
        latent=config.latent,
        game=Game(GAMES[config.loss](), config.r1, config.r2, config.gradient_penalty, config.critic_steps),
        augment=augmentation(config.augment),
        classes=classes,
    )


def augmentation(names: Sequence[str] | None) -> Callable | None:
    """The changes that `--augment` names; what is moved in or cut out is as dark as the background."""
    if names is None:
        return None
    colour, moved, cut = (name in names for name in ("colour", "translation", "cutout"))
    options: dict[str, Any] = {
        "brightness": 0.5 * colour,
        "contrast": 0.5 * colour,
        "translation": 0.125 * moved,
        "cutout": 0.5 * cut,
    }
    return functools.partial(differentiable_augment, **options, fill=-1.0)


def player_optimizers(config: images.ImageConfig, critic_steps: int, **decays: float) -> dict[str, Any]:
    """One for the generator and one for the critic, whose schedule is as long as it has updates."""
    updates = {"generator": config.steps, "critic": config.steps * critic_steps}
    return {group: images.optimizers(config, n, **decays)["net"] for group, n in updates.items()}


def make_stage(config: GANConfig, constants, trained, classes: int | None = None) -> Stage:
    """The stage that trains both, watched through the judge's eyes."""
    model = make_model(config, constants, classes)
    optimizers = player_optimizers(config, config.critic_steps, b1=config.momentum, b2=0.99)
    watch = make_watch(config, constants, trained, model)
    return Stage("gan", model, optimizers, config.steps, images.prepare_images(config), watch)


def make_watch(config: GANConfig, constants, trained, model: Model) -> Watch:
    """In the judge's eyes: coverage of training images, how many classes are drawn, and how much variety each has.

    Variety is the mean distance of two images of a class over that of real ones.
    """
    judge: list[images.Judge] = []
    real: list[tuple[np.ndarray, float | None]] = []
    draw = jax.jit(lambda params, keys: model.sample(params, keys, len(keys)))
    classes = len(constants["classes"])

    def seen(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float | None]:
        """Features, classes, and how far apart images of a class are, where one has two."""
        features, label = judge[0].features(x), judge[0].classes(x)
        return features, label, images.within_classes(features, label)

    def measure(params, key, examples) -> dict[str, float]:
        if not judge:
            judge.append(images.Judge(config, constants, trained))
            known, _, usual = seen(examples["image"].astype(np.float32) / 127.5 - 1)
            real.append((known, usual))
        keys = jax.random.split(key, config.watch_images)
        features, label, apart = seen(images.in_chunks(lambda keys: draw(params, keys), len(keys), config.chunk, keys))
        known, usual = real[0]
        lost = not np.isfinite(features).all()  # a generator that diverged covers nothing that is known
        numbers = {"coverage": float("nan") if lost else float(density_coverage(known, features)[1])}
        if apart is not None and usual is not None:
            numbers["variety"] = apart / max(usual, 1e-12)
        if classes:
            share = np.bincount(label, minlength=classes) / len(label)
            numbers["classes_drawn"] = float(np.sum(share >= 0.1 / classes))
        return numbers

    advisers = [
        critic_wins(),
        falls("coverage", at_least=0.3),
        stays_low("coverage", below=0.05, skip=8),
        stays_low("variety", below=0.5, skip=4),
    ]
    if classes:
        advisers.append(falls("classes_drawn", at_least=2, below=0.6))
    return Watch(measure, tuple(advisers), config.watch_every, config.watch_images)


def draw_images(config: GANConfig, constants, trained, key, n: int, label: np.ndarray | None = None) -> np.ndarray:
    """Images ``[n, h, w, c]`` of the averaged generator, clipped to [-1, 1]; with labels ``[n]`` of those classes.

    The key is one key, or keys ``[n]``.
    """
    model = make_model(config, constants, None if label is None else len(constants["classes"]))
    params = trained["gan"]
    draw = jax.jit(lambda params, keys, *label: judging.cut(model.sample(params, keys, len(keys), *label)))
    keys = key if key.ndim else jax.random.split(key, n)
    arrays = (keys,) if label is None else (keys, label)
    return images.in_chunks(lambda *arrays: draw(params, *arrays), n, config.chunk, *arrays)


def between(config: GANConfig, constants, trained, key, rows: int, columns: int, label=None) -> np.ndarray:
    """Images along lines between latent vectors, ``[rows, columns, h, w, c]``; with a label a row of one class."""
    classes = None if label is None else len(constants["classes"])
    generator, _ = networks(config, constants, classes)
    ends = jax.random.normal(key, (rows, 2, 1, config.latent))
    angle = np.linspace(0, np.pi / 2, columns)[None, :, None].astype(np.float32)
    z = (np.cos(angle) * ends[:, 0] + np.sin(angle) * ends[:, 1]).reshape(rows * columns, -1)
    extra = {} if label is None else {"label": jnp.repeat(jnp.asarray(label), columns)}
    params = trained["gan"]["generator"]
    drawn = jax.jit(lambda z, extra: jnp.clip(generator.apply(params, z, **extra), -1, 1))(z, extra)
    return np.asarray(drawn).reshape(rows, columns, *drawn.shape[1:])
