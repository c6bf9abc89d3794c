"""Generation: images drawn by a model, compared with real ones and with those of a Gaussian fitted to the same images.

Sets of images are compared in the features of a classifier that the run trains (`jaxgen.tasks.features`), and in pixels
with the training images, which samples should resemble and not copy.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import figures
from jaxgen.baselines import gaussian_images
from jaxgen.config import RunConfig, nearest
from jaxgen.data import Everything, most_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, Run, StageSpec, chosen_number
from jaxgen.metrics import (
    copying_test,
    density_coverage,
    frechet_distance,
    kernel_distance,
    memorisation_ratio,
    nearest_neighbours,
    precision_recall,
    within_class_distance,
)
from jaxgen.tasks import features, images, presets
from jaxgen.types import Array, Key, Model, Params

MOST_TRAIN = 5000
LEAST = 4
"""Images that make a set: precision and recall ask for the third nearest neighbour of each."""
NAN = float("nan")

SMALL: presets.Changes = {
    "steps": 2000,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 100,
    "ema_decay": 0.995,
    "checkpoint_every": 250,
    "log_every": 20,
}
SMOKE: presets.Changes = {
    **presets.SMOKE,
    "size": 16,
    "channels": (8, 12),
    "attention": (1,),
    "samples": 16,
    "chunk": 16,
    "sampler_steps": 3,
    "feature_steps": 6,
    "feature_channels": (8,),
}
FULL: presets.Changes = {**presets.FULL, "samples": 10_000, "feature_steps": 10_000, "precision": "bfloat16"}
DEFAULTS = {"small": SMALL, "smoke": SMOKE, "full": FULL}


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[RunConfig],
    presets: Mapping[str, presets.Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    draw: Callable[[Run, Key, int], np.ndarray] | None = None,
    caption: str = "Images drawn by the model.",
    defaults: Mapping[str, presets.Changes] = DEFAULTS,
    **others: Any,
) -> Experiment:
    """An experiment that draws images; the feature extractor is its first stage.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration, a `jaxgen.tasks.features.FeatureConfig`.
        presets: what each preset changes (`jaxgen.tasks.presets.make`).
        stages: the stages of the method.
        evaluate: ``evaluate(run)``, with `compare` most of the time.
        draw: ``draw(run, key, n) -> images``, for ``jaxgen sample``; None if `sample` says otherwise.
        caption: of those images.
        defaults: what each preset changes in all experiments of the task.
        **others: fields of `Experiment` that differ from those of every image experiment.
    """
    if draw is not None:
        others.setdefault("sample", lambda run, n: sampled(draw(run, run.key, n), caption))
    fields: dict[str, Any] = {
        "load": images.load_images,
        "measure": images.measure_images,
        "facts": images.ImageFacts,
        "examples": images.example_images,
        "baseline": "gaussian",
        **others,
    }
    return Experiment(
        name=name,
        summary=summary,
        data=data,
        presets=make_presets(config, presets, defaults),
        stages=(features.STAGE, *stages),
        evaluate=evaluate,
        **fields,
    )


def make_presets(
    config: type[RunConfig], changes: Mapping[str, presets.Changes], defaults: Mapping[str, presets.Changes] = DEFAULTS
) -> dict[str, RunConfig]:
    """The presets of an experiment that draws images."""
    return presets.make(config, changes, **defaults)


class RealImages:
    """The real images that samples are compared with.

    Attributes:
        extract: the feature extractor.
        train: training images ``[n, h, w, c]`` in [-1, 1], at most 5000.
        train_features: their features.
        held_out: test and validation images, as many as samples are drawn; of other data all test images.
        label: the classes of the held-out images, or None.
        count: how many samples to draw: as many as there are held-out images, ``config.samples`` at most.

    Raises:
        UserError: if there are too few held-out images.
    """

    def __init__(self, run: Run, extract: features.Features) -> None:
        config, splits = run.config, run.splits
        self.extract = extract
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


class Comparison:
    """Sets of samples, a fitted Gaussian's and held-out images, with the metrics of each.

    Args:
        run: the run.
        draw: ``draw(n)``, n images of each method by its name.
        gaussian: add images of a Gaussian fitted to the training images.
        real: the real images, where they are at hand.

    Attributes:
        run: the run.
        extract: the feature extractor.
        real: the real images.
        sets: images ``[n, h, w, c]`` by the name of their method; the first is the model's own.
        metrics: the metrics of each set.
    """

    def __init__(
        self,
        run: Run,
        draw: Callable[[int], Mapping[str, np.ndarray]],
        *,
        gaussian: bool = True,
        real: RealImages | None = None,
    ) -> None:
        self.run, self.real = run, real or RealImages(run, features.Features(run))
        self.extract = self.real.extract
        self.sets = dict(draw(self.real.count))
        if gaussian:
            self.sets["gaussian"] = gaussian_images(self.real.train, self.real.count, run.config.seed)
        self.sets["held-out images"] = self.real.held_out
        self.metrics = {name: self.score(samples) for name, samples in self.sets.items()}

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """The metrics of a set: in features, and in pixels how near it is to the training images."""
        found = self.fidelity(samples)
        if diverged(samples):
            return found | {"neighbour_ratio": NAN, "copying": NAN}
        pixels = _flat(samples), _flat(self.real.train), _flat(self.real.held_out)
        return found | {"neighbour_ratio": memorisation_ratio(*pixels), "copying": copying_test(*pixels).closer}

    def fidelity(self, samples: np.ndarray) -> dict[str, float]:
        """Metrics of a set against the training images, in features.

        Where samples diverged all are NaN, and ``diverged`` is the share that did.
        """
        known, found = self.real.train_features, self.extract(samples)
        share = max(diverged(samples), diverged(found))
        if share:
            return dict.fromkeys(("frechet", "kernel", "precision", "recall", "coverage"), NAN) | {"diverged": share}
        precision, recall = precision_recall(known, found)
        _, coverage = density_coverage(known, found)
        return {
            "frechet": float(frechet_distance(known, found)),
            "kernel": float(kernel_distance(known, found).value),
            "precision": float(precision),
            "recall": float(recall),
            "coverage": float(coverage),
        }

    def accuracy(self, samples: np.ndarray, label: np.ndarray) -> float:
        """The share of samples that the classifier takes for their class; NaN if any diverged."""
        return NAN if diverged(samples) else float(np.mean(self.extract.classes(samples) == label))

    def of_classes(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Accuracy and diversity of each set: of samples of the classes ``[n]``, and of held-out images."""
        found = {}
        for name, samples in self.sets.items():
            known = self.real.label if name == "held-out images" else label
            assert known is not None  # data without labels were refused
            several = np.bincount(known).max() > 1
            found[name] = {
                "accuracy": self.accuracy(samples, known),
                "diversity": within_class_distance(self.extract(samples), known) if several else 0.0,
            }
        return found

    def neighbours(self, samples: np.ndarray) -> Figure:
        """Samples above the training images nearest to them."""
        _, index = nearest_neighbours(_flat(np.nan_to_num(samples)), _flat(self.real.train))
        drawn = {"sample": samples, "nearest training image": self.real.train[index]}
        caption = "Samples, and the training image nearest to each in pixels: they should not be copies."
        return figures.rows(drawn, caption)

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
            figures: more figures, or others under the same names.
            headline: the result in a sentence; by default the Frechet distances.
            describe: how to show the added metrics; these come first.
            chosen: settings chosen on validation data.
        """
        shown = shown or next(iter(self.sets))
        merged = joined(self.metrics, metrics, {"images": self.real.count})
        made = {
            "samples": _grid(self.sets[shown][:40], caption),
            "compared": _rows(
                {name: x[:8] for name, x in self.sets.items()}, "Samples, baseline, and real test images."
            ),
            "neighbours": self.neighbours(self.sets[shown][:8]),
            **figures,
        }
        return Evaluation(merged, made, headline or self.headline(shown), {**describe, **DESCRIBE}, chosen=chosen)

    def headline(self, shown: str) -> str:
        """The Frechet distances of a set, of the Gaussian and of held-out images."""
        found = self.metrics
        return (
            f"Frechet distance to the training images {found[shown]['frechet']:.3g}, that of a fitted Gaussian "
            f"{found['gaussian']['frechet']:.3g} and of held-out images {found['held-out images']['frechet']:.3g} "
            f"({self.real.count} images each); nearest training image at {found[shown]['neighbour_ratio']:.2f} times "
            "the distance of a held-out image's."
        )


_grid, _rows = figures.grid, figures.rows  # `figures` is an argument of `evaluation`


def fidelity_against_diversity(
    metrics: Mapping[str, Mapping[str, float]], scales: Mapping[str, Sequence[float]]
) -> Figure:
    """Accuracy against diversity (`Comparison.of_classes`) of sets called ``"method scale"`` and of held-out images."""
    sets = {method: [metrics[f"{method} {scale:g}"] for scale in of_one] for method, of_one in scales.items()}
    sets["held-out images"] = [metrics["held-out images"]]
    return figures.curves(
        {name: ([row["diversity"] for row in rows], [row["accuracy"] for row in rows]) for name, rows in sets.items()},
        "Fidelity against diversity as the scale of guidance grows (numbers at the points).",
        x="diversity: mean distance within a class",
        y="fidelity: share taken for the asked class",
        notes={method: [f"{scale:g}" for scale in of_one] for method, of_one in scales.items()},
    )


def joined(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of metrics as one: what several say of a method stands together.

    Example:
        >>> joined({"gan": {"frechet": 1.0}}, {"gan": {"psnr": 20.0}, "images": 8})
        {'gan': {'frechet': 1.0, 'psnr': 20.0}, 'images': 8}
    """
    made: dict[str, Any] = {}
    for table in tables:
        for name, found in table.items():
            made[name] = {**made.get(name, {}), **found} if isinstance(found, Mapping) else found
    return made


def chosen_name(flag: str, name: str, offered: Sequence[str]) -> str:
    """One of the names on offer, whose spaces may be typed as underscores.

    Raises:
        UserError: if it is none of them; the message names the flag and the nearest.

    Example:
        >>> chosen_name("--sampler", "probability_flow", ["ddim", "probability flow"])
        'probability flow'
    """
    typed = {one.replace(" ", "_"): one for one in offered}
    if name.replace(" ", "_") not in typed:
        raise UserError(f"{flag} must be one of {', '.join(typed)}, got {name!r}{nearest(name, list(typed))}")
    return typed[name.replace(" ", "_")]


def cut(x: Array) -> Array:
    """Values cut to [-1, 1]; infinite ones become NaN, so that they are not taken for black or white."""
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -1, 1), jnp.nan)


def diverged(samples: np.ndarray) -> float:
    """The share of samples ``[n, ...]`` that hold NaN or infinity."""
    return float(np.mean(~np.isfinite(samples.reshape(len(samples), -1)).all(1)))


def distances(extract: features.Features, to: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Frechet and kernel distance of samples to images with the features `to`; NaN if any sample diverged."""
    found = extract(samples)
    if diverged(samples) or diverged(found):
        return {"frechet": NAN, "kernel": NAN}
    return {"frechet": float(frechet_distance(to, found)), "kernel": float(kernel_distance(to, found).value)}


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
    extract: features.Features,
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
    shown = {"samples": figures.grid(drawn[:64], caption)}
    return Evaluation({"images": n}, shown, f"{n} images", arrays=arrays, images=("images",))


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


OF_CLASSES = {
    "accuracy": Metric("Asked class", "higher", "share that a classifier of real images takes for the asked class"),
    "diversity": Metric("Diversity", "higher", "mean distance of two images of a class, in features"),
}
DESCRIBE = {
    "frechet": Metric("Frechet distance", "lower", "to the training images, in features"),
    "kernel": Metric("Kernel distance", "lower", "unbiased squared MMD, cubic kernel, in features"),
    "precision": Metric("Precision", "higher", "share of samples within the training images' manifold"),
    "recall": Metric("Recall", "higher", "share of training images within the samples' manifold"),
    "coverage": Metric("Coverage", "higher", "share of training images with a sample nearby"),
    "neighbour_ratio": Metric(
        "Neighbour ratio", "", "distance to the nearest training image over a held-out image's; copies give 0"
    ),
    "copying": Metric(
        "Closer than new", "", "probability that a sample is nearer to the training images than a new image; 0.5"
    ),
    "diverged": Metric("Diverged", "lower", "share of samples that hold NaN or infinity, if any"),
}
