"""Latent diffusion of images: an autoencoder, and a diffusion or flow model of its codes that is told the class.

    jaxgen run latent_diffusion                                   # phantom brains of four classes, computed
    jaxgen run latent_diffusion --data xrays.npz --size 128       # your images, with classes, covariates, or neither
    jaxgen run latent_diffusion --path rectified --prediction velocity --sampler euler    # a rectified flow of codes

Compared with a Gaussian of codes, a variational autoencoder, and ancestral sampling in many steps. Rombach et al. 2022,
"High-resolution image synthesis with latent diffusion models", arXiv 2112.10752.
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from jaxgen import headings
from jaxgen.app.cli import run_module
from jaxgen.data.covariates import like
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.codes import reconstructions
from jaxgen.metrics.sample_sets import joined, similarities
from jaxgen.tasks import autoencoding, covariates, features, generation, images, latent_generation


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentDiffusionConfig(latent_generation.LatentGenerationConfig, features.FeatureConfig):
    """No more than its parts."""


def told(run: Run, n: int, given: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """The classes in turn, and the covariates of training images unless they are given."""
    classes, names = run.facts.classes, run.facts.covariates
    cond = {"label": np.arange(n, dtype=np.int32) % len(classes)} if classes else {}
    return cond | (
        {"covariates": like(run.splits.train, n, names, given or {}, jax.random.fold_in(run.key, 1))} if names else {}
    )


def evaluate(run: Run) -> Evaluation:
    real = generation.RealImages(run, features.Features(run))
    cond = told(run, real.count)
    ours = latent_generation.Compared(run, real.train[: autoencoding.MOST_TRAIN], real.held_out, cond)
    compared = generation.Comparison(run, ours.sets, real=real)
    of_classes = compared.of_classes(cond["label"]) if "label" in cond and real.label is not None else {}
    caption = "Test images reconstructed from their codes, and by as many principal components."
    gaussian = compared.metrics["gaussian of codes"]["frechet"]
    return compared.evaluation(
        metrics=joined(of_classes, similarities(compared.sets), ours.metrics),
        figures={"reconstructions": reconstructions(real.held_out, ours.reconstructed, caption)},
        headline=f"{compared.headline('latent diffusion')} A Gaussian of codes {gaussian:.3g}. {ours.sentence}",
        describe={**headings.OF_CLASSES, **headings.SIMILARITY, **autoencoding.DESCRIBE},
    )


def sample(
    run: Run, n: int, label: np.ndarray | None = None, covariates: Mapping[str, float] | None = None
) -> Evaluation:
    cond = told(run, n, covariates) | ({} if label is None else {"label": label})
    drawn = latent_generation.drawing(run)(run.key, n, cond)
    return generation.sampled(drawn, "Images drawn by latent diffusion.", cond.get("label"), run.facts.classes)


EXPERIMENT = generation.experiment(
    name="latent_diffusion",
    summary="Latent diffusion or flow of images, told their class: an autoencoder and a model of its codes",
    data="phantom brains of four classes, computed; or your images",
    config=LatentDiffusionConfig,
    presets={
        "small": {"channels": (48, 96), "vae_steps": 1000, "autoencoder_steps": 1500},
        "full": {
            "size": 512,
            "autoencoder": "stable_diffusion",
            "autoencoder_channels": (128, 256, 512, 512),
            "channels": (320, 640, 1280, 1280),
        }
        | {"blocks": 2, "attention": (0, 1, 2), "head_width": 40, "adaptive": False, "path": "scaled_linear"}
        | {"prediction": "noise", "autoencoder_steps": 500_000, "steps": 1_000_000, "batch_size": 256},
    },
    defaults=latent_generation.DEFAULTS,
    load=covariates.load_images,
    measure=covariates.measure,
    facts=covariates.CovariateFacts,
    stages=latent_generation.stages(images.example_images),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"label": None, "covariates": None}
    | {"guidance": "guidance", "sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
