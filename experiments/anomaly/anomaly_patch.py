"""Patch diffusion: box after box is noised and restored in the light of the rest of the image (pDDPM).

    jaxgen run anomaly_patch                                    # phantom brains in T2, computed
    jaxgen run anomaly_patch --box 16 --overlap 8               # smaller boxes that overlap
    jaxgen run anomaly_patch --data brain_tumor_mri_128.npz     # or data with masks, see anomaly_diffusion

Two equal networks with the same noise: one restores boxes, one whole images, both in one call. Beside: a coarse-noise
denoising autoencoder, principal components, z-scores and brightness, on the same cases. Levels are chosen on artificial
anomalies in healthy validation images.

Behrendt et al. 2024, "Patched diffusion models for unsupervised anomaly detection in brain MRI", arXiv 2303.03758.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.imaging.tiles import Tiling, tiling
from jaxgen.medical import anomaly
from jaxgen.samplers import denoiser
from jaxgen.tasks import before
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.anomaly import levels
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old.networks import network
from jaxgen.train import Stage
from jaxgen.types import NoiseDistribution


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchConfig(levels.LevelsConfig):
    """The configuration of `anomaly_patch`."""

    box: int = option(32, "side of a box in pixels", ge=2, group="method")
    overlap: int = option(16, "pixels that neighbouring boxes share", ge=0, group="method")
    merge: Literal["average", "cut"] = option("average", "how boxes that overlap are stitched", group="method")
    noise: Literal["simplex", "white", "coarse"] = option("simplex", "the kind of noise", group="method")
    cells: int = option(8, "nodes of the coarse noise along one side", ge=1, group="method")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.overlap >= self.box:
            raise UserError(f"--overlap must be less than --box {self.box}, got {self.overlap}")
        if self.box > self.size:
            raise UserError(f"--box must be at most --size {self.size}, got {self.box}")
        if self.noise == "coarse":
            levels.check_cells(self.cells, self.size)


def _law(config: PatchConfig) -> NoiseDistribution:
    laws = {
        "white": draws.normal,
        "simplex": anomaly.make_simplex_noise(config.wavelength),
        "coarse": anomaly.make_coarse_noise(config.cells),
    }
    return laws[config.noise]


def _plan(config: PatchConfig, stage: str) -> Tiling:
    """The boxes; a box as large as the image is diffusion of the whole image."""
    sides = (config.size, config.size)
    return tiling(sides, config.size) if stage == "whole" else tiling(sides, config.box, config.overlap)


def _stage(stage: str) -> StageSpec:
    def build(config: PatchConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        model = anomaly.patch_diffusion_model(
            network(config, constants),
            denoisers.make_path(config),
            _plan(config, stage),
            prediction=config.prediction,
            noise=_law(config),
        )
        return Stage(stage, model, images.optimizers(config), config.steps, shared.prepare(config))

    return StageSpec(stage, build)


def _restorer(config: PatchConfig, constants, trained, stage: str) -> levels.Restore:
    """Boxes of the stage, one after the other."""
    net, path, plan, law = network(config, constants), denoisers.make_path(config), _plan(config, stage), _law(config)

    @jax.jit
    def run(params, keys, x, level):
        denoise = denoiser(lambda x, t: net.apply(params, x, t), path, config.prediction)
        t = denoisers.time_at(path, level)

        def once(_, key):
            return None, anomaly.patch_diffusion(path, denoise, key, x, plan, t, noise=law, merge=config.merge)

        return jnp.mean(jax.lax.scan(once, None, draws.split(keys, config.repeats))[1], 0)

    return levels.restorer(config, run, trained[stage]["net"])


NAMES = {"boxes": "patch diffusion", "whole": "whole-image diffusion"}
DESCRIBE = {
    **levels.DESCRIBE,
    "healthy_error": Metric(
        "Healthy error", "lower", "mean absolute residual of the healthy pixels round artificial anomalies"
    ),
}


def _evaluate(config: PatchConfig, constants, trained, splits, key) -> Evaluation:
    bench = judging.bench(config, constants, splits)
    simple = judging.baselines(config, bench.train)
    restorers = {name: _restorer(config, constants, trained, stage) for stage, name in NAMES.items()}
    chosen, along = levels.choose(config, restorers, key, bench)
    ours = {name: tuned.method for name, tuned in chosen.items()}
    methods = simple | shared.learned(config, constants, trained) | ours
    metrics, figures = judging.table(config, bench, methods, tuple(simple))
    x, mask = bench.chosen_on
    kept = anomaly.foreground(x, shared.FLOOR) & ~mask
    for name, tuned in chosen.items():
        metrics[name] |= levels.facts(tuned) | {"healthy_error": float(np.mean(tuned.method(x)[0][kept]))}
    figures["levels"] = along
    headline = judging.headline(metrics, NAMES["boxes"], tuple(simple))
    return Evaluation(metrics, figures, headline, DESCRIBE, chosen=levels.levels_of(chosen))


def _apply(config: PatchConfig, constants, trained):
    """Box by box."""
    return levels.applied(config, constants, NAMES["boxes"], _restorer(config, constants, trained, "boxes"))


SMALL = PatchConfig(
    path="cosine",
    levels=(0.2, 0.35, 0.5, 0.65),
    repeats=2,
    prediction="x0",
    steps=1000,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.995,
    reference_steps=500,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    box=8,
    overlap=4,
    noise="coarse",
    levels=(0.3, 0.6),
    phantoms=40,
    lesions=4,
    chosen_on=4,
    reference_steps=0,
    chunk=1,
    checkpoint_every=2,
    log_every=1,
)
FULL = PatchConfig(
    data="",
    size=96,
    path="cosine",
    prediction="x0",
    box=48,
    overlap=24,
    merge="cut",
    wavelength=64.0,
    channels=(128, 256, 256),
    blocks=3,
    attention=(2,),
    head_width=64,
    residual_resampling=True,
    levels=(0.3, 0.4, 0.5, 0.6),
    repeats=1,
    erosion=3,
    median=5,
    reference_steps=67_200,
    steps=200_000,
    batch_size=32,
    learning_rate=1e-4,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="anomaly_patch",
    summary="Anomalies by patch diffusion: boxes restored in the light of the rest, beside whole-image diffusion",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=shared.load_data,
    measure=shared.measure_data,
    stages=(
        *shared.REFERENCES,
        *(_stage(name) for name in NAMES),
    ),
    evaluate=_evaluate,
    apply=_apply,
    baseline="pca-128",
    examples=shared.examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
