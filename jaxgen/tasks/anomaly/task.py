"""The builder of anomaly experiments: what they share, and what each of their presets changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxgen import presets as preset
from jaxgen.experiment import Evaluation, Experiment, Run, StageSpec
from jaxgen.medical.anomaly import Method
from jaxgen.tasks import images
from jaxgen.tasks.anomaly import data as anomaly_data
from jaxgen.tasks.anomaly.application import make_apply
from jaxgen.tasks.anomaly.references import STAGES as REFERENCES
from jaxgen.types import Model

SMALL: preset.Changes = {
    "path": "linear",
    "prediction": "x0",
    "batch_size": 8,
    "learning_rate": 1e-3,
    "warmup_steps": 50,
    "ema_decay": 0.995,
    "reference_steps": 500,
    "checkpoint_every": 250,
    "log_every": 20,
}
SMOKE: preset.Changes = {
    "steps": 4,
    "batch_size": 4,
    "size": 16,
    "channels": (8,),
    "phantoms": 40,
    "lesions": 4,
    "chosen_on": 4,
    "reference_steps": 0,
    "vae_steps": 0,
    "sampler_steps": 2,
    "classifier_steps": 4,
    "classifier_channels": (8,),
    "tuned_on": 4,
    "radii": (2.0, 8.0),
    "radius_images": 0,
    "chunk": 1,
    "checkpoint_every": 2,
    "log_every": 1,
}
FULL: preset.Changes = {
    **preset.FULL,
    "path": "linear",
    "prediction": "noise",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "radius_images": 0,
    "reference_steps": 67_200,
    "precision": "bfloat16",
}


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[anomaly_data.LesionConfig],
    presets: Mapping[str, preset.Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    methods: Callable[[Run], Sequence[Method]] | None = None,
    applied: str = "",
    references: Sequence[StageSpec] = REFERENCES,
    **others: Any,
) -> Experiment:
    """An experiment that finds anomalies; the learned references are its first stages.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of the method.
        evaluate: ``evaluate(run)``, with `jaxgen.tasks.anomaly.evaluation.Comparison`.
        methods: ``methods(run)``, those of the recipe, one of which is that of ``jaxgen apply``; None for no such.
        applied: the name of that method; the first one if not given.
        references: the stages of the learned references, which come first.
        **others: fields of `Experiment` that differ from those of every anomaly experiment.
    """
    fields: dict[str, Any] = {
        "load": anomaly_data.load,
        "measure": anomaly_data.measure,
        "facts": images.ImageFacts,
        "examples": anomaly_data.examples,
        "apply": methods and make_apply(methods, applied),
        "baseline": "pca-128",
        **others,
    }
    return Experiment(
        name=name,
        summary=summary,
        data=data,
        presets=preset.make(config, presets, small=SMALL, smoke=SMOKE, full=FULL),
        stages=(*references, *stages),
        evaluate=evaluate,
        **fields,
    )


def stage(name: str, model: Callable[[Run], Model], **options: Any) -> StageSpec:
    """A stage that trains on healthy images (`jaxgen.tasks.images.stage`)."""
    return images.stage(name, model, prepare=anomaly_data.prepare, **options)
