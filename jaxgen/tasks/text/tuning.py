"""Fine-tuning: a generic model of images and text becomes one of radiographs, all of it or a part."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Splits
from jaxgen.data.captions import texts_of
from jaxgen.data.generated import load_generated
from jaxgen.data.options import Options
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import scaled_codes_model
from jaxgen.families.lora import lora_model
from jaxgen.tasks import images, latent, text
from jaxgen.train import Stage
from jaxgen.types import Batch, Key, Model, Params

MODES = {"unet": ("net",), "text": ("text",), "both": ("net", "text"), "lora": ("lora",)}
"""What each way of fine-tuning trains."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig(text.TextConfig):
    """The options of fine-tuning."""

    modes: tuple[str, ...] = option(tuple(MODES), "what is fine-tuned", choices=MODES, group="method")
    rank: int = option(8, "rank of the updates of lora", ge=1, group="method")
    tuning_steps: int = option(2000, "training steps of each way of fine-tuning", ge=1, group="training")
    tuning_rate: float = option(5e-4, "its peak learning rate", gt=0, le=10, group="training")


def generic(config: TuningConfig) -> Splits:
    """The generic images with their captions: shapes, computed."""
    wants = ("image", "text")
    return load_generated(f"shapes_phantom/{max(16, config.size)}", Options(seed=config.seed, wants=wants))


def measure(config: TuningConfig, splits: Splits) -> text.TextFacts:
    """Facts of the radiographs; the words are those of the generic captions too."""
    return text.measure(config, splits, texts_of(generic(config).train))


def shapes(run: Run) -> ArraySource:
    """The generic training images with their captions."""
    return text.captioned(run, generic(run.config).train)


def mixture(run: Run) -> ArraySource:
    """What the autoencoder learns from: both kinds of images."""
    parts = (text.examples(run).arrays, shapes(run).arrays)
    return ArraySource({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def tuned_model(run: Run, mode: str, base: Params | None = None) -> Model:
    """The model that a way of fine-tuning trains.

    Args:
        run: the run.
        mode: one of `MODES`.
        base: the parameters that it starts from; None for random ones.
    """
    groups = MODES[mode]
    if mode == "lora":
        return lora_model(scaled_codes_model(text.make_model(run)), run.config.rank, base=base, groups=("net", "text"))

    def init(key: Key, batch: Batch) -> Params:
        return base

    model = scaled_codes_model(text.make_model(run, groups))
    return model if base is None else model._replace(init=init)


def _tuning(mode: str) -> StageSpec:
    def build(run: Run) -> Stage:
        config = run.config
        model = tuned_model(run, mode, run.params["generic"])
        slower = dataclasses.replace(config, learning_rate=config.tuning_rate)
        optimizers = dict.fromkeys(MODES[mode], images.optimizer(slower, config.tuning_steps))
        return Stage(mode, model, optimizers, config.tuning_steps, text.prepare(run))

    def wanted(config: Any) -> bool:
        return mode in config.modes

    return StageSpec(mode, build, wanted, examples=text.codes)


def _generic(run: Run) -> Stage:
    return text.build(run)._replace(name="generic")


STAGES = (
    images.stage(
        "autoencoder", latent.autoencoder_model, steps="autoencoder_steps", groups=("encoder", "decoder")
    )._replace(examples=mixture),
    StageSpec("generic", _generic, examples=lambda run: text.codes(run, shapes(run))),
    *map(_tuning, MODES),
)


def drawing(run: Run, stage: str, *, exactly: bool = False) -> Callable[..., np.ndarray]:
    """Images of prompts by the generic model, or by one of `MODES` made of it."""
    model = text.make_model(run) if stage == "generic" else tuned_model(run, stage)
    return text.drawing(run, stage, model, exactly=exactly)


def trained_share(run: Run, mode: str) -> float:
    """The parameters that a way of fine-tuning trains, as a share of those of both networks."""
    params = run.params[mode]

    def count(*groups: str) -> int:
        return sum(leaf.size for group in groups for leaf in jax.tree.leaves(params[group]))

    return count(*MODES[mode]) / count("net", "text")
