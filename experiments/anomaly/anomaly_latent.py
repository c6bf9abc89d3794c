"""Unlikely codes: a latent diffusion model of healthy images says where, heals the code there, and decodes it.

    jaxgen run anomaly_latent                                   # phantom brains in T2, computed
    jaxgen run anomaly_latent --percentile 95                   # flag more of the code
    jaxgen run anomaly_latent --data brain_tumor_mri_128.npz    # or data with masks, see anomaly_diffusion

A convolutional autoencoder, then a diffusion model of the codes of healthy images. The threshold of each place of the
code is a percentile of healthy validation images. Compared with the parts of the method alone.

Pinaya et al. 2022, "Fast unsupervised brain anomaly detection and segmentation with diffusion models", arXiv
2206.03461.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import EVALUATE, Evaluation, Metric, Run, key_of
from jaxgen.medical.anomaly import LatentHealing, calibrate, heal, latent_divergence
from jaxgen.metrics import auroc
from jaxgen.paths import time_at
from jaxgen.samplers import ddim, grids
from jaxgen.tasks import anomaly, diffusion, latent
from jaxgen.types import Array, Key, Params

Healing = Callable[[Key, Key], LatentHealing]
"""From keys, to flag and to heal, to the method."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyLatentConfig(anomaly.AnomalyConfig, latent.LatentConfig):
    first: float = option(0.4, "divergences from this share of the way to the noise", gt=0, lt=1, group="method")
    last: float = option(0.6, "to this one", gt=0, lt=1, group="method")
    times: int = option(10, "the number of times of divergences", ge=1, group="method")
    percentile: float = option(97.5, "of healthy images, above which a place is healed", gt=0, lt=100, group="method")
    level: float = option(0.5, "healing starts at this share of the way to the noise", gt=0, le=1, group="sampling")
    sampler_steps: int = option(20, "steps of the healing", ge=1, group="sampling")
    gate_std: float = option(1.0, "smoothing of the mask, pixels", ge=0, group="method", formerly="gate_deviation")


def make_healing(run: Run) -> Healing:
    """Calibrated on healthy validation images with the noise that the run's evaluation draws."""
    config, path = run.config, diffusion.make_path(run.config)
    first, last, level = (time_at(path, share) for share in (config.first, config.last, config.level))
    times, grid = jnp.linspace(first, last, config.times), grids.uniform(path, config.sampler_steps, start=level)

    def diverge(params: Params, keys: Key, x: Array) -> Array:
        codes = latent.codes(run, params)
        divergence = latent_divergence(path, codes.denoise, keys, codes.encode(x), times, at_once=2)
        return jnp.moveaxis(divergence, 0, 1)

    def restore(params: Params, keys: Key, x: Array, mask: Array) -> Array:
        codes = latent.codes(run, params)
        return codes.decode(heal(ddim(path, 1.0), path, codes.denoise, keys, codes.encode(x), mask, grid))

    diverged, healed = (anomaly.draw_in_chunks(run, function, run.params) for function in (diverge, restore))

    def divergence(key: Key, x: np.ndarray) -> np.ndarray:
        return np.moveaxis(diverged(key, x), 1, 0)

    splits, key = run.splits or anomaly.load(config), jax.random.split(key_of(config, EVALUATE), 3)[0]
    usual = divergence(key, anomaly.prepared(run, splits.validation)["image"])
    residual = anomaly.residual_of(config.residual, config.score_channels)
    options = calibrate(usual, percentile=config.percentile), residual, config.gate_std
    return lambda flag_key, heal_key: LatentHealing(partial(divergence, flag_key), partial(healed, heal_key), *options)


def methods(
    run: Run, healing: Healing | None = None, keys: Callable[[Key], Key] = jax.random.split
) -> list[anomaly.Method]:
    made = healing or make_healing(run)

    def finding(found: Callable[..., tuple]) -> Callable[[Key, np.ndarray], anomaly.Found]:
        return lambda key, x: anomaly.Found(*found(made(*keys(key)), x))

    return [anomaly.Method(name, finding(found)) for name, found in LatentHealing.maps().items()]


def evaluate(run: Run) -> Evaluation:
    healing, keys = make_healing(run), lambda key: jax.random.split(key, 3)[1:]
    compared, metrics = anomaly.Comparison(run, methods(run, healing, keys)), {}
    if "L1" in compared.bench.lesions:
        x, mask = compared.bench.lesions["L1"]
        score, _ = healing(*keys(run.key)).flagged(x)
        share = jax.image.resize(jnp.asarray(mask, jnp.float32), score.shape, "linear")
        metrics["latent healing"] = {"code_auroc": float(auroc(np.asarray(score), share > 0.5))}
    about = Metric("AUROC, codes", "higher", "unlikely places of the code against lesions, L1")
    return compared.evaluation("latent healing", metrics=metrics, describe={"code_auroc": about})


EXPERIMENT = anomaly.experiment(
    name="anomaly_latent",
    summary="Anomalies as codes that latent diffusion finds unlikely, healed by inpainting and decoded",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    config=AnomalyLatentConfig,
    presets={
        "smoke": {"autoencoder_channels": (8, 8), "autoencoder_steps": 4, "times": 2},
        "small": {"prediction": "noise", "channels": (32, 64), "lesions": 100, "reference_steps": 0}
        | {"steps": 2000, "batch_size": 16},
        "full": {"size": 192, "autoencoder_channels": (64, 128, 256, 256), "autoencoder_steps": 200_000}
        | {"channels": (128, 256, 256), "blocks": 2, "attention": (1, 2), "head_width": 64, "times": 50}
        | {"sampler_steps": 500}
        | {"steps": 300_000, "batch_size": 64},
    },
    stages=latent.stages(anomaly.prepare),
    evaluate=evaluate,
    methods=methods,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
