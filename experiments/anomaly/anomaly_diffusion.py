"""Partial diffusion: what a model of healthy images does not restore after noise is an anomaly (AnoDDPM).

    jaxgen run anomaly_diffusion                                        # phantom brains in T2, computed
    jaxgen run anomaly_diffusion --noise white,simplex --levels 0.25    # which noise, and how far up
    jaxgen run anomaly_diffusion --data brain_tumor_mri_128.npz         # labels: `--healthy notumor` against the rest
    jaxgen run anomaly_diffusion --data PATIENTS --residual brighter    # a folder of volumes with masks; FLAIR

One network per kind of noise, trained on healthy images; its level is the one that finds artificial anomalies best.
With several scales of coarse noise, a plot shows which is best for lesions of which size.

Wyatt et al. 2022, "AnoDDPM: anomaly detection with denoising diffusion probabilistic models using simplex noise";
Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", for the coarse noise.
"""

import dataclasses

import jax

from jaxgen import published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.losses.times import times_up_to
from jaxgen.medical.anomaly import SIMPLEX_STD, partial_diffusion
from jaxgen.samplers import ddim, denoiser, grids
from jaxgen.tasks import anomaly, diffusion, networks
from jaxgen.tasks.anomaly import sizes
from jaxgen.types import Array, Key, Model, Params

NOISES = ("white", "simplex", "coarse32", "coarse16", "coarse8", "coarse4")  # coarse8 has 8 nodes along a side


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyDiffusionConfig(sizes.SizesConfig, anomaly.restoration.RestorationConfig):
    noise: tuple[str, ...] = option(
        ("white", "coarse16", "coarse8", "coarse4"), "kinds of noise, a network each", choices=NOISES, group="method"
    )
    noise_std: float = option(1.0, "standard deviation, if simplex", gt=0, group="method", formerly="noise_deviation")
    highest: float = option(0.8, "train up to this share of the way to the noise", gt=0, le=1, group="method")
    sampler_steps: int = option(5, "steps from the level to the image; 1 is a single call", ge=1, group="sampling")
    eta: float = option(1.0, "new noise in each step: 1 ancestral, 0 none", ge=0, group="sampling")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.noise)) != len(self.noise):
            raise UserError(f"--noise must name some kinds of noise, each once, got {' '.join(self.noise)}")
        anomaly.restoration.check_levels(self.levels, self.highest)


def stage(noise: str) -> StageSpec:
    def model(run: Run) -> Model:
        drawn = None if noise == "white" else run.config.distribution(noise, std=run.config.noise_std)
        return diffusion.make_model(run, time=times_up_to(run.config.highest), noise=drawn)

    return anomaly.stage(noise, model, wanted=lambda config: noise in config.noise)


def methods(run: Run) -> list[anomaly.Method]:
    config, net, path = run.config, networks.network(run), diffusion.make_path(run.config)

    def with_noise(name: str) -> anomaly.Method:
        noise = config.distribution(name, std=config.noise_std)

        @jax.jit
        def restore(params: Params, keys: Key, x: Array, level: Array) -> Array:
            denoise = denoiser(lambda x, t: net.apply(params, x, t), path, config.prediction)
            grid, step = grids.from_share(path, level, config.sampler_steps), ddim(path, config.eta, noise=noise)
            return partial_diffusion(step, path, denoise, keys, x, grid, noise=noise, repeats=config.repeats).mean(0)

        return anomaly.restoration.restoring(run, f"{name} diffusion", restore, run.params[name]["net"], short=name)

    return [with_noise(name) for name in config.noise]


def evaluate(run: Run) -> Evaluation:
    compared = anomaly.Comparison(run, found := methods(run))
    metrics, figures = sizes.by_size(run, found, compared.bench.validation)
    return anomaly.restoration.evaluation(compared, metrics=metrics, figures=figures)


EXPERIMENT = anomaly.experiment(
    name="anomaly_diffusion",
    summary="Anomalies by partial diffusion, with noise of several kinds and levels, compared with simple baselines",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    config=AnomalyDiffusionConfig,
    presets={
        "smoke": {"noise": ("coarse8",), "levels": (0.2, 0.4), "reference_steps": 2, "vae_steps": 2, "vae_code": 4},
        "small": {"steps": 800, "vae_steps": 500, "checkpoint_every": 200},
        "full": published.HO_256
        | {"attention": (4, 5), "head_width": 256, "adaptive": True, "optimizer": "adam", "noise": ("simplex",)}
        | {"wavelength": 64.0, "noise_std": SIMPLEX_STD, "levels": (0.15, 0.2, 0.25, 0.3, 0.4, 0.5)}
        | {"sampler_steps": 250, "chunk": 16, "vae_steps": 67_200, "steps": 300_000, "batch_size": 1},
    },
    stages=[stage(noise) for noise in NOISES],
    evaluate=evaluate,
    methods=methods,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
