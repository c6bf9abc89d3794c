"""Private chest radiographs: latent diffusion, drawn again wherever an image is linked to a training patient.

    jaxgen run private_xray                             # computed radiographs of people at three visits each
    jaxgen run private_xray --data xrays.npz            # your images, with `patient`, and `labels` if there are classes
    jaxgen sample RUN --n 100                           # filtered images, with a data card and a model card
    jaxgen compare REAL RUN --release                   # with the release report

A second generator, over-trained on a few people, is the positive control: it copies, and the checks must see it.
Packhaeuser et al. 2023, "Generation of anonymous chest radiographs using latent diffusion models for training thoracic
abnormality classification systems", arXiv 2211.01323.
"""

from jaxgen import presets
from jaxgen.app.cli import run_module
from jaxgen.experiment import Experiment
from jaxgen.tasks import covariates, latent_generation
from jaxgen.tasks.privacy import data, evaluation, training

SMOKE = {"data": "visits_phantom/16", "copying_people": 4, "copying_steps": 4, "people_steps": 4, "code_steps": 4}
SMOKE |= {"people_channels": (8, 8), "embedding": 8, "code_images": 16, "membership_draws": 2, "classifier_steps": 2}
SMOKE |= {"miss_rate": 0.9, "most_draws": 2, "autoencoder_patch": 1}
SMALL = {"data": "visits_phantom/48", "size": 48, "path": "cosine", "batch_size": 32, "optimizer": "muon"}
SMALL |= {"learning_rate": 2e-3, "autoencoder_channels": (16, 32, 64), "autoencoder_patch": 2, "code_channels": 8}
SMALL |= {"autoencoder_steps": 1500, "channels": (32, 64), "steps": 1500, "copying_steps": 4000}
SMALL |= {"samples": 400, "sampler_steps": 25, "feature_steps": 200, "feature_channels": (16, 32)}
SMALL |= {"people_channels": (16, 32, 64), "people_steps": 1200, "code_steps": 1500}
PUBLISHED = (
    {"size": 256, "code_channels": 3, "autoencoder": "monai", "path": "scaled_linear_brain", "prediction": "v"}
    | {"autoencoder_channels": (64, 128, 128, 128), "autoencoder_steps": 500_000, "steps": 500_000}
    | {"channels": (256, 512, 768), "blocks": 2, "attention": (1, 2), "head_width": 512, "adaptive": False}
    | {"residual_resampling": True, "remat": True, "learning_rate": 2.5e-5, "batch_size": 32}
    | {"copying_people": 1000, "copying_steps": 100_000, "people_channels": (64, 128, 256, 512), "people_blocks": 2}
    | {"people_steps": 250_000, "classifier_steps": 20_000, "samples": 10_000}
)

EXPERIMENT = Experiment(
    name="private_xray",
    summary="Chest radiographs by latent diffusion, drawn again where they are linked to a training patient",
    data="radiographs of people at three visits each, computed; or your images with patients",
    presets=presets.make(
        data.PrivacyConfig, {"smoke": SMOKE, "small": SMALL, "full": PUBLISHED}, **latent_generation.DEFAULTS
    ),
    load=data.load,
    measure=data.measure,
    facts=covariates.CovariateFacts,
    examples=data.pairs,
    stages=training.STAGES,
    evaluate=evaluation.evaluate,
    sample=evaluation.sample,
    sample_flags={"label": None, "guidance": "guidance", "sampler": "sampler", "steps": "sampler_steps"},
    baseline=f"{data.REGULAR}, unfiltered",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
