"""What the autoencoders' experiments share: networks, the principal components they must beat, metrics and figures."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure as Canvas

from jaxgen.config import option
from jaxgen.data import Splits, most_of
from jaxgen.errors import UserError
from jaxgen.experiment import Figure, Metric
from jaxgen.metrics import psnr, ssim
from jaxgen.nets import decoder, encoder
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.types import Array, Net

Widths = tuple[int, ...]
MOST_TRAIN = 2000
"""Training images that the principal components are found on, and figures and metrics of codes use."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeConfig(images.ImageConfig):
    """The options of every experiment with an encoder and a decoder."""

    code: int = option(64, "numbers that an image is squeezed into", ge=1, le=65_536, group="network")
    channels: Widths = option((32, 64, 96, 128), "widths of the levels, the finest first", ge=4, group="network")
    blocks: int = option(1, "residual blocks a level", ge=1, le=8, group="network")
    attention: Widths | None = option(None, "levels with self-attention, 0 the finest", ge=0, group="network")
    head_width: int = option(32, "width of an attention head", ge=4, group="network")
    patch: int = option(2, "fold blocks of so many pixels into channels first", ge=1, le=16, group="network")
    samples: int = option(256, "test images to judge on, and images drawn beside them", ge=8, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        multiple = self.patch * 2 ** (len(self.channels) - 1)
        if self.size % multiple:
            raise UserError(f"--size must be a multiple of {multiple} with such a --patch and levels, got {self.size}")
        if self.attention and max(self.attention) >= len(self.channels):
            last = len(self.channels) - 1
            raise UserError(f"--attention must name levels from 0 to {last}, got {max(self.attention)}")


def networks(config: CodeConfig, constants: Mapping[str, Any], *, answers: int = 1) -> tuple[Net, Net]:
    """Encoder to a vector of `code` numbers (times `answers`) and decoder from one."""
    options: dict[str, Any] = {
        "channels": config.channels,
        "blocks": config.blocks,
        "attention": config.attention or (),
        "head_width": config.head_width,
        "patch": config.patch,
    }
    size = (config.size, config.size)
    return (
        encoder(answers * config.code, vector=True, **options),
        decoder(constants["channels"], spatial=size, **options),
    )


def optimizers(
    config: CodeConfig,
    *groups: str,
    faster: Mapping[str, float] | None = None,
    updates: Mapping[str, int] | None = None,
) -> dict[str, optax.GradientTransformation]:
    """An optimizer for each group.

    `faster` multiplies the learning rate of some; `updates` says which have more than one update a step, so that their
    schedules end with the training.
    """
    made = {}
    for name in groups:
        n = (updates or {}).get(name, 1)
        rate = config.learning_rate * (faster or {}).get(name, 1.0)
        changed = dataclasses.replace(config, learning_rate=rate, warmup_steps=n * config.warmup_steps)
        made[name] = images.optimizers(changed, n * config.steps)["net"]
    return made


class Held(NamedTuple):
    """The images of an evaluation, in [-1, 1].

    Attributes:
        train: training images, at most `MOST_TRAIN`.
        test: test images, at most `samples`.
        label: the labels of the test images, or None.
    """

    train: np.ndarray
    test: np.ndarray
    label: np.ndarray | None


def held_images(config: CodeConfig, constants: Mapping[str, Any], splits: Splits) -> Held:
    """The images that reconstructions are judged on."""
    train = images.real_images(config, constants, splits.train, MOST_TRAIN)
    test = images.real_images(config, constants, splits.test, most_of(config.data, config.samples))
    return Held(train["image"], test["image"], test.get("label") if constants["classes"] else None)


@jax.jit
def _likeness(restored: Array, x: Array) -> tuple[Array, Array]:
    return jnp.mean(psnr(restored, x, data_range=2.0)), jnp.mean(ssim(restored, x, data_range=2.0))


def likeness(restored: np.ndarray, x: np.ndarray) -> dict[str, float]:
    """Metrics of images had back, the mean over them."""
    peak, similarity = _likeness(jnp.asarray(restored, jnp.float32), jnp.asarray(x, jnp.float32))
    return {"psnr": float(peak), "ssim": float(similarity)}


DESCRIBE = {
    "psnr": Metric("PSNR", "higher", "of test images had back, dB"),
    "ssim": Metric("SSIM", "higher", "of test images had back"),
}


def reconstructions(x: np.ndarray, restored: Mapping[str, np.ndarray], caption: str, count: int = 8) -> Figure:
    """Images, and below them what each method makes of them."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(count, len(x))).round().astype(int))
    return pictures.rows({"image": x[chosen]} | {name: y[chosen] for name, y in restored.items()}, caption)


def interpolations(
    encode: Callable[[np.ndarray], np.ndarray], decode: Callable[[np.ndarray], np.ndarray], x: np.ndarray
) -> Figure:
    """Three pairs of images, and what lies between their codes."""
    share = np.linspace(0, 1, 8)[:, None]
    codes = encode(x[:6] if len(x) > 1 else np.repeat(x, 2, axis=0))
    drawn = {}
    for row in range(len(codes) // 2):
        first, last = codes[2 * row], codes[2 * row + 1]
        drawn[f"pair {row + 1}"] = np.clip(decode((1 - share) * first + share * last), -1, 1)
    return pictures.rows(drawn, "On the straight line between the codes of two test images.")


def code_scatter(codes: Mapping[str, np.ndarray], label: np.ndarray | None, names: list[str]) -> Figure:
    """Codes of test images along their two widest directions, coloured by class; other sets in grey beside them."""
    canvas = Canvas(figsize=(3.6 * len(codes), 3.6), layout="constrained")
    (first, *_) = codes.values()
    mean = first.mean(0)
    axes_ = np.linalg.svd(first - mean, full_matrices=False)[2][:2].T if first.shape[1] > 2 else np.eye(first.shape[1])
    for panel, (name, points) in zip(canvas.subplots(1, len(codes), squeeze=False)[0], codes.items(), strict=True):
        place = (points - mean) @ axes_ if first.shape[1] > 2 else points
        place = np.concatenate([place, np.zeros((len(place), 1))], 1) if place.shape[1] == 1 else place
        if label is not None and len(label) == len(place) and points is first:
            for k, class_name in enumerate(names):
                chosen = label == k
                colour = pictures.COLOURS[k % len(pictures.COLOURS)]
                panel.scatter(place[chosen, 0], place[chosen, 1], s=6, color=colour, label=class_name)
            panel.legend(fontsize=6, frameon=False)
        else:
            panel.scatter(place[:, 0], place[:, 1], s=6, color="0.5")
        panel.set_title(name, fontsize=8)
    return Figure(canvas, "Codes along the two directions in which those of the test images are widest.")


def in_chunks(config: images.ImageConfig, function: Callable, *arrays: np.ndarray) -> np.ndarray:
    """A jitted function on images or codes, in stretches of `chunk`."""
    return images.in_chunks(jax.jit(function), len(arrays[0]), config.chunk, *arrays)
