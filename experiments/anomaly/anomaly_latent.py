"""Unlikely codes: a latent diffusion model of healthy images says where, heals the code there, and decodes it.

    jaxgen run anomaly_latent                                   # phantom brains in T2, computed
    jaxgen run anomaly_latent --percentile 95                   # flag more of the code
    jaxgen run anomaly_latent --data brain_tumor_mri_128.npz    # or data with masks, see anomaly_diffusion

A convolutional autoencoder with a slightly regularised code, then a diffusion model of the codes of healthy images.
The threshold of each place of the code is a percentile of healthy validation images. Compared with the autoencoder's
own residual, healing without the gate and the gate without healing.

Pinaya et al. 2022, "Fast unsupervised brain anomaly detection and segmentation with diffusion models", arXiv
2206.03461.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import EVALUATE, Evaluation, Metric, Run, StageSpec, key_of
from jaxgen.families import latent_autoencoder_model, scaled_codes_model
from jaxgen.families.latent_autoencoder import decode, encode
from jaxgen.medical.anomaly import LatentHealing, calibrate, heal, latent_divergence
from jaxgen.metrics import auroc
from jaxgen.nets import decoder, encoder
from jaxgen.samplers import ddim, denoiser, grids
from jaxgen.tasks import anomaly, diffusion, images
from jaxgen.tasks.networks import network
from jaxgen.train import Stage
from jaxgen.types import Array, Denoise, Key, Model, Net, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyLatentConfig(anomaly.AnomalyConfig, diffusion.DiffusionConfig):
    """The configuration of `anomaly_latent`."""

    code_channels: int = option(4, "channels of the code", ge=1, group="network")
    autoencoder_channels: images.Widths = option(
        (16, 32, 64), "widths of the autoencoder's levels", ge=4, group="network"
    )
    autoencoder_steps: int = option(1000, "training steps of the autoencoder", ge=1, group="training")
    divergence_weight: float = option(1e-6, "of the KL of the code from a Gaussian", ge=0, group="training")
    first: float = option(0.4, "divergences from this share of the way to the noise", gt=0, lt=1, group="method")
    last: float = option(0.6, "to this one", gt=0, lt=1, group="method")
    times: int = option(10, "the number of times of divergences", ge=1, group="method")
    percentile: float = option(97.5, "of healthy images, above which a place is healed", gt=0, lt=100, group="method")
    level: float = option(0.5, "healing starts at this share of the way to the noise", gt=0, le=1, group="sampling")
    sampler_steps: int = option(20, "steps of the healing", ge=1, group="sampling")
    gate_std: float = option(1.0, "smoothing of the mask, pixels", ge=0, group="method", formerly="gate_deviation")


def autoencoder(run: Run) -> tuple[Net, Net]:
    widths = run.config.autoencoder_channels
    return encoder(2 * run.config.code_channels, channels=widths), decoder(run.facts.image_channels, channels=widths)


def code_shape(run: Run) -> tuple[int, int, int]:
    side = run.config.size // 2 ** (len(run.config.autoencoder_channels) - 1)
    return side, side, run.config.code_channels


def autoencoder_model(run: Run) -> Model:
    weight = run.config.divergence_weight
    return latent_autoencoder_model(*autoencoder(run), code=code_shape(run), divergence_weight=weight)


def build_diffusion(run: Run) -> Stage:
    model = scaled_codes_model(diffusion.make_model(run, shape=code_shape(run), data="code"))
    encode_net, trained = autoencoder(run)[0], run.params["autoencoder"]

    def prepare(key: Key, batch: images.Batch) -> images.Batch:
        x = anomaly.prepare(run.config)(key, batch)["image"]
        return {"code": encode(encode_net, trained, x, 1.0)}

    return Stage("diffusion", model, {"net": images.optimizer(run.config)}, run.config.steps, prepare)


def make_healing(run: Run) -> Callable[[Key, Key], LatentHealing]:
    """From keys, to flag and to heal, to the method: calibrated on healthy validation images as in an evaluation."""
    config, path, net = (
        run.config,
        diffusion.make_path(run.config),
        network(run, image_channels=run.config.code_channels),
    )
    encode_net, decode_net = autoencoder(run)
    first, last, level = (diffusion.time_at(path, share) for share in (config.first, config.last, config.level))
    times, grid = jnp.linspace(first, last, config.times), grids.uniform(path, config.sampler_steps, start=level)

    def coded(params: Params, x: Array) -> tuple[Array, Array, Denoise]:
        factor = params["diffusion"]["scale"]["factor"]
        denoise = denoiser(lambda z, t: net.apply(params["diffusion"]["net"], z, t), path, config.prediction)
        return encode(encode_net, params["autoencoder"], x, factor), factor, denoise

    def diverge(params: Params, keys: Key, x: Array) -> Array:
        z, _, denoise = coded(params, x)
        return jnp.moveaxis(latent_divergence(path, denoise, keys, z, times, at_once=2), 0, 1)

    def heal_codes(params: Params, keys: Key, x: Array, mask: Array) -> Array:
        z, factor, denoise = coded(params, x)
        healed = heal(ddim(path, 1.0), path, denoise, keys, z, mask, grid)
        return decode(decode_net, params["autoencoder"], healed, factor)

    diverged, healed = (anomaly.in_chunks(run, function, run.params) for function in (diverge, heal_codes))

    def divergence(key: Key, x: np.ndarray) -> np.ndarray:
        return np.moveaxis(diverged(jax.random.split(key, len(x)), x), 1, 0)

    def restore(key: Key, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return healed(jax.random.split(key, len(x)), x, mask.astype(np.float32))

    splits = run.splits or anomaly.load(config)
    calibration_key = jax.random.split(key_of(config, EVALUATE), 3)[0]
    usual = divergence(calibration_key, anomaly.prepared(run, splits.validation)["image"])
    options = calibrate(usual, percentile=config.percentile), anomaly.RESIDUALS[config.residual], config.gate_std
    return lambda flag_key, heal_key: LatentHealing(
        functools.partial(divergence, flag_key), functools.partial(restore, heal_key), *options
    )


def methods(
    run: Run, healing: Callable[[Key, Key], LatentHealing] | None = None, keys: Callable[[Key], Key] = jax.random.split
) -> list[anomaly.Method]:
    healing = healing or make_healing(run)
    maps = {
        "latent healing": LatentHealing.healed,
        "without the gate": LatentHealing.ungated,
        "without healing": LatentHealing.unhealed,
        "likelihood of the code": LatentHealing.likelihood,
        "autoencoder residual": LatentHealing.reconstructed,
    }

    def finding(found: Callable[[LatentHealing, np.ndarray], tuple]) -> Callable[[Key, np.ndarray], anomaly.Found]:
        return lambda key, x: anomaly.Found(*found(healing(*keys(key)), x))

    return [anomaly.Method(name, finding(found)) for name, found in maps.items()]


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
        "small": {
            "prediction": "noise",
            "channels": (32, 64),
            "steps": 2000,
            "batch_size": 16,
            "lesions": 100,
            "reference_steps": 0,
        },
        "full": {
            "size": 192,
            "autoencoder_channels": (64, 128, 256, 256),
            "autoencoder_steps": 200_000,
            "channels": (128, 256, 256),
            "blocks": 2,
            "attention": (1, 2),
            "head_width": 64,
            "times": 50,
            "sampler_steps": 500,
            "steps": 300_000,
            "batch_size": 64,
        },
    },
    stages=[
        anomaly.stage("autoencoder", autoencoder_model, steps="autoencoder_steps", groups=("encoder", "decoder")),
        StageSpec("diffusion", build_diffusion),
    ],
    evaluate=evaluate,
    methods=methods,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
