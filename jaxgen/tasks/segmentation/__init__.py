"""Segmentation: masks drawn by a model given an image, one or many, compared with a deterministic U-Net's.

A recipe says how its method draws an `Ensemble` of maps; the U-Net is trained, and both are evaluated, here.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen import presets
from jaxgen.data import Subset
from jaxgen.data.folder import example_of
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Preview, Run, StageSpec
from jaxgen.figures import segmentation_classes as figures
from jaxgen.medical.segmentation.classes import described_classes
from jaxgen.medical.segmentation.segmenter import Ensemble
from jaxgen.medical.segmentation.uncertainty import described
from jaxgen.tasks.segmentation import baselines
from jaxgen.tasks.segmentation.data import (
    BASELINE,
    SegmentationConfig,
    SegmentationFacts,
    example_tiles,
    grid,
    load_masks,
    measure_masks,
    prepare_tiles,
    unet_options,
)
from jaxgen.tasks.segmentation.evaluation import Comparison, cases_of, examples_of, segmenter
from jaxgen.types import Key

__all__ = ["Comparison", "Ensemble", "SegmentationConfig", "experiment", "prepare_tiles", "unet_options"]

PREVIEWED = 4
"""Images that ``--evaluate-every`` segments."""
TRAINING = {"steps": 800, "batch_size": 8, "learning_rate": 2e-3, "warmup_steps": 50, "ema_decay": 0.99}
SMALL: presets.Changes = {**TRAINING, "checkpoint_every": 100, "log_every": 10}
WIDTHS = {"channels": (8,), "baseline_channels": (8, 14)}
EVALUATED = {"size": 64, "test_images": 4, "chunk": 4, "members": 3}
SMOKE: presets.Changes = {**presets.SMOKE, **WIDTHS, **EVALUATED, "batch_size": 2, "checkpoint_every": 2}
FULL: presets.Changes = {**presets.FULL, "precision": "bfloat16"}


make = functools.partial(presets.make, small=SMALL, smoke=SMOKE, full=FULL)


def experiment(
    *,
    config: type[SegmentationConfig],
    presets: Mapping[str, presets.Changes],
    stages: Sequence[StageSpec],
    method: Callable[[Run], Ensemble],
    **fields: Any,
) -> Experiment:
    """An experiment that segments; the deterministic U-Net is its first stage.

    Args:
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of the method.
        method: ``method(run)``, how the trained method draws.
        **fields: of `Experiment`: ``name``, ``summary``, ``data``, and those that differ from those of every
            segmentation, such as ``evaluate``.
    """
    shared: dict[str, Any] = {
        "load": load_masks,
        "measure": measure_masks,
        "facts": SegmentationFacts,
        "examples": example_tiles,
        "spatial_dims": lambda config: config.spatial,
        "evaluate": lambda run: Comparison(run, method(run)).evaluation(),
        "preview": lambda run: preview(run, method(run)) if stages[-1].name in run.params else None,
        "sample": lambda run, n: sampled(run, method(run), n),
        "apply": lambda run: applied(run, method(run)),
    }
    made = make(config, presets)
    return Experiment(
        presets=made, stages=(BASELINE, *baselines.STAGES, *stages), baseline=BASELINE.name, **shared | fields
    )


def preview(run: Run, method: Ensemble) -> Preview:
    """A few validation images while the method trains, and the Dice of both methods on them."""
    source = run.splits.validation
    cases = cases_of(run, method, Subset(source, range(min(len(source), PREVIEWED))))
    names = cases[0][0].predictions
    dice = {f"{name}/dice": float(np.mean([one.dice[name] for each in cases for one in each])) for name in names}
    return Preview(dice, figures.drawn_members(cases, method.name, run.facts.classes, raters=run.splits.rater_names))


def sampled(run: Run, method: Ensemble, n: int) -> Evaluation:
    """What ``jaxgen sample`` leaves: ensembles of n test images, from the first on and over again."""
    whole, test = segmenter(run, method), run.splits.test
    examples = list(examples_of(run, test, [i % len(test) for i in range(n)]))
    every = whole.maps(run.key, [example.image for example in examples])
    cases = [whole.case(example, None, maps) for example, maps in zip(examples, every, strict=True)]
    names = [f"_{name}" for name in run.facts.classes] or [""]
    arrays = {f"distance_{i}{name}": maps[..., k] for i, maps in enumerate(every) for k, name in enumerate(names)}
    drawn = {"samples": figures.drawn_members(cases[:8], method.name, run.facts.classes, raters=run.splits.rater_names)}
    counts = {"images": n, "members": run.config.members}
    return Evaluation(counts, drawn, f"{n} images segmented", arrays=arrays, images=tuple(arrays))


def applied(run: Run, method: Ensemble) -> Callable[[Key, Image], dict[str, np.ndarray]]:
    """What ``jaxgen apply`` finds in an image: mask, probability, uncertainty, and of one foreground the mean distance.

    It is on the grid of the image's file; the distance is in pixels of what the network sees.
    """
    whole = segmenter(run, method)._replace(chunk=4)

    def segment(key: Key, image: Image) -> dict[str, np.ndarray]:
        known, channels = run.facts.image_channels, image.array.shape[-1]
        if channels != known:
            raise UserError(f"the run was trained on {known} channels, this image has {channels}")
        seen, _ = grid(run).image(example_of(image), str(image.meta.get("path", "the image")))
        maps = whole.restore(whole.maps(key, [seen])[0], image.array.shape[:-1])
        if run.facts.classes:
            return described_classes(maps, run.facts.classes, whole.threshold)
        return described(maps[..., 0], whole.threshold, run.config.truncation)

    return segment
