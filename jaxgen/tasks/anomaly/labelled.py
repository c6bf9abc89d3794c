"""Weak labels: images of which it is known whether they are ill, and not where."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.data import ArraySource, Source, Splits
from jaxgen.data.phantoms import labelled_slices
from jaxgen.experiment import Run, StageSpec
from jaxgen.medical.anomaly import Bench
from jaxgen.tasks import images
from jaxgen.tasks.anomaly import data, evaluation
from jaxgen.tasks.anomaly.references import STAGES
from jaxgen.train import Stage
from jaxgen.types import Array, Batch, Info, Key, Params

HEALTHY, ILL, NULL = 0, 1, 2
"""The labels that networks are told; the last is that of dropped labels."""
KINDS = ("L1", "L4")
"""The lesions that ill phantoms have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyFacts(images.ImageFacts):
    """What is known of labelled images.

    Attributes:
        healthy: the number of the class of healthy images.
    """

    healthy: int


def load(config: data.AnomalyConfig) -> Splits:
    """Healthy and ill images in every split.

    Raises:
        UserError: if the data have no labels, or none of the healthy.
    """
    if config.data == data.PHANTOM:
        parts = enumerate(data.counts(config))
        return data.phantom_splits(*(labelled_slices(4 * config.seed + k, n, config.size, KINDS) for k, n in parts))
    opened = images.open_images(config, ("image", "label"), ("mask",), config.foreground)
    splits = data.held_out(config, opened)
    data.check_healthy(config, splits)
    return splits


def measure(config: data.AnomalyConfig, splits: Splits) -> AnomalyFacts:
    """The facts of the images, and which class is that of the healthy."""
    facts, phantom = data.measure(config, splits), config.data == data.PHANTOM
    return AnomalyFacts(**vars(facts), healthy=0 if phantom else splits.label_names.index(config.healthy))


def prepared(run: Run, source: Source) -> dict[str, np.ndarray]:
    """``image [n, h, w, c]`` in [-1, 1], with ``label [n]``, `HEALTHY` or `ILL`."""
    arrays = data.prepared(run, source)
    ill = arrays["label"] if isinstance(source, data.Drawn) else arrays["label"] != run.facts.healthy
    return {"image": arrays["image"], "label": ill.astype(np.int32)}


def examples(run: Run) -> ArraySource:
    """What training is fed: images and labels."""
    return ArraySource(prepared(run, run.splits.train))


def make_bench(run: Run) -> Bench:
    """The images of an evaluation; baselines and settings see healthy ones alone."""
    splits = (prepared(run, part) for part in (run.splits.train, run.splits.validation))
    train, validation = (part["image"][part["label"] == HEALTHY] for part in splits)
    if run.config.data == data.PHANTOM:
        return evaluation.phantom_bench(run.config, train, validation, KINDS)
    test = prepared(run, run.splits.test)
    return evaluation.labelled_bench(run.config, train, validation, test["image"], test["label"] == ILL)


def _of_healthy(spec: StageSpec) -> StageSpec:
    def build(run: Run) -> Stage:
        stage = spec.build(run)
        (objective,) = stage.model.objectives

        def loss(params: Params, key: Key, batch: Batch) -> tuple[Array, Info]:
            value, info = objective.loss(params, key, batch)
            return jnp.where(batch["label"] == HEALTHY, value, 0), info

        return stage._replace(model=stage.model._replace(objectives=(objective._replace(loss=loss),)))

    return spec._replace(build=build)


EXPERIMENT: dict[str, Any] = {
    "load": load,
    "measure": measure,
    "facts": AnomalyFacts,
    "examples": examples,
    "references": [_of_healthy(spec) for spec in STAGES],
}
"""What an experiment on labelled images says of its data; references learn from healthy images alone."""
