"""FlowSDF: segmentation by flow matching on signed distance maps, compared with a deterministic U-Net.

    jaxgen run flow_sdf                      # the shipped nuclei: minutes on 2 CPU cores
    jaxgen run flow_sdf --preset full --data DATA    # the paper's network and schedule for MoNuSeg

Both networks see the same images for the same number of steps, and have the same number of parameters within 10 %.
Bogensperger et al. 2025, "FlowSDF: flow matching for medical image segmentation using distance transforms", arXiv
2405.18087.
"""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures import segmentation as figures
from jaxgen.medical.segmentation import flow_sdf
from jaxgen.medical.segmentation.conditional import ConditionalNet, conditional_net
from jaxgen.nets import rrdb_encoder, unet
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids, heun, runge_kutta4
from jaxgen.tasks import images, networks, segmentation
from jaxgen.tasks.images import Widths
from jaxgen.types import Model

SAMPLERS = {"euler": euler, "heun": heun, "rk4": runge_kutta4, "authors": flow_sdf.authors_euler}
# Of the paper: its data, its flow, its network and its training.
DATA = {"intensity": "data", "percentiles": (0.0, 100.0), "quarter_turns": False}
FLOW = {"truncation": 15.0, "sigma_min": 1e-5, "prediction": "velocity", "repeats": 1, "ode_steps": 3}
WIDTHS = {"channels": (128, 128, 256, 256, 512, 512), "baseline_channels": (128, 128, 256, 256, 544, 544)}
BLOCKS = {"network": "segdiff", "patch": 1, "blocks": 3, "attention": (3, 4), "heads_width": 512, "adaptive": False}
STEPS = {"steps": 500_000, "batch_size": 4, "ema_decay": 0.999}
OPTIMIZER = {"learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant", "optimizer": "adam"}
# Volumes of several classes in minutes, from patches.
VOLUMES = {"data": "tumour3d_phantom", "foreground": "each", "spatial": 3, "size": 24, "tile_overlap": 12, "patch": 2}
SHORT = {"batch_size": 4, "truncation": 4.0, "ode_steps": 5, "members": 8, "chunk": 8}
NARROW = {"encoder_channels": (16, 32), "channels": (16, 32), "baseline_channels": (24, 48)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSDFConfig(segmentation.SegmentationConfig):
    prediction: Literal["velocity", "x0"] = option("x0", "predict the velocity (paper) or the map", group="method")
    sigma_min: float = option(1e-3, "noise left at the data end of the path", ge=0, lt=1, group="method")
    max_weight: float = option(6.0, "upper limit of the loss's weight 1 / sigma^2", ge=1, group="method")
    repeats: int = option(2, "noisy versions of a map per step; the image is encoded once", ge=1, group="method")
    network: Literal["shared", "segdiff"] = option("shared", "image encoder: a U-Net, or the paper's", group="network")
    encoder_channels: Widths = option(
        (32, 64, 96), "widths of the shared image encoder's levels", ge=4, group="network", formerly="image_channels"
    )
    channels: Widths = option((24, 48), "widths of the denoising U-Net's levels", ge=4, group="network")
    adaptive: bool = option(True, "time scales and shifts the norms; otherwise it is added", group="network")
    sampler: str = option("euler", "authors: as published, does not converge", choices=SAMPLERS, group="sampling")
    ode_steps: int = option(10, "steps from noise to distance map", ge=1, le=10_000, group="sampling")

    def __post_init__(self) -> None:
        """Check every field, and the levels of both networks."""
        super().__post_init__()
        networks.check_levels(self.size, self.patch, self.channels, self.attention)
        if self.network == "shared":
            networks.check_levels(self.size, self.patch, self.encoder_channels, None)


def flow_network(config: FlowSDFConfig, classes: int = 1) -> ConditionalNet:
    denoiser = unet(classes, channels=config.channels, adaptive=config.adaptive, **segmentation.unet_options(config))
    shared = unet(config.channels[0], channels=config.encoder_channels, blocks=config.blocks)
    encoder = shared if config.network == "shared" else rrdb_encoder(config.channels[0])
    return conditional_net(encoder, denoiser, patch=config.patch)


def sampling(config: FlowSDFConfig) -> Sampling:
    path = rectified(config.sigma_min)
    return Sampling(path, SAMPLERS[config.sampler](path), grids.uniform(path, config.ode_steps), config.prediction)


def model(run: Run) -> Model:
    config = run.config
    weight = flow_sdf.velocity_weight(rectified(config.sigma_min), config.max_weight)
    options = {"repeats": config.repeats, "weight": weight if config.prediction == "x0" else None}
    return flow_sdf.flow_sdf(flow_network(config, run.facts.class_count), sampling(config), **options)


def drawing(run: Run, **options: Any) -> Any:
    net, classes = flow_network(run.config, run.facts.class_count), run.facts.class_count
    return flow_sdf.compiled_ensemble(net, sampling(run.config), run.params["flow_sdf"]["net"], classes, **options)


def method(run: Run) -> segmentation.Ensemble:
    members = run.config.members
    return segmentation.Ensemble("flow_sdf", "FlowSDF", drawing(run, members=members), members * run.facts.class_count)


def evaluate(run: Run) -> Evaluation:
    compared, key = segmentation.Comparison(run, method(run)), jax.random.fold_in(run.key, len(run.splits.test))
    tiles, times = compared.first_tiles(), np.asarray(sampling(run.config).grid).tolist()
    (ways,) = drawing(run, members=1, keep=True)(key, tiles)
    return compared.evaluation({"flow": figures.from_noise(np.asarray(ways)[..., 0], tiles, times)})


EXPERIMENT = segmentation.experiment(
    name="flow_sdf",
    summary="Segmentation by flow matching on signed distance maps, with uncertainty, compared with a U-Net",
    data="nuclei_dsb2018: 334 fluorescence images of nuclei, 128 pixels, CC0, shipped",
    config=FlowSDFConfig,
    presets={
        "smoke": {"encoder_channels": (12,), "ode_steps": 3},
        "small-volumes": {**VOLUMES, **SHORT, **NARROW},
        "full": {**DATA, **FLOW, **WIDTHS, **BLOCKS, **STEPS, **OPTIMIZER},
        "full-glas": {"sigma_min": 1e-3, "ema_decay": 0.9999},
    },
    stages=(images.stage("flow_sdf", model, prepare=segmentation.prepare_tiles),),
    method=method,
    evaluate=evaluate,
    sample_flags={"sampler": "sampler", "steps": "ode_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
