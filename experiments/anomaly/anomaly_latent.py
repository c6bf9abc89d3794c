"""Unlikely codes: a latent diffusion model of healthy images says where, heals the code there, and decodes it.

    jaxgen run anomaly_latent                                   # phantom brains in T2, computed
    jaxgen run anomaly_latent --percentile 95                   # flag more of the code
    jaxgen run anomaly_latent --data brain_tumor_mri_128.npz    # or data with masks, see anomaly_diffusion

A convolutional autoencoder with a slightly regularised code, then a diffusion model of the codes of healthy images.
The threshold of each place of the code is a percentile of healthy validation images. Beside: the autoencoder's own
residual, healing without the gate and the gate without healing, a coarse-noise denoising autoencoder, principal
components, z-scores and brightness, on the same cases.

Pinaya et al. 2022, "Fast unsupervised brain anomaly detection and segmentation with diffusion models", arXiv
2206.03461.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.app.runner import EVALUATE, key_of
from jaxgen.config import option
from jaxgen.data import Splits
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import latent_autoencoder_model
from jaxgen.families.latent_autoencoder import decode, encode
from jaxgen.medical import anomaly
from jaxgen.metrics import auroc
from jaxgen.nets import decoder, encoder
from jaxgen.samplers import ddim, denoiser, grids
from jaxgen.tasks import before
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old.networks import network
from jaxgen.train import Stage
from jaxgen.types import Net


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentConfig(shared.AnomalyConfig, denoisers.DenoiserConfig):
    """The configuration of `anomaly_latent`."""

    code_channels: int = option(4, "channels of the code", ge=1, group="network")
    autoencoder_channels: images.Widths = option(
        (16, 32, 64), "widths of the autoencoder; each level but the first halves the image", ge=4, group="network"
    )
    autoencoder_steps: int = option(1000, "training steps of the autoencoder", ge=1, group="training")
    divergence_weight: float = option(1e-6, "of the divergence of the code from a normal law", ge=0, group="training")
    first: float = option(
        0.4, "divergences are taken from this share of the way to the noise", gt=0, lt=1, group="method"
    )
    last: float = option(0.6, "to this one", gt=0, lt=1, group="method")
    times: int = option(10, "at so many times", ge=1, group="method")
    percentile: float = option(97.5, "of healthy images, above which a place is healed", gt=0, lt=100, group="method")
    level: float = option(0.5, "healing starts at this share of the way to the noise", gt=0, le=1, group="sampling")
    sampler_steps: int = option(20, "steps of the healing", ge=1, group="sampling")
    gate_deviation: float = option(1.0, "smoothing of the enlarged mask, pixels", ge=0, group="method")


def _autoencoder(config: LatentConfig, constants) -> tuple[Net, Net]:
    return (
        encoder(2 * config.code_channels, channels=config.autoencoder_channels),
        decoder(constants["channels"], channels=config.autoencoder_channels),
    )


def _code_shape(config: LatentConfig) -> tuple[int, int, int]:
    side = config.size // 2 ** (len(config.autoencoder_channels) - 1)
    return side, side, config.code_channels


def _build_autoencoder(config: LatentConfig, constants, trained) -> Stage:
    model = latent_autoencoder_model(
        *_autoencoder(config, constants), code=_code_shape(config), divergence_weight=config.divergence_weight
    )
    made = images.optimizers(config, config.autoencoder_steps)["net"]
    optimizers = {"encoder": made, "decoder": made}
    return Stage("autoencoder", model, optimizers, config.autoencoder_steps, shared.prepare(config))


def _build(config: LatentConfig, constants, trained) -> Stage:
    """Diffusion of codes; their scale is measured on the first batch and kept with the parameters."""
    encode_net, _ = _autoencoder(config, constants)
    of_code = {"channels": config.code_channels}
    inner = denoisers.make_model(config, of_code, shape=_code_shape(config), data="code")
    (objective,) = inner.objectives

    def init(key, batch):
        factor = 1 / jnp.maximum(jnp.std(batch["code"].astype(jnp.float32)), 1e-6)
        return inner.init(key, batch) | {"scale": {"factor": factor}}

    def loss(params, key, batch):
        return objective.loss(params, key, {"code": batch["code"] * params["scale"]["factor"]})

    def prepare(key, batch):
        x = shared.prepare(config)(key, batch)["image"]
        return {"code": encode(encode_net, trained["autoencoder"], x, 1.0)}

    model = inner._replace(init=init, objectives=(objective._replace(loss=loss),))
    return Stage("diffusion", model, images.optimizers(config), config.steps, prepare)


class _Healer:
    """Encodes images, judges their codes, heals and decodes them; a compiled program each."""

    def __init__(self, config: LatentConfig, constants, trained):
        self._config, self._trained = config, trained
        encode_net, decode_net = _autoencoder(config, constants)
        net, path = network(config, {"channels": config.code_channels}), denoisers.make_path(config)

        first, last, level = (denoisers.time_at(path, share) for share in (config.first, config.last, config.level))
        times = jnp.linspace(first, last, config.times)
        grid = grids.uniform(path, config.sampler_steps, start=level)

        def parts(params):
            factor = params["diffusion"]["scale"]["factor"]
            predict = lambda z, t: net.apply(params["diffusion"]["net"], z, t)  # noqa: E731
            return factor, denoiser(predict, path, config.prediction)

        @jax.jit
        def judge(params, keys, x):
            factor, denoise = parts(params)
            z = encode(encode_net, params["autoencoder"], x, factor)
            return jnp.moveaxis(anomaly.latent_divergence(path, denoise, keys, z, times, at_once=2), 0, 1)

        @jax.jit
        def heal(params, keys, x, mask):
            factor, denoise = parts(params)
            z = encode(encode_net, params["autoencoder"], x, factor)
            healed = anomaly.heal(ddim(path, 1.0), path, denoise, keys, z, mask, grid)
            return decode(decode_net, params["autoencoder"], healed, factor)

        self._judge, self._heal = judge, heal

    def divergence(self, key, x: np.ndarray) -> np.ndarray:
        """``[T, n, *code]``."""
        keys = jax.random.split(key, len(x))
        found = images.in_chunks(lambda k, x: self._judge(self._trained, k, x), len(x), self._config.chunk, keys, x)
        return np.moveaxis(found, 1, 0)

    def healed(self, key, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Images decoded from codes that are drawn anew under the mask ``[n, *code]``; of nothing, reconstructions."""
        keys = jax.random.split(key, len(x))
        heal = lambda k, x, m: self._heal(self._trained, k, x, m)  # noqa: E731
        return images.in_chunks(heal, len(x), self._config.chunk, keys, x, mask.astype(np.float32))


def _methods(
    config: LatentConfig, healer: _Healer, flag_key, heal_key, healthy: anomaly.Healthy
) -> dict[str, shared.Method]:
    deviation, residual_of = config.gate_deviation, shared.RESIDUALS[config.residual]

    def flagged(x):
        score, mask = anomaly.unlikely(healer.divergence(flag_key, x), healthy)
        return score, np.where(np.isfinite(score), mask, np.nan)  # NaN is not healthy

    def residual(x):
        restored = healer.healed(heal_key, x, np.zeros((len(x), *_code_shape(config)[:2])))
        return residual_of(x, restored), restored

    def whole(x):
        _, mask = flagged(x)
        restored = healer.healed(heal_key, x, mask)
        found = residual_of(x, restored)
        return anomaly.gated_residual(found, mask, std=deviation), restored

    def ungated(x):
        restored = healer.healed(heal_key, x, flagged(x)[1])
        return residual_of(x, restored), restored

    def unhealed(x):
        return anomaly.gated_residual(residual(x)[0], flagged(x)[1], std=deviation), None

    def likelihood(x):
        score = flagged(x)[0] + np.mean(healthy.mean / healthy.deviation)  # counted from no divergence at all
        return np.asarray(jax.image.resize(score, x.shape[:-1], "linear")), None

    return {
        "latent healing": whole,
        "without the gate": ungated,
        "without healing": unhealed,
        "likelihood of the code": likelihood,
        "autoencoder residual": residual,
    }


def _calibrated(config: LatentConfig, constants, healer: _Healer, splits: Splits, key) -> anomaly.Healthy:
    """The usual divergence, from all healthy validation images: a percentile needs many."""
    validation = shared.prepared(config, constants, splits.validation)["image"]
    return anomaly.calibrate(healer.divergence(key, validation), percentile=config.percentile)


DESCRIBE = {
    **judging.describe(),
    "code_auroc": Metric("AUROC, codes", "higher", "unlikely places of the code against lesions, L1"),
}


def _keys(key: jax.Array) -> jax.Array:
    """Of an evaluation: to calibrate, to flag and to heal."""
    return jax.random.split(key, 3)


def _evaluate(config: LatentConfig, constants, trained, splits, key) -> Evaluation:
    bench = judging.bench(config, constants, splits)
    methods = judging.baselines(config, bench.train)
    simple = tuple(methods)
    methods |= shared.learned(config, constants, trained)
    healer = _Healer(config, constants, trained)
    calibration_key, flag_key, heal_key = _keys(key)
    healthy = _calibrated(config, constants, healer, splits, calibration_key)
    methods |= _methods(config, healer, flag_key, heal_key, healthy)
    metrics: dict[str, Any]
    metrics, figures = judging.table(config, bench, methods, simple)
    if "L1" in bench.lesions:
        x, mask = bench.lesions["L1"]
        score, _ = anomaly.unlikely(healer.divergence(flag_key, x), healthy)
        share = jax.image.resize(jnp.asarray(mask, jnp.float32), score.shape, "linear")
        metrics["latent healing"]["code_auroc"] = float(auroc(np.asarray(score), share > 0.5))
    return Evaluation(metrics, figures, judging.headline(metrics, "latent healing", simple), DESCRIBE)


def _apply(config: LatentConfig, constants, trained):
    """The validation images of the run's data say what is usual, with the noise that the run's evaluation drew."""
    healer, key = _Healer(config, constants, trained), key_of(config, EVALUATE)
    healthy = _calibrated(config, constants, healer, shared.load_data(config), _keys(key)[0])

    def heal(key, x):
        flag_key, heal_key = jax.random.split(key)
        return _methods(config, healer, flag_key, heal_key, healthy)["latent healing"](x)

    return shared.applied(config, constants, heal)


SMALL = LatentConfig(
    path="linear",
    prediction="noise",
    channels=(32, 64),
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.995,
    lesions=100,
    reference_steps=0,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    autoencoder_channels=(8, 8),
    autoencoder_steps=4,
    phantoms=40,
    lesions=4,
    chosen_on=4,
    times=2,
    sampler_steps=2,
    chunk=1,
    checkpoint_every=2,
    log_every=1,
)
FULL = LatentConfig(
    data="",
    size=192,
    path="linear",
    prediction="noise",
    code_channels=4,
    autoencoder_channels=(64, 128, 256, 256),
    autoencoder_steps=200_000,
    channels=(128, 256, 256),
    blocks=2,
    attention=(1, 2),
    head_width=64,
    times=50,
    sampler_steps=500,
    reference_steps=67_200,
    steps=300_000,
    batch_size=64,
    learning_rate=1e-4,
    schedule="constant",
    ema_decay=0.9999,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="anomaly_latent",
    summary="Anomalies as codes that latent diffusion finds unlikely, healed by inpainting and decoded",
    data="phantom brains in T2, computed, and four kinds of lesions; or images with labels or masks",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=shared.load_data,
    measure=shared.measure_data,
    stages=(
        *shared.REFERENCES,
        StageSpec("autoencoder", _build_autoencoder),
        StageSpec("diffusion", _build),
    ),
    evaluate=_evaluate,
    apply=_apply,
    baseline="pca-128",
    examples=shared.examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
