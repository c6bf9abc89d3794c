"""How segmentations are evaluated: ensembles of masks and their uncertainty, compared with a U-Net's probability."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxgen.data import Source, most_of
from jaxgen.data.respacing import to_shape
from jaxgen.data.segmentation import masks_of
from jaxgen.data.source import evenly_spaced
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures import segmentation_classes as pictures
from jaxgen.medical.segmentation.cases import Case
from jaxgen.medical.segmentation.classes import case_rows, classes_table, described_metrics
from jaxgen.medical.segmentation.deterministic import class_probability
from jaxgen.medical.segmentation.segmenter import Ensemble, Example, Segmenter, first_tiles, headline_of
from jaxgen.tasks.segmentation import baselines
from jaxgen.tasks.segmentation.data import BASELINE, baseline_network, grid, threshold


def segmenter(run: Run, method: Ensemble, others: Sequence[Ensemble] = ()) -> Segmenter:
    """The ensemble, others and the baseline on whole images."""
    net, seen = baseline_network(run.config, run.facts.class_count), grid(run)
    probability = jax.jit(lambda params, tiles: class_probability(net.apply(params, tiles)))
    return Segmenter(
        baseline=BASELINE.name,
        method=method,
        probability=lambda tiles: probability(run.params[BASELINE.name]["net"], tiles),
        threshold=threshold(run.config),
        size=seen.tile,
        overlap=seen.overlap,
        chunk=run.config.chunk,
        restore=to_shape,
        others=tuple(others),
        whole=run.config.multiple if run.config.whole else 0,
    )


def examples_of(run: Run, source: Source, chosen: Sequence[int]) -> Iterator[Example]:
    """Images of a split as the network sees them, and their masks; read one at a time."""
    for i in chosen:
        example, name = source[int(i)], str(source.names[int(i)])
        image, spacing = grid(run).image(example, name)
        yield Example(name, image, masks_of(example, run.facts.class_count), spacing)


def cases_of(run: Run, method: Ensemble, source: Source, others: Sequence[Ensemble] = ()) -> list[tuple[Case, ...]]:
    """Images of a split, evenly chosen if there are many, with what all methods say of each class in them."""
    chosen = evenly_spaced(len(source), most_of(run.config.data, run.config.test_images) or len(source))
    return segmenter(run, method, others).cases(examples_of(run, source, chosen.tolist()), run.key)


class Comparison:
    """An ensemble compared with the deterministic U-Net on the test images.

    Attributes:
        run: the run.
        method: the ensemble.
        others: further ones, and those that the configuration asks for, in the tables.
        cases: what both say of each class in each test image.
    """

    def __init__(self, run: Run, method: Ensemble, others: Sequence[Ensemble] = ()) -> None:
        self.run, self.method, self.others = run, method, (*others, *baselines.ensembles(run))
        self.cases = cases_of(run, method, run.splits.test, self.others)

    def metrics(self) -> dict[str, Any]:
        """The table of all methods."""
        config = self.run.config
        truncate = config.truncation if config.target == "distance" else None
        return classes_table(self.cases, self.run.facts.classes, truncate)

    def first_tiles(self) -> np.ndarray:
        """The first tile of up to three of the images that are shown ``[3, *size, c]``, for a figure."""
        return first_tiles([each[0] for each in self.cases], self.method.name, grid(self.run).tile)

    def evaluation(self, figures: Mapping[str, Figure] = {}) -> Evaluation:
        """The evaluation, with the figures that a recipe adds to it."""
        config, classes = self.run.config, self.run.facts.classes
        found = self.metrics()
        raters = self.run.splits.rater_names
        drawn = pictures.compared(self.cases, self.method[:2], classes, raters=raters, others=figures)
        headline = headline_of(found, self.method, BASELINE.name, config.members)
        unit = "pixels" if np.isscalar(self.cases[0][0].spacing) else "mm"
        describe = {name: Metric(*description) for name, description in described_metrics(classes, unit).items()}
        return Evaluation(found, drawn, headline, describe, cases=case_rows(self.cases, classes))
