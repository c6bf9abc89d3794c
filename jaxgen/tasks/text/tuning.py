"""Fine-tuning: a generic model of images and text becomes one of radiographs, all of it or a part."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgen.config import option
from jaxgen.data import ArraySource, Splits
from jaxgen.data.captions import texts_of
from jaxgen.data.generated import load_generated
from jaxgen.data.options import Options
from jaxgen.experiment import Run, StageSpec
from jaxgen.families.lora import TARGETS, lora_model
from jaxgen.tasks import text
from jaxgen.train import Stage
from jaxgen.types import Model

MODES = {"unet": ("net",), "text": ("text",), "both": ("net", "text"), "lora": ("lora",)}
"""What each way of fine-tuning trains."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuningConfig(text.TextConfig):
    """The options of fine-tuning."""

    modes: tuple[str, ...] = option(tuple(MODES), "what is fine-tuned", choices=MODES, group="method")
    rank: int = option(8, "rank of the updates of lora", ge=1, group="method")
    lora_targets: str = option("attention", "layers that lora updates", choices=TARGETS, group="method")
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


def tuned_model(run: Run, mode: str) -> Model:
    """The model that a way of fine-tuning trains, from the generic parameters where there are some."""
    if mode == "lora":
        targets = TARGETS[run.config.lora_targets]
        return lora_model(text.model_of_codes(run), run.config.rank, groups=("net", "text"), targets=targets)
    return text.model_of_codes(run, MODES[mode])


def _tuning(mode: str) -> StageSpec:
    def build(run: Run) -> Stage:
        return text.tuning_stage(mode, tuned_model(run, mode), run, run.config.tuning_rate, text.prepare(run))

    def wanted(config: Any) -> bool:
        return mode in config.modes

    return StageSpec(mode, build, wanted, examples=text.codes)


STAGES = (*text.generic_stages(mixture, shapes), *map(_tuning, MODES))


def drawing(run: Run, stage: str, *, exactly: bool = False) -> Callable[..., np.ndarray]:
    """Images of prompts by the generic model, or by one of `MODES` made of it."""
    model = text.make_model(run) if stage == "generic" else tuned_model(run, stage)
    return text.drawing(run, stage, model, exactly=exactly)
