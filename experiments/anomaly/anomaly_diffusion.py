"""Partial diffusion: what a model of healthy images does not give back after noise is an anomaly (AnoDDPM).

    jaxgen run anomaly_diffusion                                        # phantom brains in T2, computed
    jaxgen run anomaly_diffusion --noise white,simplex --levels 0.25    # which noise, and how far up
    jaxgen run anomaly_diffusion --data brain_tumor_mri_128.npz         # labels: `--healthy notumor` against the rest
    jaxgen run anomaly_diffusion --data PATIENTS --residual brighter    # a folder of volumes with masks; FLAIR

One network a kind of noise, trained on healthy images. The level of each is the one that finds artificial anomalies in
healthy validation images best; no true lesion is looked at. Beside: a coarse-noise denoising autoencoder, a variational
one, principal components, z-scores and brightness, on the same cases. With several scales of coarse noise, a plot shows
which is best for lesions of which size.

Wyatt et al. 2022, "AnoDDPM: anomaly detection with denoising diffusion probabilistic models using simplex noise";
Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", for the coarse noise.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data.phantoms import LESIONS
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, StageSpec
from jaxgen.medical import anomaly
from jaxgen.metrics import average_precision
from jaxgen.samplers import ddim, denoiser
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.anomaly import levels
from jaxgen.tasks.best import highest
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old.networks import network
from jaxgen.train import Stage
from jaxgen.types import Key, NoiseDistribution

Law = Literal["white", "simplex", "coarse32", "coarse16", "coarse8", "coarse4"]
LAWS: tuple[Law, ...] = ("white", "simplex", "coarse32", "coarse16", "coarse8", "coarse4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionConfig(levels.LevelsConfig):
    """The configuration of `anomaly_diffusion`."""

    noise: tuple[Law, ...] = option(
        ("white", "coarse16", "coarse8", "coarse4"),
        "kinds of noise, a network each; coarse8 has 8 nodes along a side",
        group="method",
    )
    noise_deviation: float = option(1.0, "of the simplex noise; 0.515 is AnoDDPM's", gt=0, group="method")
    highest: float = option(0.8, "train up to this share of the way to the noise", gt=0, le=1, group="method")
    sampler_steps: int = option(5, "steps from the level to the image; 1 is a single call", ge=1, group="sampling")
    eta: float = option(1.0, "new noise in each step: 1 ancestral, 0 none", ge=0, group="sampling")
    radii: tuple[float, ...] = option(
        (2.0, 4.0, 8.0, 12.0), "radii of the study of sizes, pixels of 64", gt=0, group="judging"
    )
    radius_images: int = option(40, "phantoms of each radius; 0 leaves the study out", ge=0, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if len(set(self.noise)) != len(self.noise) or not self.noise:
            raise UserError(f"--noise must name some kinds of noise, each once, got {' '.join(self.noise)}")
        levels.check_levels(self.levels, self.highest)


def _law(config: DiffusionConfig, name: str) -> NoiseDistribution:
    if name == "white":
        return draws.normal
    if name == "simplex":
        return anomaly.make_simplex_noise(config.wavelength, std=config.noise_deviation)
    return anomaly.make_coarse_noise(min(int(name.removeprefix("coarse")), config.size))


def _stage(name: str) -> StageSpec:
    def build(config: DiffusionConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        noise = None if name == "white" else _law(config, name)
        model = denoisers.make_model(config, constants, time=denoisers.times_up_to(config.highest), noise=noise)
        return Stage(name, model, images.optimizers(config), config.steps, shared.prepare(config))

    return StageSpec(name, build, lambda config: name in config.noise)


def _restorer(config: DiffusionConfig, constants, trained, name: str) -> levels.Restore:
    """Partial diffusion."""
    net, path, law = network(config, constants), denoisers.make_path(config), _law(config, name)

    @jax.jit
    def run(params, keys, x, level):
        denoise = denoiser(lambda x, t: net.apply(params, x, t), path, config.prediction)
        grid = denoisers.grid_from(path, level, config.sampler_steps)
        step = ddim(path, config.eta, noise=law)
        restored = anomaly.partial_diffusion(step, path, denoise, keys, x, grid, noise=law, repeats=config.repeats)
        return jnp.mean(restored, 0)

    return levels.restorer(config, run, trained[name]["net"])


def _sizes(config: DiffusionConfig, key: Key, restorers, bench: judging.Bench) -> tuple[dict[str, Any], Figure]:
    """Which noise is best for lesions of which size; levels from artificial anomalies of the same size."""
    healthy = bench.validation[: config.radius_images]
    within = anomaly.foreground(healthy, shared.FLOOR)
    curves: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in restorers}
    for radius in config.radii:
        pixels = radius * config.size / 64
        artificial = anomaly.paste_anomalies(config.seed, healthy, within, radius=(pixels, pixels))
        drawn = shared.phantoms(config, config.radius_images, 3, LESIONS["L1"].of_radius(radius))
        for name, restore in restorers.items():
            tuned = judging.tuned(config, functools.partial(restore, key), config.levels, artificial)
            score, _ = judging.cleaned(config, tuned.method, drawn["image"])
            curves[name][0].append(radius)
            curves[name][1].append(float(average_precision(score, drawn["mask"])))
    facts: dict[str, Any] = {
        f"radius {name}": {f"ap_r{r:g}": ap for r, ap in zip(*curve, strict=True)} for name, curve in curves.items()
    }
    scales = {name: wave for name in restorers if (wave := _wavelength(config, name)) is not None}
    if len(scales) > 1:
        best = [highest({name: curves[name][1][i] for name in scales}) for i in range(len(config.radii))]
        waves = [scales[name] for name in best]
        facts |= {f"best_wavelength_r{r:g}": wave for r, wave in zip(config.radii, waves, strict=True)}
        from scipy.stats import spearmanr  # takes a second to load

        order = spearmanr(config.radii, waves).statistic if len(set(waves)) > 1 else 0.0
        facts["size_correlation"] = float(order)
    caption = (
        "Average precision of bright lesions of one radius; each noise at the level that suits artificial anomalies."
    )
    return facts, pictures.curves(curves, caption, x="radius of the lesion, pixels of 64", y="average precision")


def _wavelength(config: DiffusionConfig, name: str) -> float | None:
    """Pixels between the nodes of a noise, of an image of 64; None for noise of many scales."""
    if name == "simplex":
        return None
    return 1.0 if name == "white" else 64 / int(name.removeprefix("coarse"))


def _evaluate(config: DiffusionConfig, constants, trained, splits, key) -> Evaluation:
    bench = judging.bench(config, constants, splits)
    simple = judging.baselines(config, bench.train)
    restorers: dict[str, levels.Restore] = {name: _restorer(config, constants, trained, name) for name in config.noise}
    found, along = levels.choose(config, restorers, key, bench)
    chosen = {f"{name} diffusion": tuned for name, tuned in found.items()}
    ours = {name: tuned.method for name, tuned in chosen.items()}
    methods = simple | shared.learned(config, constants, trained) | ours
    metrics: dict[str, Any]
    metrics, figures = judging.table(config, bench, methods, tuple(simple))
    for name, tuned in chosen.items():
        metrics[name] |= levels.facts(tuned)
    figures["levels"] = along
    if config.data == shared.PHANTOM and config.radius_images:
        facts, figures["sizes"] = _sizes(config, key, restorers, bench)
        metrics |= facts
    best = highest({name: metrics[name]["validation_ap"] for name in chosen})
    headline = judging.headline(metrics, best, tuple(simple))
    return Evaluation(metrics, figures, headline, levels.DESCRIBE, chosen=levels.levels_of(found))


def _apply(config: DiffusionConfig, constants, trained):
    """With the first kind of noise."""
    name = config.noise[0]
    return levels.applied(config, constants, name, _restorer(config, constants, trained, name))


SMALL = DiffusionConfig(
    path="linear",
    prediction="x0",
    steps=800,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.995,
    reference_steps=500,
    vae_steps=500,
    checkpoint_every=200,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    noise=("coarse8",),
    levels=(0.2, 0.4),
    sampler_steps=2,
    phantoms=40,
    lesions=4,
    chosen_on=4,
    radii=(2.0, 8.0),
    radius_images=0,
    reference_steps=2,
    vae_steps=2,
    vae_code=4,
    chunk=1,
    checkpoint_every=2,
    log_every=1,
)
FULL = DiffusionConfig(
    data="",
    size=256,
    path="linear",
    prediction="noise",
    noise=("simplex",),
    wavelength=64.0,
    noise_deviation=anomaly.SIMPLEX_STD,
    channels=(128, 128, 256, 256, 512, 512),
    blocks=2,
    attention=(4, 5),
    head_width=256,
    levels=(0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    sampler_steps=250,
    radius_images=0,
    reference_steps=67_200,
    vae_steps=67_200,
    steps=300_000,
    batch_size=1,
    learning_rate=1e-4,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    chunk=16,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="anomaly_diffusion",
    summary="Anomalies by partial diffusion, with noise of several kinds and levels, beside simple baselines",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=shared.load_data,
    measure=shared.measure_data,
    stages=(
        *shared.REFERENCES,
        *(_stage(name) for name in LAWS),
    ),
    evaluate=_evaluate,
    apply=_apply,
    baseline="pca-128",
    examples=shared.examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
