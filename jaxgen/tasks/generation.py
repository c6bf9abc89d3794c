"""Generation: images drawn by a model, compared with real ones and with those of a Gaussian fitted to the same images.

Sets of images are compared in features (`jaxgen.tasks.features`), and in pixels with the training images, which samples
should resemble and not copy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.baselines import gaussian_images
from jaxgen.config import RunConfig
from jaxgen.data import Everything, most_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, Preview, Run, StageSpec, chosen_number
from jaxgen.figures import grid as draw_grid
from jaxgen.figures import rows as draw_rows
from jaxgen.figures.samples import neighbours
from jaxgen.headings import OF_SETS
from jaxgen.metrics.sample_sets import FeatureExtractor, RealSet, SampleSets, cut, distances, joined
from jaxgen.presets import FULL as FULL_RUN
from jaxgen.presets import SMOKE as SMOKE_RUN
from jaxgen.presets import Changes, make
from jaxgen.tasks import features, images
from jaxgen.types import Array, Key, Model, Params

MOST_TRAIN = 5000
LEAST = 4
"""Images that make a set: precision and recall ask for the third nearest neighbour of each."""

SMALL: Changes = {
    "steps": 2000,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "ema_decay": 0.995,
    "checkpoint_every": 250,
    "log_every": 20,
}
SMOKE: Changes = {
    **SMOKE_RUN,
    "data": "brain_phantom/16",
    "size": 16,
    "channels": (8,),
    "attention": None,
    "samples": 16,
    "chunk": 16,
    "sampler_steps": 3,
    "feature_steps": 6,
    "feature_channels": (8,),
}
FULL: Changes = {**FULL_RUN, "samples": 10_000, "feature_steps": 10_000, "precision": "bfloat16"}
PREVIEWED = 64
"""Images drawn while a run trains, if it is told to evaluate then."""
DEFAULTS = {"small": SMALL, "smoke": SMOKE, "full": FULL}


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[RunConfig],
    presets: Mapping[str, Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    draw: Callable[[Run, Key, int], np.ndarray] | None = None,
    caption: str = "Images drawn by the model.",
    defaults: Mapping[str, Changes] = DEFAULTS,
    **others: Any,
) -> Experiment:
    """An experiment that draws images; the feature extractor is its first stage.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration, a `jaxgen.tasks.features.FeatureConfig`.
        presets: what each preset changes (`jaxgen.presets.make`).
        stages: the stages of the method.
        evaluate: ``evaluate(run)``, most of the time `Comparison` and its ``evaluation``.
        draw: ``draw(run, key, n) -> images``, for ``jaxgen sample``; None if `sample` says otherwise.
        caption: of those images.
        defaults: what each preset changes in all experiments of the task.
        **others: fields of `Experiment` that differ from those of every image experiment.
    """
    if draw is not None:
        others.setdefault("sample", lambda run, n: sampled(draw(run, run.key, n), caption))
        others.setdefault("preview", lambda run: preview(run, draw) if stages[0].name in run.params else None)
    fields: dict[str, Any] = {
        **images.OF_IMAGES,
        "baseline": "gaussian",
        **others,
    }
    return Experiment(
        name=name,
        summary=summary,
        data=data,
        presets=make(config, presets, **defaults),
        stages=(features.STAGE, *stages),
        evaluate=evaluate,
        **fields,
    )


def preview(run: Run, draw: Callable[[Run, Key, int], np.ndarray]) -> Preview:
    """Samples while the first stage of a method trains and after it, and their distances to validation images."""
    extract, n = features.Features(run), min(PREVIEWED, run.config.samples)
    real = images.real_images(run, run.splits.validation, n)["image"]
    drawn = draw(run, run.key, n)
    return Preview(distances(extract, extract(real), drawn), drawn[:16])


class RealImages:
    """The real images that samples are compared with, a `jaxgen.metrics.sample_sets.RealSet`.

    At most 5000 training images; of test and validation images (of other data, of all test images) at most
    ``config.samples``, and as many samples are to be drawn, ``count``. `UserError` if these are too few.
    """

    def __init__(self, run: Run, extract: FeatureExtractor) -> None:
        config, splits = run.config, run.splits
        self.extract: FeatureExtractor = extract
        self.train = images.real_images(run, splits.train, MOST_TRAIN)["image"]
        unseen = (splits.test,) if isinstance(config.data, Everything) else (splits.test, splits.validation)
        parts = [images.real_images(run, part) for part in unseen]
        held_out = np.concatenate([part["image"] for part in parts])
        self.count = min(most_of(config.data, config.samples) or len(held_out), len(held_out))
        if self.count < LEAST:
            few = "1 image is" if self.count == 1 else f"{self.count} images are"
            raise UserError(f"--data {config.data}: {few} too few for a set; {LEAST} are the least")
        self.held_out = held_out[: self.count]
        has_labels = bool(run.facts.classes) and all("label" in part for part in parts)
        self.label = np.concatenate([part["label"] for part in parts])[: self.count] if has_labels else None
        self.train_features = extract(self.train)


class Comparison(SampleSets):
    """Sets of samples, a fitted Gaussian's and held-out images, with the metrics of each.

    Args:
        run: the run.
        draw: ``draw(n)``, n images of each method by its name; the first is the model's own.
        gaussian: add images of a Gaussian fitted to the training images.
        real: the real images, where they are at hand.
        picture: what is shown of examples ``[n, ...]`` as images ``[n, h, w, c]``, such as slices of volumes.
    """

    def __init__(
        self,
        run: Run,
        draw: Callable[[int], Mapping[str, np.ndarray]],
        *,
        gaussian: bool = True,
        real: RealSet | None = None,
        picture: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    ) -> None:
        self.picture = picture
        real = real or RealImages(run, features.Features(run))
        sets = dict(draw(real.count))
        if gaussian:
            sets["gaussian"] = gaussian_images(real.train, real.count, run.config.seed)
        super().__init__(real, sets)

    def evaluation(
        self,
        *,
        shown: str = "",
        caption: str = "Images drawn by the model.",
        metrics: Mapping[str, Any] = {},
        figures: Mapping[str, Figure] = {},
        headline: str = "",
        describe: Mapping[str, Metric] = {},
        chosen: Mapping[str, Any] = {},
    ) -> Evaluation:
        """The evaluation, with what a recipe adds to it.

        Args:
            shown: the set whose images are shown; the first if not given.
            caption: of those images.
            metrics: more metrics, by method or of the whole.
            figures: more figures; one called ``samples``, ``compared`` or ``neighbours`` replaces the one made here.
            headline: the result in a sentence; by default the Frechet distances.
            describe: how to show the added metrics; these come first.
            chosen: settings chosen on validation data.
        """
        shown = shown or next(iter(self.sets))
        merged = joined(self.metrics, metrics, {"images": self.real.count})
        made = {
            "samples": draw_grid(self.picture(self.sets[shown][:40]), caption),
            "compared": draw_rows(
                {name: self.picture(x[:8]) for name, x in self.sets.items()}, "Samples, baseline, and real test images."
            ),
            "neighbours": neighbours(self.sets[shown][:8], self.real.train, self.picture),
            **figures,
        }
        return Evaluation(merged, made, headline or self.headline(shown), {**describe, **OF_SETS}, chosen=chosen)


def drawing(
    run: Run,
    stage: str,
    model: Model,
    *,
    finish: Callable[[Array], Array] = cut,
    labels: Callable[[int], np.ndarray | None] = lambda n: None,
) -> Callable[..., np.ndarray]:
    """Images drawn by a trained model.

    Args:
        run: the run.
        stage: the stage that trained the model.
        model: the model.
        finish: what its samples become, images in [-1, 1].
        labels: the classes ``[n]`` to draw where none are asked for.

    Returns:
        ``draw(key, n, label=None, **settings) -> [n, h, w, c]``: the key is one key or ``[n]``; label ``[n]`` and
        settings are those of ``model.sample``, which is compiled once for all their values.
    """

    @jax.jit
    def some(params: Params, settings: Mapping[str, float], keys: Key, label: Array | None = None) -> Array:
        return finish(model.sample(params, keys, len(keys), label, **settings))

    def draw(key: Key, n: int, label: np.ndarray | None = None, **settings: float) -> np.ndarray:
        keys = key if key.ndim else jax.random.split(key, n)
        label = labels(n) if label is None else label
        arrays = (keys,) if label is None else (keys, label)
        return images.in_chunks(
            lambda *arrays: some(run.params[stage], settings, *arrays), n, run.config.chunk, *arrays
        )

    return draw


def frechet_on_validation(
    run: Run,
    name: str,
    settings: Sequence[float],
    draw: Callable[..., np.ndarray],
    extract: FeatureExtractor,
) -> dict[float, float]:
    """The Frechet distance to the validation images of images drawn with each setting, the best setting first.

    On other data the only setting is the one that the run's own evaluation chose.

    Args:
        run: the run; ``config.samples`` images are drawn.
        name: of the setting in ``run.chosen``.
        settings: what to choose from.
        draw: ``draw(key, n, **{name: setting}) -> images``, such as `drawing`.
        extract: the feature extractor.
    """
    if isinstance(run.config.data, Everything) and name in run.chosen:
        settings = (chosen_number(run, name, default=settings[0]),)
    key, n = jax.random.key(run.config.seed), run.config.samples
    known = extract(images.real_images(run, run.splits.validation, n)["image"])
    found = {setting: distances(extract, known, draw(key, n, **{name: setting}))["frechet"] for setting in settings}
    return dict(sorted(found.items(), key=lambda item: item[1] if np.isfinite(item[1]) else np.inf))


def sampled(
    drawn: np.ndarray, caption: str, label: np.ndarray | None = None, classes: Sequence[str] = ()
) -> Evaluation:
    """What ``jaxgen sample`` leaves of images ``[n, h, w, c]``: a figure of the first of them, and the arrays."""
    n, arrays = len(drawn), {"images": drawn}
    if label is not None:
        arrays |= {"label": label, "label_names": np.array(list(classes))}
    shown = {"samples": draw_grid(drawn[:64], caption)}
    return Evaluation({"images": n}, shown, f"{n} images", arrays=arrays, images=("images",))
