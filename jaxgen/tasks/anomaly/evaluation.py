"""The evaluation of all methods alike: settings chosen without true lesions, a table, figures, and a headline."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxgen.data.phantoms import LESIONS
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures.anomaly import Gallery, bars
from jaxgen.medical.anomaly import (
    FLOOR,
    Bench,
    Clean,
    Method,
    cleaned,
    compare,
    foreground,
    paste_anomalies,
    simple_methods,
)
from jaxgen.medical.anomaly.tuning import tune
from jaxgen.metrics import auroc
from jaxgen.metrics.best import highest
from jaxgen.tasks.anomaly import data
from jaxgen.tasks.anomaly.references import learned

MOST_TRAIN = 2000
"""Training images that the baselines are fitted to."""
KINDS = (*LESIONS, "lesions")
"""The names of sets with lesions: those of phantoms, and that of a user's images."""


def make_bench(run: Run) -> Bench:
    """The images of an evaluation.

    Raises:
        UserError: if there is nothing to find, or no label of the healthy.
    """
    config, splits = run.config, run.splits
    validation = data.prepared(run, splits.validation, config.chosen_on)["image"]
    train = data.prepared(run, splits.train, MOST_TRAIN)["image"] if data.is_home(run) else validation[:0]
    if config.data == data.PHANTOM:
        return phantom_bench(config, train, validation, tuple(LESIONS))
    test = data.prepared(run, splits.test)
    if "mask" in test:
        if not test["mask"].any():
            raise UserError(f"--data {config.data}: none of its test images has a lesion; there is nothing to find")
        # The first images are those that are shown.
        largest_first = np.argsort(-test["mask"].reshape(len(test["mask"]), -1).sum(1, dtype=np.int64), kind="stable")
        lesions = (test["image"][largest_first], test["mask"][largest_first])
        return Bench(train, validation, _artificial(config, validation), {"lesions": lesions}, {})
    if config.healthy not in splits.label_names:
        known = ", ".join(splits.label_names)
        raise UserError(
            f"--data {config.data}: no image has the label {config.healthy} of the healthy (it has {known})"
        )
    ill = np.asarray(test["label"]) != splits.label_names.index(config.healthy)
    return labelled_bench(config, train, validation, test["image"], ill)


def phantom_bench(config: data.LesionConfig, train: np.ndarray, validation: np.ndarray, kinds: Sequence[str]) -> Bench:
    """Healthy phantoms, and phantoms with these kinds of lesions."""
    validation = validation[: config.chosen_on]
    drawn = {kind: data.phantoms(config, config.lesions, 3, LESIONS[kind]) for kind in kinds}
    lesions = {kind: (part["image"], part["mask"]) for kind, part in drawn.items()}
    twins = {kind: part["healthy"] for kind, part in drawn.items()}
    return Bench(train[:MOST_TRAIN], validation, _artificial(config, validation), lesions, twins)


def labelled_bench(
    config: data.LesionConfig, train: np.ndarray, validation: np.ndarray, test: np.ndarray, ill: np.ndarray
) -> Bench:
    """Healthy images to learn and choose on, and test images that are ill or not."""
    validation = validation[: config.chosen_on]
    return Bench(train[:MOST_TRAIN], validation, _artificial(config, validation), {}, {}, (test, np.asarray(ill)))


def _artificial(config: data.LesionConfig, validation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius = (2 * config.size / 64, config.size / 8)
    return paste_anomalies(config.seed, validation, foreground(validation, FLOOR), radius=radius)


def cleaning(config: data.LesionConfig) -> Clean:
    """What is done to maps: of each image by itself, as in ``jaxgen apply``."""
    return functools.partial(cleaned, erosion=config.erosion, median=config.median)


class Comparison:
    """The methods of a recipe on lesions, with the simple baselines and the learned references.

    Attributes:
        run: the run.
        bench: what methods are evaluated on.
        simple: the names of the baselines; gains are over the best of them.
        tuned: the methods of the recipe whose settings were chosen, by name.
        methods: all methods, at their settings, by name.
        metrics: of all methods.
        figures: of their maps and of what they restore.
    """

    def __init__(
        self, run: Run, methods: Sequence[Method], *, bench: Bench | None = None, tuned_on: int | None = None
    ) -> None:
        """Choose the settings and evaluate all methods.

        Args:
            run: the run.
            methods: those of the recipe.
            bench: the images; None for `make_bench`.
            tuned_on: images with artificial anomalies that settings are chosen on; None for all.
        """
        self.run, self.bench = run, bench or make_bench(run)
        simple = simple_methods(self.bench.train, run.config.residual, run.config.score_channels)
        self.simple = tuple(method.name for method in simple)
        clean = cleaning(run.config)
        x, mask = (part[:tuned_on] for part in self.bench.chosen_on)
        self.tuned = {method.name: tune(clean, run.key, method, x, mask) for method in methods if method.settings}
        ours = [self.tuned[method.name].method if method.settings else method for method in methods]
        self.methods = {method.name: method for method in (*simple, *learned(run), *ours)}
        shown = (run.config.score_channels or (None,))[0]
        gallery = Gallery(self.bench.lesions, self.bench.twins, self.bench.ill, channel=shown)
        self.metrics = compare(
            clean, run.key, self.bench, self.methods, self.simple, lambda name, found: gallery.add(name, *found)
        )
        self.figures = gallery.figures()
        if self.bench.lesions:
            rows = {name: self.metrics[name] for name in self.methods}
            self.figures["bars"] = bars(rows, tuple(self.bench.lesions))

    def mean_score(self, name: str, x: np.ndarray, within: np.ndarray) -> float:
        """The mean of a method's map of images ``[n, h, w, c]`` within a mask ``[n, h, w]``."""
        return float(self.methods[name].run(self.run.key, x).score[within].mean())

    def separation(self, score: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """How well a score ``[n]`` of whole images tells ill images from healthy ones, or from their healthy twins."""
        found = {}
        for kind, twins in self.bench.twins.items():
            both = np.concatenate([twins, self.bench.lesions[kind][0]])
            found[f"auroc_score_{kind}"] = float(auroc(score(both), np.arange(len(both)) >= len(twins)))
        if self.bench.ill is not None:
            x, ill = self.bench.ill
            found["auroc_score"] = float(auroc(score(x), ill))
        return found

    def evaluation(
        self,
        ours: str,
        *,
        metrics: Mapping[str, Any] = {},
        figures: Mapping[str, Figure] = {},
        describe: Mapping[str, Metric] = {},
    ) -> Evaluation:
        """The evaluation, with what a recipe adds to it.

        Args:
            ours: the method of the headline.
            metrics: more metrics, by method or of the whole.
            figures: more figures.
            describe: how to show the added metrics.
        """
        merged: dict[str, Any] = {name: {**row} for name, row in self.metrics.items()}
        for name, more in metrics.items():
            merged[name] = {**merged.get(name, {}), **more} if isinstance(more, Mapping) else more
        chosen = {tuned.method.short_name: _plain(tuned.setting) for tuned in self.tuned.values()}
        shown = {**self.figures, **figures}
        said = headline(self.metrics, ours, self.simple)
        return Evaluation(merged, shown, said, {**DESCRIBE, **describe}, chosen=chosen)


def _plain(setting: Any) -> Any:
    return setting._asdict() if hasattr(setting, "_asdict") else float(setting)


def headline(metrics: Mapping[str, Mapping[str, float]], ours: str, simple: Sequence[str]) -> str:
    """A method compared with the best of the baselines, in one sentence."""
    row = metrics[ours]
    kinds = [kind for kind in KINDS if f"ap_{kind}" in row]
    if not kinds:
        best = highest({name: metrics[name]["auroc_image"] for name in simple})
        return f"Ill images: AUROC {row['auroc_image']:.3f} by {ours}, {metrics[best]['auroc_image']:.3f} by {best}."
    best_of = {k: highest({n: metrics[n][f"ap_{k}"] for n in simple}) for k in kinds}
    parts = (f"{k} {row[f'ap_{k}']:.3f} ({metrics[best_of[k]][f'ap_{k}']:.3f})" for k in kinds)
    return f"Lesions by {ours}, average precision (best of the baselines): {', '.join(parts)}."


DESCRIBE = {
    "auroc_image": Metric("AUROC, images", "higher", "ill images above healthy ones"),
    "ap_image": Metric("AP, images", "higher", "average precision of ill images"),
    "auroc_score": Metric("AUROC of the score", "higher", "of whole images, by the score that the method has for them"),
    "diverged": Metric("Diverged", "lower", "share of the maps that hold NaN or infinity, if any"),
}
_BY_KIND = {
    "ap": Metric("AP", "higher", "average precision of pixels, all cases together"),
    "ap_low": Metric("AP low", "", "lower end of the 95 % bootstrap interval over cases"),
    "ap_high": Metric("AP high", "", "upper end of it"),
    "ap_case": Metric("AP per case", "higher", "the mean over cases"),
    "best_dice": Metric("Best Dice", "higher", "at the best threshold of the test set: a bound"),
    "dice": Metric("Dice", "higher", "at the threshold chosen on artificial anomalies"),
    "auroc": Metric("AUROC", "higher", "of pixels"),
    "auroc_score": Metric("AUROC of the score", "higher", "ill images above their healthy twins"),
    "gain": Metric("AP gain", "higher", "over the best simple baseline, on the same cases"),
    "gain_low": Metric("Gain low", "", "lower end of its 95 % interval over cases"),
    "gain_high": Metric("Gain high", "", "upper end of it"),
    "twin_psnr": Metric("Twin PSNR", "higher", "restored to healthy twin in the lesion, dB"),
}
for _kind in KINDS:
    DESCRIBE |= {f"{n}_{_kind}": one._replace(label=f"{one.label}, {_kind}") for n, one in _BY_KIND.items()}
