"""Glow: a normalizing flow of images, its likelihood in bits, and that likelihood as an anomaly score.

    jaxgen run normalizing_flow                                # phantom brains at 32 pixels, computed
    jaxgen run normalizing_flow --data DATA --conditional      # your images, class by class
    jaxgen run normalizing_flow --preset full --data DATA      # the paper's flow for 64 pixels

Bits per dimension of test images are compared with those of a Gaussian with a few principal directions. As an anomaly
score the plain likelihood fails on images that are simpler than the training images; it is compared with scores that
correct for that. Kingma & Dhariwal 2018, "Glow", arXiv 1807.03039; Serra et al. 2020, arXiv 1909.11480.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Run, chosen_number
from jaxgen.families import checkerboard_dequantiser, flow_model, glow, uniform_dequantiser
from jaxgen.tasks import features, generation, images
from jaxgen.tasks.likelihood_anomaly import DESCRIBE, LikelihoodConfig, LikelihoodScores
from jaxgen.types import Model

GLOW_64 = {"size": 64, "levels": 4, "couplings": 48, "width": 512}  # Kingma & Dhariwal 2018, table 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormalizingFlowConfig(features.FeatureConfig, LikelihoodConfig):
    levels: int = option(3, "scales; each halves the resolution", ge=1, le=8, group="network")
    couplings: int = option(8, "couplings per scale", ge=1, le=128, group="network")
    width: int = option(64, "hidden channels of the conditioners", ge=4, group="network")
    gradient_clip: float = option(50.0, "clip the global gradient norm here (0: do not)", ge=0, group="training")
    conditional: bool = option(False, "model the images of each class", group="method")
    dequantisation: Literal["uniform", "variational"] = option(
        "uniform", "noise between the whole numbers of the pixels", group="method"
    )
    temperatures: tuple[float, ...] = option(
        (0.7, 0.85, 1.0), "standard deviations of the base distribution to choose from", gt=0, le=2, group="sampling"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2**self.levels:
            raise UserError(f"--size must be a multiple of {2**self.levels} with these --levels, got {self.size}")


def model(run: Run) -> Model:
    config, shape = run.config, images.image_shape(run)
    classes = len(run.facts.classes) if config.conditional else None
    learned = config.dequantisation == "variational"
    return flow_model(
        glow(shape, levels=config.levels, steps=config.couplings, width=config.width, classes=classes),
        shape,
        condition="label" if config.conditional else None,
        classes=classes,
        dequantiser=checkerboard_dequantiser(shape, width=config.width // 2) if learned else uniform_dequantiser(),
    )


def labels(run: Run, n: int, asked: np.ndarray | None = None) -> np.ndarray | None:
    if asked is not None and not run.config.conditional:
        raise UserError("--label: this flow was trained without labels; train one with --conditional")
    return np.arange(n) % len(run.facts.classes) if run.config.conditional and asked is None else asked


def drawing(run: Run) -> Callable[..., np.ndarray]:
    as_is = lambda x: x  # noqa: E731  whole numbers, in [-1, 1]
    return generation.drawing(run, "flow", model(run), finish=as_is, labels=functools.partial(labels, run))


def evaluate(run: Run) -> Evaluation:
    draw_key, *keys = jax.random.split(run.key, 4)
    draw = drawing(run)
    real = generation.RealImages(run, features.Features(run))
    tried = generation.frechet_on_validation(run, "temperature", run.config.temperatures, draw, real.extract)
    best = next(iter(tried))
    sets = {f"flow at {t:g}": draw(draw_key, real.count, temperature=t) for t in (best, 1.0)}
    compared = generation.Comparison(run, lambda n: sets, real=real)
    scores = LikelihoodScores(run, "flow", model(run), keys, method="flow at 1", labelled=run.config.conditional)
    on_validation = {f"validation_frechet_at_{t:g}": tried[t] for t in sorted(tried)}
    return compared.evaluation(
        caption=f"Images drawn at temperature {best:g}.",
        metrics={**scores.metrics, "temperature": best, **on_validation},
        figures=scores.figures,
        headline=f"{scores.headline} {compared.headline(f'flow at {best:g}')}",
        describe=DESCRIBE,
        chosen={"temperature": best},
    )


def sample(run: Run, n: int, label: np.ndarray | None = None) -> Evaluation:
    label, temperature = labels(run, n, label), chosen_number(run, "temperature", default=1.0)
    drawn = drawing(run)(run.key, n, label, temperature=temperature)
    return generation.sampled(drawn, f"Images drawn at temperature {temperature:g}.", label, run.facts.classes)


EXPERIMENT = generation.experiment(
    name="normalizing_flow",
    summary="Glow: a normalizing flow of images, bits per dimension, and likelihood as an anomaly score",
    data="phantom brains at 32 pixels, computed; or your images",
    config=NormalizingFlowConfig,
    presets={
        "small": {"size": 32, "couplings": 4, "width": 32, "samples": 128}
        | {"steps": 1500, "batch_size": 32, "warmup_steps": 200},
        "smoke": {"levels": 1, "couplings": 2, "width": 8, "likelihood_images": 8, "likelihood_draws": 1},
        "full": GLOW_64
        | {"likelihood_images": 10_000}
        | {"steps": 500_000, "batch_size": 64, "warmup_steps": 10_000, "schedule": "constant"}
        | {"optimizer": "adam", "precision": "float32"},
    },
    load=lambda config: images.load_labelled(config) if config.conditional else images.load_images(config),
    stages=(images.stage("flow", model),),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"label": None},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
