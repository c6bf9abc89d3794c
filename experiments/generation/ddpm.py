"""Denoising diffusion of images, beside a Gaussian fitted to the same images.

    jaxgen run ddpm                                  # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run ddpm --data brain_tumor_mri.npz       # your images: an npz, a folder, a TFDS name
    jaxgen run ddpm --preset full --data DATA        # the paper's network for 256 pixels

Ho et al. 2020, "Denoising diffusion probabilistic models", arXiv 2006.11239.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import baselines, draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Figure, StageSpec
from jaxgen.samplers import grids, sample
from jaxgen.samplers.catalogue import SAMPLERS, SamplerName
from jaxgen.tasks import before, denoisers, images
from jaxgen.tasks import figures as pictures
from jaxgen.tasks import sample_quality as judging
from jaxgen.train import Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDPMConfig(denoisers.DenoiserConfig, images.JudgedConfig):
    """The configuration of `ddpm`."""

    sampler: SamplerName = option("ddpm", "how images are drawn", group="sampling")
    sampler_steps: int = option(100, "steps from noise to image", ge=1, le=10_000, group="sampling")


def _build(config: DDPMConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = denoisers.make_model(config, constants, SAMPLERS[config.sampler].step, config.sampler_steps)
    return Stage("ddpm", model, images.optimizers(config), config.steps, images.prepare_images(config))


def _draw(config: DDPMConfig, constants, trained, key, n: int, *, keep: bool = False) -> np.ndarray:
    """Images ``[n, h, w, c]``; with `keep` the way there, ``[n, steps + 1, h, w, c]``."""
    path = denoisers.make_path(config)
    step, grid = SAMPLERS[config.sampler].step(path), grids.uniform(path, config.sampler_steps)
    shape = (config.size, config.size, constants["channels"])

    @jax.jit
    def draw(params, keys):
        noise_keys, step_keys = draws.split(keys, 2)
        start = denoisers.starting_noise(path, noise_keys, (len(keys), *shape))
        denoise = denoisers.denoise_with(config, constants, params)
        drawn = sample(step, denoise, step_keys, start, grid, keep=keep)
        return jnp.moveaxis(drawn, 1, 0) if keep else drawn

    params = trained["ddpm"]["net"]
    return images.in_chunks(lambda keys: draw(params, keys), n, config.chunk, jax.random.split(key, n))


def _along(trajectories: np.ndarray) -> Figure:
    steps = trajectories.shape[1] - 1
    shown = np.unique(np.linspace(0, steps, 8).round().astype(int))
    heads = [f"step {k}" for k in shown]
    drawn = {f"sample {i + 1}": np.clip(way[shown], -1, 1) for i, way in enumerate(trajectories)}
    return pictures.rows(drawn, "Samples on their way from noise to image.", heads=heads)


def _evaluate(config: DDPMConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    drawn = _draw(config, constants, trained, key, real.count)
    sets = {
        "ddpm": drawn,
        "gaussian": baselines.gaussian_images(real.train, real.count, config.seed),
        "held-out images": real.held_out,
    }
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    metrics["images"] = real.count
    way = _draw(config, constants, trained, key, 3, keep=True)  # the first three of the images, on their way
    figures = {
        "samples": pictures.grid(drawn[:40], "Images drawn by the model."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Model, baseline, and real test images."),
        "neighbours": judging.neighbours(real, drawn[:8]),
        "along": _along(way),
    }
    ours, baseline, floor = (metrics[name]["frechet"] for name in sets)
    headline = (
        f"Frechet distance to the training images {ours:.3g}, that of a fitted Gaussian {baseline:.3g} and of held-out "
        f"images {floor:.3g} ({real.count} images each); nearest training image at "
        f"{metrics['ddpm']['neighbour_ratio']:.2f} times the distance of a held-out image's."
    )
    return Evaluation(metrics, figures, headline, judging.DESCRIBE)


def _sample(config: DDPMConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn = _draw(config, constants, trained, key, n)
    return judging.sampled(drawn, "Images drawn by the model.")


SMALL = DDPMConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    channels=(8, 12),
    attention=(1,),
    samples=16,
    chunk=16,
    sampler_steps=3,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = DDPMConfig(
    data="",
    size=256,
    path="linear",
    prediction="noise",
    channels=(128, 128, 256, 256, 512, 512),
    blocks=2,
    attention=(4,),
    head_width=512,
    adaptive=False,
    patch=1,
    sampler_steps=1000,
    steps=1_200_000,
    batch_size=64,
    learning_rate=2e-5,
    warmup_steps=5000,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    samples=10_000,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="ddpm",
    summary="Denoising diffusion of images, judged beside a fitted Gaussian and real images",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("ddpm", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
