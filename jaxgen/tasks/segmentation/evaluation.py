"""How segmentations are evaluated: ensembles of masks and their uncertainty, compared with a U-Net's probability."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.data import Source, most_of
from jaxgen.data.segmentation import masks_of, scale_image
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures import segmentation as pictures
from jaxgen.imaging.tiles import extract_tiles, tiling
from jaxgen.medical.segmentation.cases import Case, of_maps, of_probability, table
from jaxgen.medical.segmentation.whole_image import by_tiles
from jaxgen.tasks.segmentation.data import BASELINE, baseline_network, threshold
from jaxgen.types import Array, Key


class Ensemble(NamedTuple):
    """A method that draws several segmentations of an image, as maps like those of the training masks.

    Attributes:
        name: of its row in the metrics.
        label: of it in figures and the headline.
        draw: ``draw(keys [b], tiles [b, size, size, c]) -> maps [members, b, size, size, 1]``, compiled.
    """

    name: str
    label: str
    draw: Callable[[Key, Array], Array]


class Segmenter:
    """An ensemble and the baseline on whole images: tiles of equal size, blended where they overlap."""

    def __init__(self, run: Run, method: Ensemble) -> None:
        self.run, self.method, self.threshold = run, method, threshold(run.config)
        net = baseline_network(run.config)
        self._probability = jax.jit(lambda params, tiles: jax.nn.sigmoid(net.apply(params, tiles)))

    def scale(self, image: np.ndarray) -> np.ndarray:
        """An image ``[h, w, c]`` with values in [-1, 1]."""
        return scale_image(image, self.run.config.percentiles, self.run.facts.value_range)

    def maps(
        self, key: Key, images: Sequence[np.ndarray], *, first: int = 0, chunk: int | None = None
    ) -> list[np.ndarray]:
        """The ensemble's maps ``[members, h, w]`` of each scaled image; `first` is the number of the first image."""
        return self._whole(self.method.draw, key, images, first, chunk or self.run.config.chunk)

    def probabilities(self, key: Key, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The baseline's probability of the foreground ``[h, w]`` for each scaled image."""
        params = self.run.params[BASELINE.name]["net"]
        return self._whole(lambda keys, tiles: self._probability(params, tiles), key, images, 0, self.run.config.chunk)

    def _whole(self, function: Any, key: Key, images: Sequence[np.ndarray], first: int, chunk: int) -> list[np.ndarray]:
        size, overlap = self.run.config.size, self.run.config.tile_overlap
        return [x[..., 0] for x in by_tiles(function, key, images, size, overlap=overlap, chunk=chunk, first=first)]

    def cases(self, source: Source, key: Key) -> list[Case]:
        """Images of a split, evenly chosen if there are many, with what both methods say of them."""
        config, n = self.run.config, len(source)
        most = most_of(config.data, config.test_images) or n
        chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
        found = []
        # A few images at a time: of an ensemble only the masks and the summary are kept.
        for start in range(0, len(chosen), config.chunk):
            numbers = chosen[start : start + config.chunk]
            examples = [source[int(i)] for i in numbers]
            images = [self.scale(example["image"]) for example in examples]
            every = self.maps(key, images, first=start), self.probabilities(key, images)
            for i, example, image, maps, probability in zip(numbers, examples, images, *every, strict=True):
                ensemble = of_maps(maps, self.threshold)
                predictions = {BASELINE.name: of_probability(probability), self.method.name: ensemble}
                found.append(Case.of(str(source.names[i]), image, masks_of(example), predictions))
        return found


class Comparison:
    """An ensemble compared with the deterministic U-Net on the test images.

    Attributes:
        run: the run.
        method: the ensemble.
        cases: what both say of each test image.
        shown: the numbers of the test images in the figures, from the worst to the best Dice.
    """

    def __init__(self, run: Run, method: Ensemble) -> None:
        self.run, self.method = run, method
        self.cases = Segmenter(run, method).cases(run.splits.test, run.key)
        order = sorted(range(len(self.cases)), key=lambda i: self.cases[i].dice[method.name])
        self.shown = [
            order[k] for k in np.unique(np.linspace(0, len(order) - 1, min(5, len(order))).round().astype(int))
        ]

    def first_tiles(self) -> np.ndarray:
        """The first tile of up to three of the images that are shown ``[3, size, size, c]``, for a figure."""
        size, few = self.run.config.size, [self.cases[i].image for i in self.shown[-3:]]
        return np.stack([extract_tiles(tiling(x.shape[:-1], size), x)[0] for x in few])

    def evaluation(self, figures: Mapping[str, Figure] = {}) -> Evaluation:
        """The evaluation, with the figures that a recipe adds to it."""
        config, (name, label, _) = self.run.config, self.method
        found = table(self.cases, config.truncation if config.target == "distance" else None)
        drawn = {
            "overview": pictures.overview(self.cases, self.shown, name, label),
            **figures,
            "members": pictures.members(self.cases, self.shown[:4], name, raters=self.run.splits.rater_names),
            "uncertainty": pictures.uncertainty(self.cases, name, label),
            "failures": pictures.failures(self.cases, name, label),
        }
        ours, unet, single = found[name], found[BASELINE.name], found[f"{name}_single"]
        headline = (
            f"Dice {ours['dice']:.3f} for the mean of {config.members} {label} samples ({single['dice']:.3f} for one), "
            f"{unet['dice']:.3f} for a deterministic U-Net; the uncertainty finds wrong pixels with AUROC "
            f"{ours['error_auroc']:.2f}."
        )
        if "ged" in ours:
            headline += f" Energy distance to the raters {ours['ged']:.3f}, U-Net {unet['ged']:.3f}."
        return Evaluation(found, drawn, headline, DESCRIBE)


_PENALTY = "the diagonal of the image where only one of the masks is empty"
DESCRIBE = {
    "dice": Metric("Dice", "higher", "mean over test images"),
    "dice_pooled": Metric("Dice, pooled", "higher", "all pixels of all test images together (F1)"),
    "iou": Metric("IoU", "higher", "mean over test images"),
    "hausdorff95": Metric("Hausdorff 95", "lower", f"pixels, mean over test images; {_PENALTY}"),
    "surface_distance": Metric("Surface distance", "lower", f"average symmetric surface distance, pixels; {_PENALTY}"),
    "missed": Metric("Missed", "lower", "test images with an object of which nothing was found"),
    "false_alarms": Metric("False alarms", "lower", "test images without an object in which one was found"),
    "diverged": Metric("Diverged", "lower", "share of the images whose results hold NaN or infinity, if any"),
    "component_error": Metric("Component error", "lower", "difference in the number of connected components"),
    "ece": Metric("Calibration error", "lower", "expected calibration error, 15 bins"),
    "brier": Metric("Brier score", "lower", "mean squared error of the probability"),
    "error_auroc": Metric("Error AUROC", "higher", "uncertainty (mask variance, or entropy) finds wrong pixels"),
    "error_auroc_mean": Metric("Error AUROC, standardised mean", "higher", "-|mean| / std finds wrong pixels"),
    "case_correlation": Metric("Case correlation", "higher", "uncertainty of the image against 1 - Dice"),
    "eikonal_error": Metric("Distance error", "lower", "| |grad| - 1 | of the sampled distance maps"),
    "ged": Metric("Energy distance", "lower", "squared generalised energy distance to the raters"),
}
