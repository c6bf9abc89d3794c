"""Patch diffusion: one box at a time is noised and restored, given the rest of the image (pDDPM).

    jaxgen run anomaly_patch                                    # phantom brains in T2, computed
    jaxgen run anomaly_patch --box 16 --overlap 8               # smaller boxes that overlap
    jaxgen run anomaly_patch --data brain_tumor_mri_128.npz     # or data with masks, see anomaly_diffusion

Two equal networks with the same noise: one restores boxes, one whole images, both in one call.
Behrendt et al. 2024, "Patched diffusion models for unsupervised anomaly detection in brain MRI", arXiv 2303.03758.
"""

import dataclasses

import jax

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.imaging.tiles import Tiling, tiling
from jaxgen.medical.anomaly import averaged, patch_diffusion, patch_diffusion_model
from jaxgen.paths import time_at
from jaxgen.samplers import denoiser
from jaxgen.tasks import anomaly, diffusion, networks
from jaxgen.types import Array, Key, Model, Params

NAMES = {"boxes": "patch diffusion", "whole": "whole-image diffusion"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyPatchConfig(anomaly.restoration.RestorationConfig, anomaly.restoration.CoarseNoiseConfig):
    box: int = option(32, "side of a box in pixels", ge=2, group="method")
    overlap: int = option(16, "pixels that neighbouring boxes share", ge=0, group="method")
    merge: str = option("average", "how boxes that overlap are stitched", choices=("average", "cut"), group="method")
    noise: str = option("simplex", "the kind of noise", choices=("simplex", "white", "coarse"), group="method")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.overlap >= self.box:
            raise UserError(f"--overlap must be less than --box {self.box}, got {self.overlap}")
        if self.box > self.size:
            raise UserError(f"--box must be at most --size {self.size}, got {self.box}")


def boxes(config: AnomalyPatchConfig, name: str) -> Tiling:
    """A box as large as the image is diffusion of the whole image."""
    sides = (config.size, config.size)
    return tiling(sides, config.size) if name == "whole" else tiling(sides, config.box, config.overlap)


def stage(name: str) -> StageSpec:
    def model(run: Run) -> Model:
        config, path = run.config, diffusion.make_path(run.config)
        options = {"prediction": config.prediction, "noise": config.distribution(config.noise, cells=config.cells)}
        return patch_diffusion_model(networks.network(run), path, boxes(config, name), **options)

    return anomaly.stage(name, model)


def methods(run: Run) -> list[anomaly.Method]:
    config, net, path = run.config, networks.network(run), diffusion.make_path(run.config)
    options = {"noise": config.distribution(config.noise, cells=config.cells), "merge": config.merge}

    def by_diffusion(name: str) -> anomaly.Method:
        @jax.jit
        def restore(params: Params, keys: Key, x: Array, level: Array) -> Array:
            denoise = denoiser(lambda x, t: net.apply(params, x, t), path, config.prediction)
            t = time_at(path, level)
            once = lambda key: patch_diffusion(path, denoise, key, x, boxes(config, name), t, **options)  # noqa: E731
            return averaged(once, keys, config.repeats)

        return anomaly.restoration.restoring(run, NAMES[name], restore, run.params[name]["net"])

    return [by_diffusion(name) for name in NAMES]


def evaluate(run: Run) -> Evaluation:
    compared, task = anomaly.Comparison(run, methods(run)), anomaly.restoration
    return task.evaluation(compared, NAMES["boxes"], metrics=task.healthy_errors(compared))


EXPERIMENT = anomaly.experiment(
    name="anomaly_patch",
    summary="Anomalies by patch diffusion: boxes restored given the rest of the image, and whole images",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    config=AnomalyPatchConfig,
    presets={
        "smoke": {"box": 8, "overlap": 4, "noise": "coarse", "levels": (0.3, 0.6)},
        "small": {"path": "cosine", "levels": (0.2, 0.35, 0.5, 0.65), "repeats": 2},
        "full": {"size": 96, "path": "cosine", "prediction": "x0", "box": 48, "overlap": 24, "merge": "cut"}
        | {"wavelength": 64.0, "channels": (128, 256, 256), "blocks": 3, "attention": (2,)}
        | {"head_width": 64, "residual_resampling": True, "levels": (0.3, 0.4, 0.5, 0.6)}
        | {"erosion": 3, "median": 5, "steps": 200_000, "batch_size": 32, "optimizer": "adam"},
    },
    stages=[stage(name) for name in NAMES],
    evaluate=evaluate,
    methods=methods,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
