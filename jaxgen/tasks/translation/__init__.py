"""Translation: images of one kind from images of another, compared with maps of intensities and a plain U-Net.

A recipe trains its methods and says how each translates; data, baselines, metrics, figures and ``jaxgen apply`` are
here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen import presets as preset
from jaxgen.data.image import Image
from jaxgen.data.square import to_square
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Run, StageSpec
from jaxgen.figures.editing import first_rows
from jaxgen.presets import Changes
from jaxgen.tasks.translation import data
from jaxgen.tasks.translation.baselines import UNET, Translator, by_model, network
from jaxgen.tasks.translation.data import TranslationConfig
from jaxgen.tasks.translation.evaluation import Comparison, View
from jaxgen.types import Key

__all__ = ["Comparison", "TranslationConfig", "Translator", "by_model", "experiment", "network"]

TRAINING = {"steps": 1500, "batch_size": 8, "learning_rate": 1e-3, "warmup_steps": 50, "ema_decay": 0.99}
SMALL: Changes = {**TRAINING, "checkpoint_every": 250, "log_every": 20}
SMOKE: Changes = {
    **preset.SMOKE,
    "data": "contrast_phantom/16",
    "size": 16,
    "channels": (8,),
    "attention": None,
    "test_images": 8,
    "sampler_steps": 3,
    "chunk": 8,
}
FULL: Changes = {**preset.FULL, "precision": "bfloat16", "test_images": 1000}


def experiment(
    *,
    config: type[TranslationConfig],
    presets: Mapping[str, Changes],
    stages: Sequence[StageSpec],
    methods: Callable[[Run], Sequence[Translator]],
    baseline: StageSpec = UNET,
    **fields: Any,
) -> Experiment:
    """An experiment that translates; its first stage is the network of regression that the others are compared with.

    Args:
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of the methods.
        methods: ``methods(run)``, those that are trained; ``jaxgen apply`` and ``jaxgen sample`` take the first.
        baseline: the stage of that network.
        **fields: of `Experiment`: ``name``, ``summary``, ``data``, and those that differ from those of every
            translation.
    """
    shared: dict[str, Any] = {
        "load": data.load,
        "measure": data.measure,
        "facts": data.TranslationFacts,
        "examples": data.examples,
        "evaluate": lambda run: Comparison(run, methods(run)).evaluation(),
        "sample": lambda run, n: sampled(run, methods(run)[0], n),
        "apply": lambda run: applied(run, methods(run)[0]),
        "baseline": baseline.name,
    }
    made = preset.make(config, presets, small=SMALL, smoke=SMOKE, full=FULL)
    return Experiment(presets=made, stages=(baseline, *stages), **shared | fields)


def sampled(run: Run, method: Translator, n: int, view: View = lambda x: x) -> Evaluation:
    """What ``jaxgen sample`` leaves: n test images translated, from the first on and over again.

    The figure shows their `view`, such as the middle slice of volumes.
    """
    test = data.tested_pairs(run)
    chosen = np.arange(n) % len(test["source"])
    sources = test["source"][chosen]
    translated = method.run(run.key, sources)
    arrays = {"source": sources, "translated": translated}
    pictures = {"source": view(sources), method.name: view(translated)}
    drawn = {"samples": first_rows(pictures, f"Test images, by {method.name}.")}
    return Evaluation({"images": n}, drawn, f"{n} images translated", arrays=arrays, images=("translated",))


def applied(run: Run, method: Translator) -> Callable[[Key, Image], dict[str, np.ndarray]]:
    """What ``jaxgen apply`` makes of an image of the kind of the sources: ``translated``, in raw values of the targets.

    Of targets with several channels there is one ``translated-0``, ``translated-1``, ... for each.
    """
    facts, size = run.facts, run.config.sides
    low, high = (np.asarray(bound, np.float32) for bound in facts.source_range)
    to_low, to_high = (np.asarray(bound, np.float32) for bound in facts.value_range)

    def translate(key: Key, image: Image) -> dict[str, np.ndarray]:
        raw = np.asarray(image.array)
        if raw.shape[-1] != facts.source_channels:
            raise UserError(f"the run translates {facts.source_channels} channels, this image has {raw.shape[-1]}")
        x, back = to_square(raw, size, low, high)
        found = (method.run(key, np.clip(x, -1, 1)[None])[0] + 1) / 2 * (to_high - to_low) + to_low
        several = found.shape[-1] > 1
        return {f"translated-{k}" if several else "translated": back(found[..., k]) for k in range(found.shape[-1])}

    return translate
