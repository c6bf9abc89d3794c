"""How segmentations are evaluated: ensembles of masks and their uncertainty, compared with a U-Net's probability."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.data import Source, most_of
from jaxgen.data.segmentation import masks_of, scale_image
from jaxgen.data.source import evenly_spaced
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures import segmentation as pictures
from jaxgen.imaging.tiles import extract_tiles, tiling
from jaxgen.medical.segmentation.cases import METRICS, Case, table, worst_to_best
from jaxgen.medical.segmentation.segmenter import Segmenter
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


def segmenter(run: Run, method: Ensemble) -> Segmenter:
    """The ensemble and the baseline on whole images."""
    config, net = run.config, baseline_network(run.config)
    probability = jax.jit(lambda params, tiles: jax.nn.sigmoid(net.apply(params, tiles)))
    return Segmenter(
        names=(BASELINE.name, method.name),
        probability=lambda tiles: probability(run.params[BASELINE.name]["net"], tiles),
        draw=method.draw,
        threshold=threshold(config),
        size=config.size,
        overlap=config.tile_overlap,
        chunk=config.chunk,
    )


def scaled(run: Run, image: np.ndarray) -> np.ndarray:
    """An image ``[h, w, c]`` with values in [-1, 1]."""
    return scale_image(image, run.config.percentiles, run.facts.value_range)


def cases_of(run: Run, method: Ensemble, source: Source) -> list[Case]:
    """Images of a split, evenly chosen if there are many, with what both methods say of them."""
    chosen = evenly_spaced(len(source), most_of(run.config.data, run.config.test_images) or len(source))
    numbered = ((int(i), source[int(i)]) for i in chosen)
    examples = ((str(source.names[i]), scaled(run, example["image"]), masks_of(example)) for i, example in numbered)
    return segmenter(run, method).cases(examples, run.key)


class Comparison:
    """An ensemble compared with the deterministic U-Net on the test images.

    Attributes:
        run: the run.
        method: the ensemble.
        cases: what both say of each test image.
    """

    def __init__(self, run: Run, method: Ensemble) -> None:
        self.run, self.method = run, method
        self.cases = cases_of(run, method, run.splits.test)

    def first_tiles(self) -> np.ndarray:
        """The first tile of up to three of the images that are shown ``[3, size, size, c]``, for a figure."""
        shown, size = worst_to_best(self.cases, self.method.name), self.run.config.size
        few = [self.cases[i].image for i in shown[-3:]]
        return np.stack([extract_tiles(tiling(x.shape[:-1], size), x)[0] for x in few])

    def evaluation(self, figures: Mapping[str, Figure] = {}) -> Evaluation:
        """The evaluation, with the figures that a recipe adds to it."""
        config, (name, label, _) = self.run.config, self.method
        found = table(self.cases, config.truncation if config.target == "distance" else None)
        raters = self.run.splits.rater_names
        drawn = pictures.compared(self.cases, name, label, raters=raters, others=figures)
        ours, unet, single = found[name], found[BASELINE.name], found[f"{name}_single"]
        headline = (
            f"Dice {ours['dice']:.3f} for the mean of {config.members} {label} samples ({single['dice']:.3f} for one), "
            f"{unet['dice']:.3f} for a deterministic U-Net; the uncertainty finds wrong pixels with AUROC "
            f"{ours['error_auroc']:.2f}."
        )
        if "ged" in ours:
            headline += f" Energy distance to the raters {ours['ged']:.3f}, U-Net {unet['ged']:.3f}."
        return Evaluation(found, drawn, headline, DESCRIBE)


DESCRIBE = {name: Metric(*description) for name, description in METRICS.items()}
