"""PatchDDM: mask diffusion of volumes, trained on patches that know their place, drawn on whole volumes at once.

    jaxgen run patch_ddm                                  # computed volumes in which the place decides: minutes
    jaxgen run patch_ddm --no-coordinates                 # the same without places: it has to guess
    jaxgen run patch_ddm --data vessels3d_phantom/48      # thin structures, which half the resolution loses
    jaxgen run patch_ddm --data FOLDER --foreground each  # NIfTI volumes with masks, every label a class

Drawn as published, whole, and window by window with one noise field; compared with the same network trained on volumes
down-sampled by two. Bieder et al. 2023, "Memory-efficient 3D denoising diffusion models for medical image processing",
arXiv 2303.15288.
"""

import dataclasses
from typing import Literal

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.tasks import segmentation
from jaxgen.tasks.segmentation import diffusion, resolution

VOLUMES = {"data": "position3d_phantom/48", "size": 24, "tile_overlap": 12, "patch": 2, "batch_size": 4, "chunk": 4}
NETWORKS = {"channels": (16, 32, 48), "baseline_channels": (16, 32, 48)}
DRAWN = {"members": 4, "sampler": "ddim", "sampler_steps": 10, "test_images": 12}
# Of the paper: its chain, its patches, its network and its training.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddpm", "sampler_steps": 1000, "members": 5}
WIDTHS = {"channels": (29, 87, 116, 116, 116, 116, 116), "baseline_channels": (29, 87, 116, 116, 116, 116, 116)}
BLOCKS = {"data": "position3d_phantom/256", "size": 128, "patch": 1, "blocks": 2, "adaptive": False}
TRAINING = {"steps": 300_000, "batch_size": 1, "learning_rate": 1e-5, "warmup_steps": 0, "schedule": "constant"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchConfig(diffusion.MaskDiffusionConfig):
    spatial: Literal[2, 3] = option(3, "axes: 2 for images and slices, 3 for whole volumes", group="data")
    coordinates: bool = option(True, "give networks the place of each pixel as further channels", group="data")
    whole: bool = option(True, "draw whole volumes at once, not window by window", group="sampling")
    half_resolution: bool = option(False, "train the network at half the resolution too", group="evaluation")
    memory: bool = option(True, "compare the memory of steps of patches and of whole volumes", group="evaluation")


def method(run: Run) -> segmentation.Ensemble:
    return diffusion.ensemble(run, "diffusion", "PatchDDM")


def evaluate(run: Run) -> Evaluation:
    """As configured, with rows of the other way to draw volumes, by windows or whole, and of half the resolution."""
    ours = segmentation.Comparison(run, method(run)).evaluation()
    other = run._replace(config=dataclasses.replace(run.config, whole=not run.config.whole))
    name, dice = "diffusion, windows" if run.config.whole else "diffusion, whole", ours.metrics["diffusion"]["dice"]
    found = {name: segmentation.Comparison(other, method(run)).metrics()["diffusion"]}
    numbers = {"dice_difference": dice - found[name]["dice"]}
    if "half" in run.params:
        half = resolution.at_half(run)
        coarse = diffusion.ensemble(half, "diffusion", "half the resolution", stage="half")
        found["half the resolution"] = segmentation.Comparison(half, coarse).metrics()["diffusion"]
        numbers["gain_over_half"] = dice - found["half the resolution"]["dice"]
    if run.config.memory and run.facts.spacing:
        numbers |= resolution.memory_of_steps(run)
    return ours._replace(metrics={**ours.metrics, **found, **numbers}, describe={**ours.describe, **DESCRIBE})


DESCRIBE = {
    "dice_difference": Metric(
        "Dice difference", "", "of the diffusion as configured less the other way to draw volumes"
    ),
    "gain_over_half": Metric("Dice gain", "higher", "of the diffusion as configured over half the resolution"),
    "patch_step_mib": Metric("Step of patches, MiB", "lower", "memory of a compiled training step"),
    "whole_step_mib": Metric("Step of whole volumes, MiB", "", "the same, of as many volumes"),
    "memory_ratio": Metric("Memory ratio", "lower", "the first over the second"),
}
EXPERIMENT = segmentation.experiment(
    name="patch_ddm",
    summary="Segmentation of volumes by diffusion: trained on patches that know their place, drawn on whole volumes",
    data="volumes with equal blobs, of which those of one half are lesions, computed; or your volumes with masks",
    config=PatchConfig,
    presets={
        "small": {**VOLUMES, **NETWORKS, **DRAWN, "half_resolution": True, "steps": 1500},
        "smoke": {"data": "position3d_phantom/16", "size": 8, "tile_overlap": 4, "sampler_steps": 2, "members": 2}
        | {"test_images": 2, "memory": False},
        "full": {**CHAIN, **WIDTHS, **BLOCKS, **TRAINING, "half_resolution": True, "ema_decay": 0.9999},
    },
    stages=(resolution.HALF, diffusion.STAGE),
    method=method,
    evaluate=evaluate,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
