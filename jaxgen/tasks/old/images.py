"""What the image-generation experiments share: data, and how a set of samples is judged.

Sets of samples are compared in the features of a classifier that the run trains on the real training images: on their
labels, or where there are none on which of four quarter turns an image was given.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import draws
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Everything, Source, Splits, Subset, load, measure_range, resized
from jaxgen.errors import UserError
from jaxgen.experiment import StageSpec
from jaxgen.families import classifier_model
from jaxgen.imaging.augment import random_flip
from jaxgen.metrics import within_class_distance
from jaxgen.nets import classifier
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Net

Widths = tuple[int, ...]
QUARTER_TURNS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """The options of every experiment on images."""

    data: str = option(
        "brain_phantom",
        "data: a name, a folder (one subfolder a class, or images/), or a .npz",
        group="data",
    )
    slices: bool = option(False, "take volumes slice by slice, but for blank slices", group="data")
    size: int = option(64, "pixels along one side; images are resized", ge=8, le=2048, group="data")
    mirror: bool = option(True, "mirror training images left to right at random", group="data")
    chunk: int = option(64, "images computed together", ge=1, le=4096, group="judging")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgedConfig(ImageConfig):
    """The options of every experiment that draws images and judges them."""

    samples: int = option(256, "images to draw for the metrics, and real ones beside them", ge=8, group="judging")
    judge_steps: int = option(400, "training steps of the classifier that judges samples", ge=1, group="judging")
    judge_channels: Widths = option((32, 64, 96), "widths of that classifier's levels", ge=4, group="judging")


def open_images(
    config: ImageConfig, wants: tuple[str, ...], optional: tuple[str, ...] = (), foreground: str | int = "binary"
) -> Splits:
    """What the data hold of these entries; of volumes taken slice by slice no slice without anything in it."""
    splits = load(
        config.data,
        seed=config.seed,
        wants=wants,
        optional=optional,
        foreground=foreground,
        slices=config.slices,
        spatial=2,
    )
    if not config.slices:
        return splits
    train, validation, test = map(_with_content, (splits.train, splits.validation, splits.test))
    for name, part in (("train", train), ("validation", validation), ("test", test)):
        if not len(part) and (name == "test" or not isinstance(config.data, Everything)):
            raise UserError(f"--data {config.data}: every slice of its {name} set is blank; name other volumes")
    return splits._replace(train=train, validation=validation, test=test)


def _with_content(source: Source) -> Subset:
    return Subset(source, [i for i in range(len(source)) if np.ptp(source[i]["image"])])


def load_images(config: ImageConfig, *, labels: bool = False) -> Splits:
    """The images of the experiment; `labels` insists on their classes."""
    return open_images(config, ("image", "label")) if labels else open_images(config, ("image",), ("label",))


def measure_images(config: ImageConfig, splits: Splits) -> dict[str, Any]:
    """What sampling needs to know of the data: the range of its values, its channels, its classes."""
    return {
        "value_range": [list(bound) for bound in measure_range(splits.train)],
        "channels": int(splits.train[0]["image"].shape[-1]),
        "classes": list(splits.label_names),
    }


def example_images(config: ImageConfig, constants: Mapping[str, Any], splits: Splits) -> ArraySource:
    """The training images at one size, a byte a value."""
    return resized(splits.train, config.size, constants["value_range"], dtype=np.uint8)


def real_images(
    config: ImageConfig,
    constants: Mapping[str, Any],
    source: Source,
    most: int | None = None,
    dtype: type[np.floating] | type[np.uint8] = np.float32,
) -> dict:
    """At most so many images of a split: ``image [n, h, w, c]`` in [-1, 1] or bytes, ``label [n]`` if any."""
    chosen = np.arange(len(source))
    if most is not None and most < len(source):
        chosen = np.linspace(0, len(source) - 1, most).round().astype(int)
    return resized(Subset(source, chosen), config.size, constants["value_range"], dtype=dtype).arrays


def prepare_images(config: ImageConfig):
    """On the device: bytes to [-1, 1], and mirrored images."""

    def prepare(key, batch):
        image = batch["image"].astype(jnp.float32) / 127.5 - 1
        batch = {**batch, "image": image}
        return random_flip(key, batch, axes=(1,), names=("image",)) if config.mirror else batch

    return prepare


def optimizers(
    config: ImageConfig, steps: int | None = None, **decays: float
) -> dict[str, optax.GradientTransformation]:
    """The optimizer of the one group of parameters; `decays` of the moments are `b1` and `b2`."""
    made = make_optimizer(
        config.learning_rate,
        warmup_steps=config.warmup_steps,
        steps=steps or config.steps,
        schedule=config.schedule,
        clip=config.gradient_clip,
        weight_decay=config.weight_decay,
        name=config.optimizer,
        **decays,
    )
    return {"net": made}


def in_chunks(function: Callable, n: int, chunk: int, *arrays, exactly: bool = False) -> Any:
    """Call a jitted function on stretches of `chunk` examples; the last one is filled up, so one program serves all.

    The function may return a tree of arrays. `exactly` fills up even where there are fewer than `chunk` in all, so that
    one program serves any number.
    """
    chunk = chunk if exactly else min(chunk, n)
    parts = []
    for first in range(0, n, chunk):
        index = np.minimum(np.arange(first, first + chunk), n - 1)
        found = function(*(array[index] for array in arrays))
        parts.append(jax.tree.map(lambda x, left=n - first: np.asarray(x)[:left], found))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def judge_network(config: JudgedConfig, constants: Mapping[str, Any]) -> Net:
    """The classifier whose features judge samples."""
    return classifier(len(constants["classes"]) or QUARTER_TURNS, channels=config.judge_channels, blocks=1, patch=2)


def build_judge(config: JudgedConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    """Train the judge on real images, moved about a little so that it does not learn them by heart."""
    unlabelled = not constants["classes"]

    def prepare(key, batch):
        flip_key, turn_key, noise_key = draws.split(key, 3)
        batch = prepare_images(config)(flip_key, batch)
        image = batch["image"]
        if unlabelled:
            turns = jnp.floor(QUARTER_TURNS * draws.uniform(turn_key, image.shape[:1])).astype(jnp.int32)
            turned = jnp.stack([jnp.rot90(image, k, (1, 2)) for k in range(QUARTER_TURNS)], axis=1)
            image = jax.vmap(lambda all_turns, k: all_turns[k])(turned, turns)
            batch = {**batch, "label": turns}
        return {**batch, "image": image + 0.05 * draws.normal(noise_key, image.shape)}

    model = classifier_model(judge_network(config, constants))
    return Stage("judge", model, optimizers(config, config.judge_steps), config.judge_steps, prepare)


JUDGE = StageSpec("judge", build_judge)


class Judge:
    """The trained judge: features and classes of images ``[n, h, w, c]`` in [-1, 1]."""

    def __init__(self, config: JudgedConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]):
        net, self._params = judge_network(config, constants), trained["judge"]["net"]
        self._features = jax.jit(lambda params, x: net.apply(params, x, features=True))
        self._logits = jax.jit(net.apply)
        self._chunk = 64

    def features(self, images: np.ndarray) -> np.ndarray:
        """``[n, d]``."""
        return in_chunks(lambda x: self._features(self._params, x), len(images), self._chunk, images)

    def classes(self, images: np.ndarray) -> np.ndarray:
        """The most likely class, ``[n]``."""
        return in_chunks(lambda x: self._logits(self._params, x), len(images), self._chunk, images).argmax(-1)


def within_classes(features: np.ndarray, label: np.ndarray) -> float | None:
    """How far apart two images of a class are in the judge's features; None where no class has two."""
    return within_class_distance(features, label) if np.bincount(label).max() > 1 else None


def gaussian_images(train: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The baseline: images drawn from a normal law with the mean and the covariance of the training images."""
    flat = train.reshape(len(train), -1).astype(np.float64)
    mean = flat.mean(0)
    weights_ = np.random.default_rng(seed).standard_normal((n, len(flat))) / np.sqrt(max(1, len(flat) - 1))
    return np.clip(mean + weights_ @ (flat - mean), -1, 1).reshape(n, *train.shape[1:]).astype(np.float32)
