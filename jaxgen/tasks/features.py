"""Features of images, in which sets of samples are compared: those of a classifier that the run trains.

It learns the labels of the real training images or, where there are none, by which of four quarter turns an image was
rotated (Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations").
"""

import dataclasses

from jaxgen import draws
from jaxgen.config import option
from jaxgen.experiment import Run, StageSpec
from jaxgen.families import classifier_model
from jaxgen.families.image_features import ImageFeatures
from jaxgen.imaging.augment import QUARTER_TURNS, turned_images
from jaxgen.nets import classifier
from jaxgen.tasks.images import Batch, ImageConfig, Widths, optimizer, prepare_images
from jaxgen.train import Stage
from jaxgen.types import Key, Net


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
    classes = len(run.facts.classes) or QUARTER_TURNS
    return classifier(classes, channels=run.config.feature_channels, blocks=1, patch=2)


def build(run: Run) -> Stage:
    """Train the classifier on real images, with a little noise so that it does not learn them by heart."""
    prepared, unlabelled = prepare_images(run.config), not run.facts.classes

    def prepare(key: Key, batch: Batch) -> Batch:
        flip_key, turn_key, noise_key = draws.split(key, 3)
        batch = prepared(flip_key, batch)
        image = batch["image"]
        if unlabelled:
            image, turns = turned_images(turn_key, image)
            batch = {**batch, "label": turns}
        return {**batch, "image": image + 0.05 * draws.normal(noise_key, image.shape)}

    steps = run.config.feature_steps
    return Stage("features", classifier_model(network(run)), {"net": optimizer(run.config, steps)}, steps, prepare)


STAGE = StageSpec("features", build, formerly="judge")


class Features(ImageFeatures):
    """The trained feature extractor, of images ``[n, h, w, c]`` in [-1, 1]."""

    def __init__(self, run: Run) -> None:
        super().__init__(network(run), run.params["features"]["net"])
