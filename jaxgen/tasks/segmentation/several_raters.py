"""Baselines where raters disagree: a probabilistic U-Net, and masks drawn pixel by pixel from the U-Net's answer."""

from typing import Any

from jaxgen.experiment import Run
from jaxgen.medical.segmentation.ensembles import independent_pixels
from jaxgen.medical.segmentation.probabilistic import CodedSegmenter, masks_of_codes, probabilistic_unet
from jaxgen.medical.segmentation.segmenter import Ensemble
from jaxgen.nets import classifier, mlp, unet
from jaxgen.tasks import images
from jaxgen.tasks.segmentation.data import BASELINE, baseline_network, prepare_tiles, unet_options
from jaxgen.types import Model, Net


def rater_encoder(config: Any) -> Net:
    """From images or masks to the mean and the logarithm of the variance of a code."""
    return classifier(2 * config.code, channels=config.encoder_channels, blocks=config.blocks)


def _networks(run: Run) -> CodedSegmenter:
    config, classes = run.config, run.facts.class_count
    width = config.baseline_channels[0]
    features = unet(width, channels=config.baseline_channels, **unet_options(config))
    combine = mlp(classes + (classes > 1), widths=(width, width))
    return CodedSegmenter(features, rater_encoder(config), rater_encoder(config), combine)


def _model(run: Run) -> Model:
    return probabilistic_unet(_networks(run))


PROBABILISTIC = images.stage("probabilistic_unet", _model, prepare=prepare_tiles)
"""The stage of the probabilistic U-Net, as wide as the deterministic one."""


def ensembles(run: Run) -> tuple[Ensemble, ...]:
    """Both baselines, trained."""
    members, name = run.config.members, PROBABILISTIC.name
    coded = masks_of_codes(_networks(run), run.params[name]["net"], members)
    net = baseline_network(run.config, run.facts.class_count)
    pixels = independent_pixels(net, run.params[BASELINE.name]["net"], members)
    return (
        Ensemble(name, "Probabilistic U-Net", coded, probability=True),
        Ensemble("unet_pixels", "U-Net, pixels drawn", pixels, probability=True),
    )
