"""DiffuseMorph: registration by a diffusion network and a deformation network, compared with VoxelMorph.

    jaxgen run registration                                # computed brain slices: known warps, and pairs of subjects
    jaxgen run registration --data FOLDER                  # your images with label maps
    jaxgen run registration --denoising 0                  # is the diffusion loss needed?
    jaxgen apply RUN moving.nii.gz fixed.nii.gz --out DIR  # warped image, field for ITK and ANTs, Jacobian

Three models learn from the same pairs without any known field: DiffuseMorph as published (`diffusemorph`), with the
fixed image shown to the deformation network too (`direct`), and VoxelMorph with as many parameters. They are compared
with no registration and with TV-L1 optical flow. Kim, Han & Ye 2022, "DiffuseMorph: unsupervised deformable image
registration using diffusion model", arXiv 2112.05149.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run
from jaxgen.medical.registration.models import Registration, diffusemorph, voxelmorph
from jaxgen.nets import deformation_net, unet
from jaxgen.paths import discrete
from jaxgen.schedules import linear_betas
from jaxgen.tasks import registration
from jaxgen.tasks.images import Widths
from jaxgen.tasks.networks import check_levels
from jaxgen.tasks.registration.evaluation import compare, learned

NAMES = ("diffusemorph", "direct", "voxelmorph")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffuseMorphConfig(registration.RegistrationConfig):
    methods: tuple[str, ...] = option(NAMES, "what is trained; apply takes the first", choices=NAMES, group="method")
    denoising: float = option(1.0, "weight of the diffusion loss (0: none)", ge=0, group="method")
    channels: Widths = option((24, 48, 64), "widths of the diffusion U-Net's levels", ge=4, group="network")
    patch: int = option(2, "fold blocks of this many pixels per side into its channels", ge=1, le=16, group="network")
    attention: Widths | None = option(None, "its levels with self-attention, 0 the finest", ge=0, group="network")
    encoder: Widths = option((16, 32, 32, 32), "widths of the deformation network, downwards", ge=4, group="network")
    decoder: Widths = option((32, 32, 16), "widths of the deformation network, upwards", ge=4, group="network")
    baseline_encoder: Widths = option((16, 64, 128, 192), "those of VoxelMorph, downwards", ge=4, group="network")
    baseline_decoder: Widths = option((128, 64, 16), "those of VoxelMorph, upwards", ge=4, group="network")
    convolutions: int = option(1, "convolutions per level of both", ge=1, le=4, group="network")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.size, self.patch, self.channels, self.attention)


def morph(config: DiffuseMorphConfig, *, direct: bool = False) -> Registration:
    denoiser = unet(1, channels=config.channels, blocks=1, attention=config.attention or (), patch=config.patch)
    net = deformation_net(config.encoder, config.decoder, convolutions=config.convolutions)
    path = discrete(linear_betas(2000, 1e-6, 1e-2))
    return diffusemorph(denoiser, net, path, config.alignment, denoising=config.denoising, direct=direct)


def direct(config: DiffuseMorphConfig) -> Registration:
    return morph(config, direct=True)


def baseline(config: DiffuseMorphConfig) -> Registration:
    net = deformation_net(config.baseline_encoder, config.baseline_decoder, convolutions=config.convolutions)
    return voxelmorph(net, config.alignment)


MODELS = {"diffusemorph": morph, "direct": direct, "voxelmorph": baseline}


def evaluate(run: Run) -> Evaluation:
    models = {name: MODELS[name](run.config) for name in run.config.methods}
    return compare(run, [learned(run, name, one, shares=name != "voxelmorph") for name, one in models.items()])


def applied(run: Run) -> Callable[..., Mapping[str, np.ndarray]]:
    name = run.config.methods[0]
    return registration.apply_pair(run, name, MODELS[name](run.config))


TRAINING: dict[str, Any] = {"batch_size": 1, "schedule": "constant", "warmup_steps": 0, "optimizer": "adam"}
NARROW = {"encoder": (8, 8), "decoder": (8,), "baseline_encoder": (8, 24), "baseline_decoder": (8,)}

EXPERIMENT = registration.experiment(
    name="registration",
    summary="DiffuseMorph and VoxelMorph: registration without known fields, compared with TV-L1 optical flow",
    data="brain_tissue_phantom: drawn brain slices with tissues, under known warps and from one subject to another",
    config=DiffuseMorphConfig,
    presets={
        "small": {"weight": 20.0, "smoothness": 0.5, "steps": 1000, "batch_size": 8}
        | {"ema_decay": 0.99, "checkpoint_every": 250},
        "smoke": NARROW,
        # ACDC as published.
        "full": {"size": (128, 128, 32), "weight": 20.0, "learning_rate": 2e-4, "steps": 72_000, **TRAINING}
        | {"channels": (8, 16, 32, 32), "patch": 1, "encoder": (16, 32, 32, 32, 32), "decoder": (32, 32, 32, 8)}
        | {"baseline_encoder": (16, 48, 80, 96), "baseline_decoder": (80, 48, 16)},
        "full-2d": {"size": 128, "weight": 2.0, "learning_rate": 5e-6, "channels": (64, 128, 256, 256)}
        | {"encoder": (64, 128, 256, 512, 1024), "decoder": (512, 256, 128, 64), "convolutions": 2}
        | {"baseline_encoder": (64, 128, 256, 512, 1280), "baseline_decoder": (640, 256, 128, 64)},
    },
    stages=tuple(registration.stage(name, MODELS[name]) for name in NAMES),
    evaluate=evaluate,
    apply_pair=applied,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
