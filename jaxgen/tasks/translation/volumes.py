"""Translation of volumes: by networks of slices, and by one that sees neighbouring slices; options, data, evaluation.

Volumes are ``[n, x, y, z, c]``; slices lie across the last axis.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.config import option
from jaxgen.data import Source, Splits, Subset
from jaxgen.data.domains import Held, load_domains
from jaxgen.data.slice_windows import SliceWindows
from jaxgen.data.source import ChangedSource, Example
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec
from jaxgen.families.volume_translation import volume_diffusion
from jaxgen.figures.editing import first_rows
from jaxgen.figures.volumes import middle
from jaxgen.metrics.image_quality import slice_jumps
from jaxgen.metrics.translation import intensity_levels
from jaxgen.tasks import images
from jaxgen.tasks.translation import data, diffusion
from jaxgen.tasks.translation.baselines import Translator, baselines, by_model
from jaxgen.tasks.translation.evaluation import DESCRIBE, TISSUES, to_show, to_truth
from jaxgen.train import Stage
from jaxgen.types import Model, Params

MOST_FITTED = 20
"""Training volumes that ranges are measured on and baselines fitted to."""
SLICES, SHARED, VOLUMETRIC = "2-D diffusion", "2-D, shared noise", "volumetric diffusion"
JUMPS = {
    "excess_jump": Metric("Excess jump", "", "of neighbouring slices beyond the true volumes', in percent of theirs"),
    "jump_reduction": Metric(
        "Reduction", "higher", "of the excess jump, either way, in percent of that of 2-D diffusion"
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeTranslationConfig(diffusion.DiffusionTranslationConfig):
    """The options of translating volumes; `size` is that of a slice, and `steps` are those of each 2-D network."""

    data: str = option(
        "contrast_volumes_phantom",
        "pairs of volumes: a name, a folder with source/ and target/, or an npz with sources and images",
        group="data",
    )
    depth: int = option(32, "slices of a volume; volumes are resized to --size, --size and this", ge=11, group="data")
    window: int = option(6, "consecutive slices that the volumetric layers are trained on", ge=2, group="data")
    volume_steps: int = option(150, "training steps of the volumetric layers", ge=1, group="training")
    test_images: int = option(8, "test volumes to evaluate at most, evenly spaced", ge=2, group="evaluation")
    chunk: int = option(64, "slices computed together", ge=1, le=4096, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.unpaired:
            raise UserError("--unpaired: volumes are learnt from pairs; leave it out, or take cross_modality")
        if self.slices:
            raise UserError("--slices: whole volumes are wanted here; leave it out")
        if self.window > self.depth:
            raise UserError(f"--window {self.window} is more slices than a volume has, --depth {self.depth}")

    @property
    def sides(self) -> tuple[int, ...]:
        """The shape that volumes are brought to."""
        return self.size, self.size, self.depth


def load(config: VolumeTranslationConfig) -> Splits:
    """Pairs of volumes."""
    return load_domains(config.data, seed=config.seed, reverse=config.reverse, spatial=3)


def measure(config: VolumeTranslationConfig, splits: Splits) -> data.TranslationFacts:
    """As of images; volumes with fewer slices than a window are refused."""
    slices = splits.train[0]["image"].shape[2]
    if slices < config.window:
        raise UserError(f"--data {config.data}: volumes of {slices} slices, too few for --window {config.window}")
    return data.measure(config, splits, MOST_FITTED)


class _Brought(ChangedSource):
    """Pairs of volumes at one size, a byte per value."""

    def __init__(self, run: Run, source: Source) -> None:
        super().__init__(source)
        self._run = run

    def __getitem__(self, i: int) -> Example:
        found = data.brought(self._run, Subset(self._source, [i]), dtype=np.uint8)
        return {name: found[name][0] for name in ("image", "source")}


def examples(run: Run, width: int | None = None) -> SliceWindows:
    """What training is fed: single slices, or windows of them; each volume is read once, when it is asked for."""
    return SliceWindows(Held(_Brought(run, run.splits.train)), run.config.depth, width)


def model(run: Run, base: Params | None = None) -> Model:
    """The diffusion model of volumes, upon the trained parameters of that of slices."""
    make = lambda depth: diffusion.network(run, slices=depth)  # noqa: E731
    return volume_diffusion(make, images.image_shape(run), diffusion.sampling(run), base=base)


def _build(run: Run) -> Stage:
    config = run.config
    optimizers = {"volumetric": images.optimizer(config, config.volume_steps)}
    trained = model(run, run.params["slices"]["net"])
    return Stage("volumes", trained, optimizers, config.volume_steps, data.prepare(config, axis=2))


STAGES = (
    diffusion.stage(name="slices"),
    StageSpec("volumes", _build, examples=lambda run: examples(run, run.config.window), reshapes=True),
)


def by_slices(one: Translator, name: str = "") -> Translator:
    """A translator of slices as one of volumes."""

    def translate(key: Any, volumes: np.ndarray) -> np.ndarray:
        slices = volumes.swapaxes(1, 3)
        found = one.run(key, slices.reshape(-1, *slices.shape[2:]))
        return found.reshape(*slices.shape[:-1], -1).swapaxes(1, 3)

    return Translator(name or one.name, translate)


def methods(run: Run) -> list[Translator]:
    """Diffusion of volumes, and of slices with noise of their own and with one for all."""
    together = dataclasses.replace(run.config, chunk=max(1, run.config.chunk // run.config.depth))
    whole = by_model(run._replace(config=together), "volumes", model(run))
    slices = functools.partial(by_model, run, "slices", diffusion.model(run))
    return [
        Translator(VOLUMETRIC, lambda key, x: whole.run(key, x.swapaxes(1, 3)).swapaxes(1, 3)),
        by_slices(slices(), SLICES),
        by_slices(slices(shared=True), SHARED),
    ]


def evaluated(run: Run, compared: Sequence[Translator]) -> Evaluation:
    """Test volumes by every method and baseline: pixels, and how far neighbouring slices are apart."""
    test, fitted = data.tested_pairs(run), data.brought(run, run.splits.train, MOST_FITTED)
    truth, seconds = test["image"], {}
    found: dict[str, np.ndarray] = {}
    levels = intensity_levels(fitted["image"], TISSUES) if truth.shape[-1] == 1 else None
    for one in (*map(by_slices, baselines(run, fitted)), *compared):
        began = time.perf_counter()
        found[one.name] = one.run(jax.random.fold_in(run.key, len(found)), test["source"])
        seconds[one.name] = {"s per volume": (time.perf_counter() - began) / len(truth)}
    excess = {name: 100 * (float(slice_jumps(x, truth, 2).mean()) - 1) for name, x in found.items()}
    metrics: dict[str, Any] = {
        name: to_truth(x, truth, levels, test.get("mask")) | {"excess_jump": excess[name]} for name, x in found.items()
    }
    for name in (SHARED, VOLUMETRIC):
        metrics[name]["jump_reduction"] = 100 * (1 - abs(excess[name] / excess[SLICES]))
    sets, some = {"source": test["source"], **found, "target": truth}, to_show(test)
    pictures = {
        "slices": (2, "The middle slice of test volumes."),
        "across_slices": (1, "A plane across the slices, where flicker is stripes."),
    }
    figures = {
        plane: first_rows({name: middle(x[some], axis) for name, x in sets.items()}, caption)
        for plane, (axis, caption) in pictures.items()
    }
    said = ", ".join(f"{name} {metrics[name]['psnr']:.2f} ({excess[name]:.1f} %)" for name in found)
    metrics["volumes"] = len(truth)
    headline = f"PSNR in dB (excess jump of slices): {said}."
    return Evaluation(metrics, figures, headline, {**DESCRIBE, **JUMPS}, timings=seconds)
