"""Denoising diffusion of images, compared with a Gaussian fitted to the same images.

    jaxgen run ddpm                                  # phantom brains, computed: minutes on 2 CPU cores
    jaxgen run ddpm --data brain_tumor_mri.npz       # your images: an npz, a folder, a TFDS name
    jaxgen run ddpm --preset full --data DATA        # the paper's network for 256 pixels

Ho et al. 2020, "Denoising diffusion probabilistic models", arXiv 2006.11239.
"""

import dataclasses

import numpy as np

from jaxgen import figures, published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Figure, Run
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, features, generation, images
from jaxgen.types import Key, Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDPMConfig(diffusion.DiffusionConfig, features.FeatureConfig):
    sampler: str = option("ddpm", "how images are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(100, "steps from noise to image", ge=1, le=10_000, group="sampling")


def model(run: Run) -> Model:
    return diffusion.make_model(run, SAMPLERS[run.config.sampler].step, run.config.sampler_steps)


def draw(run: Run, key: Key, n: int, *, keep: bool = False) -> np.ndarray:
    step = SAMPLERS[run.config.sampler].step
    return diffusion.draw_images(run, run.params["ddpm"]["net"], step, run.config.sampler_steps, key, n, keep=keep)


def from_noise_to_image(trajectories: np.ndarray) -> Figure:
    steps = trajectories.shape[1] - 1
    shown = np.unique(np.linspace(0, steps, 8).round().astype(int))
    rows = {f"sample {i + 1}": np.clip(x[shown], -1, 1) for i, x in enumerate(trajectories)}
    return figures.rows(rows, "Samples on their way from noise to image.", heads=[f"step {k}" for k in shown])


def evaluate(run: Run) -> Evaluation:
    compared = generation.Comparison(run, lambda n: {"ddpm": draw(run, run.key, n)})
    trajectories = draw(run, run.key, 3, keep=True)  # of the first three images
    return compared.evaluation(figures={"along": from_noise_to_image(trajectories)})


EXPERIMENT = generation.experiment(
    name="ddpm",
    summary="Denoising diffusion of images, compared with a fitted Gaussian and real images",
    data="phantom brains, computed; or your images",
    config=DDPMConfig,
    presets={
        "smoke": {"channels": (8, 12), "attention": (1,)},
        "full": {**published.HO_256, **published.HO_TRAINING, "sampler_steps": 1000},
    },
    stages=(images.stage("ddpm", model),),
    evaluate=evaluate,
    draw=draw,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
