"""Features of images, in which sets of samples are compared.

Where real images have classes they are those of a classifier that the run trains; where they have none, energies of
oriented filters, whitened on the training images. (A network that tells quarter turns of upright images, a task that
needs no classes, solves it and keeps nothing else of them.)
"""

import dataclasses

import numpy as np

from jaxgen import draws
from jaxgen.config import option
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import classifier_model
from jaxgen.families.image_features import Energies, ImageFeatures
from jaxgen.metrics.sample_sets import FeatureExtractor, Whitened
from jaxgen.nets import classifier
from jaxgen.tasks.images import Batch, ImageConfig, Prepare, Widths, optimizer, prepare_images, real_images
from jaxgen.train import Stage
from jaxgen.types import Key, Net

MOST_WHITENED = 1000
"""Training images on which features are whitened."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureConfig(ImageConfig):
    """The options of every experiment that compares drawn images with real ones."""

    samples: int = option(256, "images to draw for the metrics, and real ones to compare", ge=8, group="evaluation")
    feature_steps: int = option(
        400, "training steps of the feature extractor", ge=1, group="evaluation", formerly="judge_steps"
    )
    feature_channels: Widths = option(
        (32, 64, 96), "widths of the feature extractor's levels", ge=4, group="evaluation", formerly="judge_channels"
    )


def network(run: Run) -> Net:
    """The classifier whose features are used."""
    return classifier(len(run.facts.classes), channels=run.config.feature_channels, blocks=1, patch=2)


def noisy(config: ImageConfig) -> Prepare:
    """On the device: images as training sees them with a little noise, so that they are not learnt by heart."""
    prepared = prepare_images(config)

    def prepare(key: Key, batch: Batch) -> Batch:
        flip_key, _, noise_key = draws.split(key, 3)
        batch = prepared(flip_key, batch)
        return {**batch, "image": batch["image"] + 0.05 * draws.normal(noise_key, batch["image"].shape)}

    return prepare


def build(run: Run) -> Stage:
    """Train the classifier on real images."""
    steps, prepare = run.config.feature_steps, noisy(run.config)
    return Stage("features", classifier_model(network(run)), {"net": optimizer(run.config, steps)}, steps, prepare)


STAGE = StageSpec("features", build, formerly="judge", suits=lambda facts: bool(facts.classes))


class Features:
    """The feature extractor (`jaxgen.metrics.sample_sets.FeatureExtractor`), of images ``[n, h, w, c]`` in [-1, 1]."""

    def __init__(self, run: Run) -> None:
        self._extract: FeatureExtractor
        if run.facts.classes:
            self._extract = ImageFeatures(network(run), run.params["features"]["net"])
        else:
            self._extract = Whitened(Energies(), real_images(run, run.splits.train, MOST_WHITENED)["image"])
        self.classes = self._extract.classes

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, d]``."""
        return self._extract(images)
