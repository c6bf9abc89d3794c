"""Denoising autoencoders: noise taken away, and lesions found as what coarse noise taught the network to repair.

    jaxgen run denoising_autoencoder                          # phantom brains in T2, computed, with lesions to find
    jaxgen run denoising_autoencoder --cells 4                # another coarseness
    jaxgen run denoising_autoencoder --data PATIENTS --contrast FLAIR,T1,T2 --score-channels 0 --residual brighter
    jaxgen run denoising_autoencoder --data IMAGES            # neither labels nor masks: denoising only

Two networks are trained on healthy images: one on white noise, one on coarse noise (or simplex noise, or blocks left
out). On white noise they are compared with Gaussian and median filters, on lesions with the simple baselines.

Vincent et al. 2008; Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI".
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import Splits, most_of
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import denoising_autoencoder_model
from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise
from jaxgen.imaging.smoothing import FILTERS, best_width
from jaxgen.tasks import anomaly, autoencoding, images
from jaxgen.tasks.anomaly import data
from jaxgen.tasks.networks import network
from jaxgen.types import Array, Key, Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingConfig(anomaly.LesionConfig):
    noise: str = option("coarse", "second network's noise", choices=("coarse", "simplex", "blocks"), group="method")
    noise_std: float = option(0.2, "as a share of the range of values", gt=0, group="method", formerly="deviation")
    cells: int = option(8, "nodes of the coarse noise along one side", ge=1, group="method")
    wavelength: float = option(16.0, "of the first octave of the simplex noise, pixels", gt=0, group="method")
    block: int = option(8, "side of the blocks left out, pixels", ge=1, group="method")
    left_out: float = option(0.25, "share of the blocks left out", ge=0, le=1, group="method")
    samples: int = option(256, "test images to evaluate on", ge=8, group="evaluation")
    foreground_only: bool = option(True, "noise only where an image is above its floor", group="method")


def measure(config: DenoisingConfig, splits: Splits) -> images.ImageFacts:
    headroom = data.HEADROOM if data.tells_healthy(config, splits) else 0.0
    return data.measure(config, splits, headroom=headroom, phantom_low=-1.0)


def corrupt(config: DenoisingConfig, noise: str, key: Key, x: Array) -> Array:
    std = 2 * config.noise_std  # the range is 2
    corrupted = {
        "white": lambda: x + std * draws.normal(key, x.shape),
        "coarse": lambda: x + std * coarse_noise(key, x.shape, config.cells),
        "simplex": lambda: x + std * simplex_noise(key, x.shape, wavelength=config.wavelength),
        "blocks": lambda: mask_blocks(key, x, config.left_out, block=config.block, value=-1.0),
    }[noise]()
    return jnp.where((x > anomaly.FLOOR).any(-1, keepdims=True), corrupted, x) if config.foreground_only else corrupted


def stage(name: str) -> StageSpec:
    def model(run: Run) -> Model:
        noise = "white" if name == "denoiser" else run.config.noise
        return denoising_autoencoder_model(network(run), functools.partial(corrupt, run.config, noise))

    return anomaly.stage(name, model)


def methods(run: Run) -> list[anomaly.Method]:
    found = {f"{run.config.noise} noise": "restorer", "white noise": "denoiser"}
    restored = functools.partial(anomaly.by_network, run, network(run).apply)
    return [anomaly.Method(name, restored(run.params[stage]["net"])) for name, stage in found.items()]


def evaluate(run: Run) -> Evaluation:
    config = run.config
    validation = data.prepared(run, run.splits.validation)["image"][: autoencoding.MOST_TRAIN]
    test = data.prepared(run, run.splits.test)["image"][: most_of(config.data, config.samples)]
    white = jax.jit(functools.partial(corrupt, config, "white"))

    def noisy(x: np.ndarray, number: int) -> np.ndarray:
        return images.draw_in_chunks(run, white, jax.random.fold_in(run.key, number), len(x), x)

    noisy_validation, noisy_test = noisy(validation, 0), noisy(test, 1)
    widths = {name: best_width(name, noisy_validation, validation) for name in FILTERS}
    nets = methods(run)
    restored = {"noisy": noisy_test} | {name: FILTERS[name](noisy_test, width) for name, width in widths.items()}
    restored |= {net.name: net.run(run.key, noisy_test).restored for net in reversed(nets)}
    metrics: dict[str, Any] = {name: autoencoding.likeness(x, test) for name, x in restored.items()}
    caption = f"White noise of {config.noise_std:g} of the range, and what each method makes of it."
    figures = {"denoising": autoencoding.reconstructions(test, restored, caption)}
    best = max(metrics[name]["psnr"] for name in FILTERS)
    said = f"White noise taken away: {metrics['white noise']['psnr']:.2f} dB, by the best filter {best:.2f} dB."
    metrics |= {"gaussian_deviation": widths["gaussian filter"], "median_width": widths["median filter"]}
    metrics["images"] = len(test)
    if not data.tells_healthy(config, run.splits):
        return Evaluation(metrics, figures, said, autoencoding.DESCRIBE)
    added = {"metrics": metrics, "figures": figures, "describe": autoencoding.DESCRIBE}
    found = anomaly.Comparison(run, nets).evaluation(nets[0].name, **added)
    return found._replace(headline=f"{said} {found.headline}")


EXPERIMENT = anomaly.experiment(
    name="denoising_autoencoder",
    summary="Noise taken away, and lesions found by a network that learned to repair coarse noise",
    data="phantom brains in T2, computed, and four kinds of lesions; or images, with labels or masks for lesions",
    config=DenoisingConfig,
    presets={
        "smoke": {"steps": 6, "cells": 4, "samples": 16, "chunk": 16, "checkpoint_every": 3},
        "full": {"size": 128, "channels": (64, 128, 256, 512), "blocks": 2, "cells": 16, "mirror": False}
        | {"samples": 2000}
        | {"steps": 67_200, "schedule": "cosine", "weight_decay": 1e-5, "ema_decay": 0.999}
        | {"checkpoint_every": 2000},
    },
    load=functools.partial(data.load, unknown=True),
    measure=measure,
    references=(),
    stages=[stage("denoiser"), stage("restorer")],
    evaluate=evaluate,
    methods=methods,
    baseline="gaussian filter",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
