"""Images: the options, data, facts and training that every experiment on images shares."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen.chunks import in_chunks
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Source, Splits, Subset, load, measure_range, resized
from jaxgen.data.everything import without_blank
from jaxgen.data.images import left_to_right, standard_deviation
from jaxgen.data.source import evenly_spaced
from jaxgen.experiment import Run, StageSpec
from jaxgen.facts import Facts
from jaxgen.imaging.augment import random_flip
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Array, Batch, Key, Model

Widths = tuple[int, ...]
Prepare = Callable[[Key, Batch], Batch]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """The options of every experiment on images."""

    data: str = option(
        "brain_phantom", "data: a name, a folder of images (or of one subfolder per class), or a .npz", group="data"
    )
    slices: bool = option(False, "take volumes slice by slice, without blank slices", group="data")
    size: int = option(64, "pixels along one side; images are resized", ge=8, le=2048, group="data")
    mirror: bool = option(True, "mirror training images left to right at random", group="data")
    chunk: int = option(64, "images computed together", ge=1, le=4096, group="evaluation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFacts(Facts):
    """What sampling must know of images.

    Attributes:
        value_range: lowest and highest raw value of each channel, ``(low, high)``.
        image_channels: the number of channels.
        classes: the names of the classes, empty without labels.
    """

    value_range: tuple[tuple[float, ...], ...]
    image_channels: int
    classes: tuple[str, ...] = ()
    renamed: ClassVar[Mapping[str, str]] = {"channels": "image_channels"}


def image_shape(run: Run) -> tuple[int, int, int]:
    """``(size, size, channels)`` of an image as the network sees it."""
    return run.config.size, run.config.size, run.facts.image_channels


def open_images(
    config: ImageConfig, wants: tuple[str, ...], optional: tuple[str, ...] = (), foreground: str | int = "binary"
) -> Splits:
    """The data with these entries; of volumes taken slice by slice, only slices that are not blank.

    Args:
        config: the configuration; ``data``, ``seed`` and ``slices`` say what to read.
        wants: entries that every example must have, such as ``"image"``.
        optional: entries that are read where they are there.
        foreground: what of masks counts (`jaxgen.data.checks`).

    Returns:
        Training, validation and test data.

    Raises:
        UserError: if the data cannot be read, lack an entry, or are blank.
    """
    splits = load(
        config.data,
        seed=config.seed,
        wants=wants,
        optional=optional,
        foreground=foreground,
        slices=config.slices,
        spatial=2,
    )
    return without_blank(splits, config.data) if config.slices else splits


def load_images(config: ImageConfig) -> Splits:
    """Images, with their classes if they have any."""
    return open_images(config, ("image",), ("label",))


def load_labelled(config: ImageConfig) -> Splits:
    """Images with their classes; data without classes are refused."""
    return open_images(config, ("image", "label"))


def measure_images(config: ImageConfig, splits: Splits) -> ImageFacts:
    """The range of the values, the channels and the classes of the training images."""
    low, high = measure_range(splits.train)
    return ImageFacts(
        value_range=(tuple(low), tuple(high)),
        image_channels=int(splits.train[0]["image"].shape[-1]),
        classes=tuple(splits.label_names),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpreadFacts(ImageFacts):
    """Facts of images that a preconditioned network needs.

    Attributes:
        sigma_data: the standard deviation of the training images in [-1, 1].
    """

    sigma_data: float


def measure_spread(config: ImageConfig, splits: Splits) -> SpreadFacts:
    """`measure_images`, and the standard deviation of at most 500 training images."""
    known = measure_images(config, splits)
    low, high = known.value_range
    sigma = standard_deviation(splits.train, config.size, (low, high))
    return SpreadFacts(**dataclasses.asdict(known), sigma_data=sigma)


def example_images(run: Run) -> ArraySource:
    """What training is fed: the training images at one size, a byte per value."""
    return resized(run.splits.train, run.config.size, run.facts.value_range, dtype=np.uint8)


def real_images(
    run: Run, source: Source, most: int | None = None, dtype: type[np.floating] | type[np.uint8] = np.float32
) -> dict[str, np.ndarray]:
    """Images of a split, evenly chosen if there are more than `most`.

    Args:
        run: the run.
        source: the split.
        most: how many at most; None for all.
        dtype: float32 for values in [-1, 1], uint8 for bytes.

    Returns:
        ``image [n, h, w, c]``, and ``label [n]`` if there are classes.
    """
    chosen = evenly_spaced(len(source), len(source) if most is None else most)
    return resized(Subset(source, chosen), run.config.size, run.facts.value_range, dtype=dtype).arrays


def prepare_images(config: ImageConfig) -> Prepare:
    """On the device: bytes to [-1, 1], mirrored at random if the configuration says so."""

    def prepare(key: Key, batch: Batch) -> Batch:
        batch = {**batch, "image": batch["image"].astype(jnp.float32) / 127.5 - 1}
        axis = left_to_right(config.size)
        return random_flip(key, batch, axes=(axis,), names=("image",)) if config.mirror else batch

    return prepare


def optimizer(config: RunConfig, steps: int | None = None, **decays: float) -> optax.GradientTransformation:
    """The optimizer that the configuration asks for.

    Args:
        config: the configuration.
        steps: how many steps; None for ``config.steps``.
        **decays: decays of the moments, ``b1`` and ``b2``.
    """
    return make_optimizer(
        config.learning_rate,
        warmup_steps=config.warmup_steps,
        steps=steps or config.steps,
        schedule=config.schedule,
        clip=config.gradient_clip,
        weight_decay=config.weight_decay,
        name=config.optimizer,
        **decays,
    )


def stage(
    name: str,
    model: Callable[[Run], Model],
    *,
    steps: str = "steps",
    prepare: Callable[[Any], Prepare] | None = prepare_images,
    groups: tuple[str, ...] = ("net",),
    wanted: Callable[[Any], bool] | None = None,
) -> StageSpec:
    """A stage that trains one model on images, all its groups of parameters with the optimizer of the configuration.

    Args:
        name: the stage's name.
        model: ``model(run)``.
        steps: the field of the configuration that holds the number of steps.
        prepare: ``prepare(config)``, what is done to batches on the device; None for nothing.
        groups: the groups of parameters.
        wanted: ``wanted(config)``, whether the stage is trained at all; None for always.
    """

    def build(run: Run) -> Stage:
        count = getattr(run.config, steps)
        optimizers = dict.fromkeys(groups, optimizer(run.config, count))
        return Stage(name, model(run), optimizers, count, None if prepare is None else prepare(run.config))

    return StageSpec(name, build, wanted)


def draw_in_chunks(run: Run, draw: Callable[..., Array], key: Key, n: int, *arrays: Any) -> np.ndarray:
    """``draw(keys [b], *arrays)`` for n keys, in chunks of ``config.chunk``."""
    return in_chunks(draw, n, run.config.chunk, jax.random.split(key, n), *arrays)


OF_IMAGES: dict[str, Any] = {
    "load": load_images,
    "measure": measure_images,
    "facts": ImageFacts,
    "examples": example_images,
}
"""Fields of `jaxgen.experiment.Experiment` that every experiment on images has, unless it says otherwise."""
