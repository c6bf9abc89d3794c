"""Diffusion of masks given the image: options, network, sampler, and how the trained model draws ensembles."""

import dataclasses
from typing import Literal

from jaxgen.config import option
from jaxgen.data.segmentation import Target
from jaxgen.experiment import Run
from jaxgen.medical.segmentation.conditional import ConditionalNet, concatenated_net
from jaxgen.medical.segmentation.flow_sdf import compiled_ensemble, flow_sdf
from jaxgen.medical.segmentation.segmenter import Ensemble
from jaxgen.nets import unet
from jaxgen.paths import PATHS
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import images
from jaxgen.tasks.images import Widths
from jaxgen.tasks.networks import check_levels
from jaxgen.tasks.segmentation.data import SegmentationConfig, prepare_tiles, unet_options
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskDiffusionConfig(SegmentationConfig):
    """The options of diffusion of masks, the image being clean channels of the U-Net's input."""

    target: Target = option("binary", "what masks become: -1 inside and 1 outside, or signed distances", group="method")
    path: str = option("cosine", "how noise is mixed in: a table, or a continuous path", choices=PATHS, group="method")
    prediction: Literal["noise", "x0", "v"] = option("x0", "what the network predicts", group="method")
    channels: Widths = option((32, 64, 104), "widths of the U-Net's levels", ge=4, group="network")
    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")
    sampler: str = option("ddim_eta1", "how masks are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(20, "steps from noise to mask", ge=1, le=10_000, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and the levels of the network."""
        super().__post_init__()
        check_levels(self.size, self.patch, self.channels, self.attention)


def network(run: Run) -> ConditionalNet:
    """The U-Net of noisy masks and the image."""
    config = run.config
    options = {"channels": config.channels, "adaptive": config.adaptive, **unet_options(config)}
    return concatenated_net(unet(run.facts.class_count, **options))


def sampling(config: MaskDiffusionConfig) -> Sampling:
    """The path, the sampler and what the network predicts."""
    path = PATHS[config.path]()
    step = SAMPLERS[config.sampler].step(path)
    return Sampling(path, step, grids.uniform(path, config.sampler_steps), config.prediction)


def model(run: Run) -> Model:
    """How masks are learnt: as the maps of FlowSDF are, on another path."""
    return flow_sdf(network(run), sampling(run.config))


STAGE = images.stage("diffusion", model, prepare=prepare_tiles)
"""The stage that trains it."""


def ensemble(run: Run, name: str, label: str, *, stage: str = STAGE.name) -> Ensemble:
    """How the trained stage draws masks.

    Args:
        run: the run.
        name: of its row in the metrics.
        label: of it in figures and the headline.
        stage: which trained network draws.
    """
    classes, members = run.facts.class_count, run.config.members
    trained = run.params[stage]["net"]
    draw = compiled_ensemble(network(run), sampling(run.config), trained, classes, members=members)
    return Ensemble(name, label, draw, members * classes)
