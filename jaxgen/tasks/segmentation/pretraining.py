"""Segmentation after training on images without masks: options, stages, and how the trained ones segment."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import diffusion_model
from jaxgen.losses.times import uniform_time
from jaxgen.medical.segmentation.ensembles import deep_ensemble
from jaxgen.medical.segmentation.pixel_classifiers import compiled_classifiers, pixel_classifiers
from jaxgen.medical.segmentation.pixel_features import Features, diffusion_features, pyramid_features
from jaxgen.medical.segmentation.pretrained import at_time, fine_tuned
from jaxgen.medical.segmentation.segmenter import Ensemble
from jaxgen.nets import mlp, unet
from jaxgen.paths import PATHS, time_at
from jaxgen.samplers import Sampling, ddim, grids
from jaxgen.tasks import images
from jaxgen.tasks.images import Widths
from jaxgen.tasks.segmentation.data import SegmentationConfig, grid, prepare_tiles, unet_options
from jaxgen.train import Stage
from jaxgen.types import Model, Net

Shares = tuple[float, ...]
DRAWN_STEPS = 50
"""Steps with which a pre-trained model would draw images; nothing here draws any."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig(SegmentationConfig):
    """The options of segmentation after pre-training; times are shares of the way from the image to noise."""

    path: str = option("cosine", "how noise is mixed in: a table, or a continuous path", choices=PATHS, group="method")
    prediction: Literal["noise", "x0", "v"] = option("noise", "what pre-training predicts", group="method")
    clean_time: float = option(0.001, "time that the U-Net is told when it segments", ge=0, le=1, group="method")
    denoising_time: float = option(
        0.2, "time of the one noise level of the denoising autoencoder", gt=0, le=1, group="method"
    )
    feature_times: Shares = option((0.05, 0.15, 0.25), "times whose features are joined", ge=0, le=1, group="method")
    sweep_times: Shares = option(
        (0.01, 0.05, 0.1, 0.2, 0.4, 0.7), "times whose features are compared", ge=0, le=1, group="method"
    )
    feature_blocks: Widths = option((1, 2, 3, 4, 5), "decoder blocks, 0 the coarsest", ge=0, group="method")
    pyramid_levels: int = option(5, "levels of the Gaussian pyramid", ge=1, le=16, group="method")

    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")
    classifiers: int = option(10, "pixel classifiers in an ensemble", ge=1, le=1024, group="network")
    classifier_widths: Widths = option((128, 32), "widths of a pixel classifier's layers", ge=1, group="network")

    pretraining_steps: int = option(3000, "steps of each pre-training", ge=1, group="training")
    finetuning_rate: float = option(1e-3, "peak learning rate after pre-training", gt=0, le=10, group="training")
    pixel_steps: int = option(500, "steps of pixel classifiers", ge=1, group="training")
    pixel_rate: float = option(1e-3, "peak learning rate of pixel classifiers", gt=0, le=10, group="training")
    pixels: int = option(256, "pixels of each tile that pixel classifiers see in a step", ge=1, group="training")

    def __post_init__(self) -> None:
        """Check every field, and that the decoder has the blocks."""
        super().__post_init__()
        count = len(self.baseline_channels) * (self.blocks + 1)
        if max(self.feature_blocks) >= count:
            raise UserError(f"--feature-blocks must be from 0 to {count - 1}, got {max(self.feature_blocks)}")

    def baseline(self, outputs: int, *, dropout: float = 0.0) -> Net:
        """The pre-trained architecture itself, told the time of clean images."""
        return at_time(network(self, outputs, dropout=dropout), time_at(PATHS[self.path](), self.clean_time))


def network(config: PretrainingConfig, outputs: int, *, dropout: float = 0.0) -> Net:
    """The U-Net that all stages share but for its last convolution."""
    options = {"adaptive": config.adaptive, "dropout": dropout, **unet_options(config)}
    return unet(outputs, channels=config.baseline_channels, **options)


def seen_channels(run: Run) -> int:
    """Channels of tiles, with those of ``--coordinates``."""
    return run.facts.image_channels + run.config.spatial * run.config.coordinates


def pretrained_at(config: PretrainingConfig, name: str) -> float:
    """The time that a U-Net is told when it segments after a pre-training: autoencoders know only their own."""
    return time_at(PATHS[config.path](), config.clean_time if name == DIFFUSION.name else config.denoising_time)


def pretraining(name: str, time: Callable[[PretrainingConfig], Callable[..., Any]]) -> StageSpec:
    """A stage that learns to take noise away from all training images, whatever ``--labelled`` says."""

    def build(run: Run) -> Stage:
        config, path = run.config, PATHS[run.config.path]()
        sampling = Sampling(path, ddim(path), grids.uniform(path, DRAWN_STEPS), config.prediction)
        net, shape = network(config, seen_channels(run)), (*grid(run).tile, seen_channels(run))
        model, steps = diffusion_model(net, shape, sampling, time=time(config)), config.pretraining_steps
        return Stage(name, model, {"net": images.optimizer(config, steps)}, steps, prepare_tiles(config))

    return StageSpec(name, build, examples=lambda run: grid(run).tiles(run.splits.train, target=None))


def one_level(config: PretrainingConfig) -> Callable[..., Any]:
    """A distribution of training times that is one time."""
    return lambda path, key, n: jnp.full(n, time_at(path, config.denoising_time), jnp.float32)


DIFFUSION = pretraining("diffusion", lambda config: uniform_time)
"""Pre-training at all levels of noise."""
DENOISING = pretraining("denoising", one_level)
"""Pre-training at one level of noise: a denoising autoencoder."""


def tuned_network(run: Run, start: str) -> Net:
    """The network from images to logits after the pre-training of this name."""
    classes = run.facts.class_count
    return at_time(network(run.config, classes + (classes > 1)), pretrained_at(run.config, start))


def tuning(name: str, start: str) -> StageSpec:
    """A stage that trains all weights to segment, from those of the pre-training `start`."""

    def build(run: Run) -> Stage:
        config = run.config
        model = fine_tuned(tuned_network(run, start), run.params[start]["net"])
        optimizer = images.optimizer(dataclasses.replace(config, learning_rate=config.finetuning_rate))
        return Stage(name, model, {"net": optimizer}, config.steps, prepare_tiles(config))

    return StageSpec(name, build)


def tuned(run: Run, name: str, start: str, label: str) -> Ensemble:
    """How the trained stage segments."""
    draw = deep_ensemble(tuned_network(run, start), [run.params[name]["net"]])
    return Ensemble(name, label, draw, probability=True)


def pyramid(run: Run) -> Features:
    """Features without a network."""
    return pyramid_features(run.config.pyramid_levels)


def joined(run: Run) -> Features:
    """Features of the diffusion model at ``--feature-times``."""
    return _at(run, run.config.feature_times)


def swept(run: Run) -> Features:
    """The same at ``--sweep-times``."""
    return _at(run, run.config.sweep_times)


def _at(run: Run, shares: Shares) -> Features:
    config, path = run.config, PATHS[run.config.path]()
    net, times = network(config, seen_channels(run)), [time_at(path, share) for share in shares]
    return diffusion_features(net, path, times, config.feature_blocks, jax.random.key(config.seed))


def _classifier(run: Run) -> Net:
    return mlp(run.facts.class_count + 1, widths=run.config.classifier_widths)


def _options(run: Run, features: Callable[[Run], Features]) -> dict[str, Any]:
    apart = features is swept
    return {"members": len(run.config.sweep_times) if apart else run.config.classifiers, "apart": apart}


def classifying(name: str, features: Callable[[Run], Features]) -> StageSpec:
    """A stage that trains pixel classifiers on `pyramid`, `joined` or `swept` features."""

    def build(run: Run) -> Stage:
        config, frozen = run.config, {} if features is pyramid else run.params[DIFFUSION.name]["net"]
        options = {"pixels": config.pixels, **_options(run, features)}
        model: Model = pixel_classifiers(_classifier(run), features(run), frozen, **options)
        rate, steps = dataclasses.replace(config, learning_rate=config.pixel_rate), config.pixel_steps
        optimizers = {"classifiers": images.optimizer(rate, steps)}
        return Stage(name, model, optimizers, steps, prepare_tiles(config))

    return StageSpec(name, build)


def classified(run: Run, name: str, features: Callable[[Run], Features], label: str) -> Ensemble:
    """How the trained classifiers segment, each by itself a member."""
    draw = compiled_classifiers(_classifier(run), features(run), run.params[name], **_options(run, features))
    return Ensemble(name, label, draw, probability=True)
