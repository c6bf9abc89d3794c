"""Options, data and facts of the experiments in which drawn images train a classifier."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.config import option
from jaxgen.data import Splits
from jaxgen.data.covariates import covariates_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Run, StageSpec
from jaxgen.presets import FULL as FULL_RUN
from jaxgen.presets import SMOKE as SMOKE_RUN
from jaxgen.presets import Changes, make
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, images

MOST_GROUPS = 32
Shares = tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthesisConfig(diffusion.DiffusionConfig):
    """The options of generators whose images train a classifier."""

    data: str = option(
        "skin_phantom/32", "data: a name, a folder with a subfolder per class, or a .npz with labels", group="data"
    )
    size: int = option(32, "pixels along one side; images are resized", ge=8, le=2048, group="data")
    attribute: str = option(
        "", "the covariate that groups images, such as hospital or sex; it has few values (empty: none)", group="data"
    )
    labelled: int = option(
        0, "training images whose labels are known, the others are learnt from without (0: all)", ge=0, group="data"
    )
    drop_part: float = option(0.1, "share of labels, and of groups, that training hides", ge=0, lt=1, group="method")
    guidance: float = option(2.0, "scale of classifier-free guidance; 1 is none", ge=0, group="sampling")
    sampler: str = option("dpm_solver_2m", "how images are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(20, "steps from noise to image", ge=1, le=10_000, group="sampling")
    drawn: int = option(2000, "images that are drawn for the classifiers", ge=2, group="evaluation")
    classifier_steps: int = option(400, "training steps of each classifier", ge=1, group="evaluation")
    classifier_seeds: int = option(5, "classifiers of each kind", ge=1, group="evaluation")
    shares: Shares = option(
        (0.25, 0.5, 0.75),
        "shares of drawn images in a batch to choose from on validation data",
        gt=0,
        lt=1,
        group="method",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthesisFacts(images.ImageFacts):
    """What drawing must know of the data.

    Attributes:
        groups: the values of the attribute in the training data, empty without one.
        several: whether an image may show several of the classes.
    """

    groups: tuple[str, ...] = ()
    several: bool = False


def load(config: SynthesisConfig) -> Splits:
    """Images with their class, or with several findings, and the attribute if one is named."""
    splits = images.open_images(config, ("image",), ("label", "labels", "covariates"))
    where, first = f"--data {config.data}", next(part[0] for part in splits[:3] if len(part))
    if "label" not in first and "labels" not in first:
        raise UserError(
            f"{where}: has no classes; give an npz with labels, or a folder with a subfolder for each class"
        )
    if config.attribute and config.attribute not in splits.covariate_names:
        there = ", ".join(splits.covariate_names) or "none"
        raise UserError(f"--attribute {config.attribute}: {where} has no such covariate (there are: {there})")
    return splits


def measure(config: SynthesisConfig, splits: Splits) -> SynthesisFacts:
    """The range of the values, the classes, and the values of the attribute."""
    known = images.measure_images(config, splits)
    groups: tuple[str, ...] = ()
    if config.attribute:
        values = np.unique(attribute_of(config, splits, splits.train))
        if len(values) > MOST_GROUPS:
            raise UserError(
                f"--attribute {config.attribute} has {len(values)} values, at most {MOST_GROUPS} make groups; number "
                "ranges of it in the data"
            )
        groups = tuple(f"{value:g}" for value in values)
    several = "labels" in splits.train[0]
    return SynthesisFacts(**{**dataclasses.asdict(known), "groups": groups, "several": several})


def attribute_of(config: SynthesisConfig, splits: Splits, source: Any) -> np.ndarray:
    """The value of the attribute of each example ``[n]``."""
    values = covariates_of(source)[:, splits.covariate_names.index(config.attribute)]
    if np.isnan(values).any():
        raise UserError(
            f"--attribute {config.attribute}: {int(np.isnan(values).sum())} of {len(values)} images have no value; "
            "leave those images out, or give them a number of their own"
        )
    return values


SMALL: Changes = {
    "channels": (32, 64),
    "attention": (1,),
    "steps": 2000,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "ema_decay": 0.995,
    "checkpoint_every": 250,
    "log_every": 20,
}
SMOKE: Changes = {
    **SMOKE_RUN,
    "size": 16,
    "channels": (8,),
    "attention": None,
    "labelled": 60,
    "sampler_steps": 2,
    "drawn": 12,
    "classifier_steps": 2,
    "classifier_seeds": 2,
    "shares": (0.5,),
}
FULL: Changes = {**FULL_RUN, "precision": "bfloat16", "drawn": 50_000, "classifier_steps": 20_000}


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[SynthesisConfig],
    presets: Mapping[str, Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    **others: Any,
) -> Experiment:
    """An experiment whose drawn images train a classifier.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the generators.
        evaluate: ``evaluate(run)``.
        **others: fields of `Experiment` that differ from those of every image experiment.
    """
    fields: dict[str, Any] = {**images.OF_IMAGES, "load": load, "measure": measure, "facts": SynthesisFacts, **others}
    made = make(config, presets, small=SMALL, smoke=SMOKE, full=FULL)
    return Experiment(name, summary, data, made, stages=stages, evaluate=evaluate, **fields)
