"""Brain volumes by latent diffusion with covariates: do samples have the age, sex and volumes that they were asked for?

    jaxgen run brain_ldm                                   # phantom brains, computed
    jaxgen run brain_ldm --data FOLDER --size 80,112,80    # NIfTI volumes and covariates.csv: name,age,sex,...
    jaxgen sample RUN --covariates age=0.7,ventricles=0.8 --guidance 2

Covariates are channels of the U-Net and a token; thresholds measure them on phantoms, a trained network on other data.
Pinaya et al. 2022, "Brain imaging generation with latent diffusion models", arXiv 2209.07162.
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from jaxgen import figures, headings, presets
from jaxgen.app.cli import run_module
from jaxgen.data.covariates import like
from jaxgen.experiment import Evaluation, Experiment, Run
from jaxgen.figures.codes import reconstructions
from jaxgen.figures.covariates import asked_and_measured
from jaxgen.figures.volumes import middle
from jaxgen.metrics.covariates import agreement, one_at_a_time
from jaxgen.metrics.sample_sets import joined, similarities
from jaxgen.tasks import autoencoding, covariates, generation, latent_generation


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrainConfig(covariates.VolumeConfig, latent_generation.LatentGenerationConfig):
    """No more than its parts."""


SMOKE = {"data": "brain3d_phantom/16", "size": (16, 16, 16), "sweeps": 1}
SMALL = {"data": "brain3d_phantom/24", "size": (24, 24, 24), "batch_size": 8, "optimizer": "muon"}
SMALL |= {"autoencoder_channels": (16, 32), "autoencoder_patch": 2, "autoencoder_steps": 3000, "vae_steps": 1000}
SMALL |= {"code_channels": 3, "channels": (32, 64), "cross_attention": (1,), "steps": 3000, "learning_rate": 2e-3}
SMALL |= {"path": "cosine", "samples": 128}  # a path that ends in pure noise: heads differ as a whole, not in details
PINAYA = (
    {"size": (160, 224, 160), "code_channels": 3, "autoencoder": "monai", "path": "scaled_linear_brain"}
    | {"autoencoder_channels": (64, 128, 128, 128), "autoencoder_steps": 1_190_000, "steps": 990_000, "batch_size": 16}
    | {"channels": (256, 512, 768), "blocks": 2, "cross_attention": (1, 2), "head_width": 512, "adaptive": False}
    | {"residual_resampling": True, "prediction": "noise", "remat": True, "learning_rate": 2.5e-5}
)


def evaluate(run: Run) -> Evaluation:
    real, names, name = covariates.RealVolumes(run), run.facts.covariates, "latent diffusion"
    ours = latent_generation.Compared(run, real.train, real.held_out, {"covariates": real.covariates})
    compared = generation.Comparison(run, ours.sets, gaussian=False, real=real, picture=middle)
    measured = {method: real.measure(x) for method, x in (compared.sets | ours.reconstructed).items()}
    agreed = {method: agreement(names, real.covariates, found) for method, found in measured.items()}
    alike = similarities(compared.sets)
    draw = lambda keys, values: ours.draw(keys, len(keys), {"covariates": values})  # noqa: E731
    keys = jax.random.split(jax.random.fold_in(run.key, 1), run.config.sweeps)
    changes, pictures = one_at_a_time(draw, real.measure, names, run.facts.covariate_range, keys)
    slices, raised = {method: middle(x) for method, x in ours.reconstructed.items()}, "One covariate raised at a time."
    found = ", ".join(f"{one} {agreed[name][f'r_{one}']:.2f}" for one in names)
    distances = compared.headline(name, "gaussian of codes", "a Gaussian of codes")
    return compared.evaluation(
        metrics=joined(agreed, {"held-out images": real.dice}, alike, ours.metrics, changes),
        caption="Middle slices of volumes drawn with the covariates of test volumes.",
        figures={
            "covariates": asked_and_measured(names, real.covariates, measured[name]),
            "changes": figures.rows({one: middle(x) for one, x in pictures.items()}, raised),
            "reconstructions": reconstructions(middle(real.held_out), slices, "Test volumes, reconstructed."),
        },
        headline=f"Correlation of covariates asked for and measured on samples: {found}. {distances} {ours.sentence}",
        describe={**headings.of_covariates(names), **headings.SIMILARITY, **autoencoding.DESCRIBE},
    )


def sample(run: Run, n: int, covariates: Mapping[str, float] | None = None) -> Evaluation:
    values = like(run.splits.train, n, run.facts.covariates, covariates or {}, jax.random.fold_in(run.key, 1))
    drawn = latent_generation.drawing(run)(run.key, n, {"covariates": values})
    shown = {"samples": figures.grid(middle(drawn[:64]), "Middle slices of the volumes drawn.")}
    arrays = {"images": drawn, "covariates": values, "covariate_names": np.array(run.facts.covariates)}
    return Evaluation({"volumes": n}, shown, f"{n} volumes", arrays=arrays, images=("images",))


EXPERIMENT = Experiment(
    name="brain_ldm",
    summary="Brain volumes by latent diffusion with covariates, measured on samples",
    data="phantom brain volumes, computed; or your volumes with covariates",
    presets=presets.make(BrainConfig, {"smoke": SMOKE, "small": SMALL, "full": PINAYA}, **latent_generation.DEFAULTS),
    load=covariates.load_volumes,
    measure=covariates.measure,
    facts=covariates.CovariateFacts,
    examples=covariates.examples,
    stages=(covariates.STAGE, *latent_generation.stages(covariates.examples)),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"covariates": None, "guidance": "guidance", "sampler": "sampler", "steps": "sampler_steps"},
    spatial_dims=3,
    baseline="gaussian of codes",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
