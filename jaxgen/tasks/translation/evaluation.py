"""How translations are evaluated: by their pixels where pairs are known, by the distribution of patches everywhere."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.families.image_features import Energies
from jaxgen.figures.editing import first_rows
from jaxgen.metrics.fidelity import frechet_distance
from jaxgen.metrics.image_quality import likeness
from jaxgen.metrics.sample_sets import Whitened
from jaxgen.metrics.translation import intensity_levels, lesion_contrast, patches, tissue_dice
from jaxgen.tasks.translation import data
from jaxgen.tasks.translation.baselines import Translator, baselines

DESCRIBE = {
    "mae": Metric("MAE", "lower", "mean absolute error, in percent of the range of values"),
    "psnr": Metric("PSNR", "higher", "dB, of the range of values"),
    "ssim": Metric("SSIM", "higher", "structural similarity with the true target"),
    "frechet": Metric("Frechet distance", "lower", "of patches to those of the true targets, in whitened energies"),
    "tissue_dice": Metric("Dice of tissues", "higher", "told by their intensity, four k-means of true targets"),
    "lesion_contrast": Metric("Lesion contrast", "", "to the ring around it, over that of the true target; 1: kept"),
}  # fmt: skip
TISSUES = 4
View = Callable[[np.ndarray], np.ndarray]
Extra = Callable[[np.ndarray, Mapping[str, np.ndarray]], Mapping[str, float]]


class Comparison:
    """Methods and baselines on the test images.

    Args:
        run: the run.
        methods: of the recipe; the headline compares the first with the baselines.
        extra: further metrics, ``extra(translated, test) -> {name: number}``, both in [-1, 1].
        describe: how to show them.
        references: baselines; None for those of every translation.
        view: what metrics and figures look at, ``view(images) -> images``, both in [-1, 1]; None for the images.
    """

    def __init__(
        self,
        run: Run,
        methods: Sequence[Translator],
        *,
        extra: Extra | None = None,
        describe: Mapping[str, Metric] = {},
        references: Sequence[Translator] | None = None,
        view: View | None = None,
    ) -> None:
        self.run, self.extra, self.describe = run, extra, {**DESCRIBE, **describe}
        self._view = view or (lambda x: x)
        self.methods, self.references = methods, baselines(run) if references is None else references
        self.test = data.tested_pairs(run)
        self.seconds: dict[str, dict[str, float]] = {}
        self.paired = run.facts.paired and "source" in self.test
        truth, fitted = self._view(self.test["image"]), self._view(data.fitted_pairs(run)["image"])
        self._side = max(16, run.config.size // 4)
        self._features = Whitened(Energies(), patches(fitted, self._side)[:4000])
        self._real = self._features(patches(truth, self._side))
        self._levels = intensity_levels(fitted, TISSUES) if truth.shape[-1] == 1 else None
        self.translated = {one.name: self._timed(one) for one in (*self.references, *methods)}

    def _timed(self, one: Translator) -> np.ndarray:
        began = time.perf_counter()
        found = one.run(jax.random.fold_in(self.run.key, len(self.seconds)), self.test["source"])
        self.seconds[one.name] = {"s per image": (time.perf_counter() - began) / len(found)}
        return found

    def metrics(self, x: np.ndarray) -> dict[str, float]:
        """Those of one method's images."""
        given, truth, found = x, self._view(self.test["image"]), {}
        x = self._view(x)
        if self.paired:
            found = to_truth(x, truth, self._levels, self.test.get("mask"))
        found["frechet"] = frechet_distance(self._real, self._features(patches(x, self._side)))
        return found | dict(self.extra(given, self.test) if self.extra else {})

    def evaluation(self, figures: Mapping[str, Figure] = {}) -> Evaluation:
        """The evaluation, with the figures that a recipe adds to it."""
        found: dict[str, Any] = {name: self.metrics(x) for name, x in self.translated.items()}
        shown = {"source": self.test["source"], **self.translated, "target": self.test["image"]}
        some = to_show(self.test)
        rows = first_rows(
            {name: self._view(x[some]) for name, x in shown.items()}, "Test images: source, translations, target.", 8
        )
        headline = _headline(found, [one.name for one in self.methods], self.paired)
        figures = {"translations": rows, **figures}
        found["images"] = len(self.test["source"])
        return Evaluation(found, figures, headline, self.describe, timings=self.seconds)


def to_truth(x: np.ndarray, truth: np.ndarray, levels: np.ndarray | None, mask: np.ndarray | None) -> dict[str, float]:
    """How near images or volumes ``[n, *spatial, c]`` are to the true targets.

    Args:
        x: the translations.
        truth: the true targets.
        levels: intensities of tissues; None for targets of several channels, of which tissues are not told.
        mask: of lesions ``[n, *spatial]``, or None.
    """
    found = {"mae": 50 * float(np.abs(x - truth).mean()), **likeness(x, truth)}
    if levels is not None:
        found["tissue_dice"] = tissue_dice(x[..., 0], truth[..., 0], levels)
    if mask is not None and (mask > 0).any():
        made, true = (lesion_contrast(y.mean(-1), mask) for y in (x, truth))
        found["lesion_contrast"] = float(np.nansum(made) / np.nansum(true))
    return found


def to_show(test: Mapping[str, np.ndarray]) -> np.ndarray:
    """Test images to show, those with a lesion first."""
    marked = (
        test["mask"].reshape(len(test["mask"]), -1).any(1) if "mask" in test else np.zeros(len(test["image"]), bool)
    )
    return np.concatenate([np.flatnonzero(marked)[:4], np.flatnonzero(~marked)])[:8]


def _headline(found: Mapping[str, Mapping[str, float]], methods: Sequence[str], paired: bool) -> str:
    name, label, form = (
        ("mae", "MAE in % of the range", "{:.2f}") if paired else ("frechet", "Frechet distance", "{:.3g}")
    )
    value = {method: form.format(row[name]) for method, row in found.items()}
    others = ", ".join(f"{method} {value[method]}" for method in found if method not in methods)
    return f"{label}: {', '.join(f'{method} {value[method]}' for method in methods)} ({others})."
