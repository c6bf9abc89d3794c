"""Images of one scanner as another would show them: diffusion given the source, slice by slice, with one noise for all.

    jaxgen run harmonization                             # a scanner with bias field, blur and noise, computed
    jaxgen run harmonization --reverse                   # the other direction, a model of its own
    jaxgen run harmonization --data rescaled_phantom     # intensities rescaled: matched histograms are hard to beat
    jaxgen run harmonization --data FOLDER --slices      # source/ and target/: registered volumes, named alike
    jaxgen apply RUN volume.nii.gz --out harmonized

Compared with matched histograms, the best lookup table and a U-Net trained by the absolute error. Drawn slice by slice,
a volume flickers unless its slices start from the same noise and the sampler adds none: hence DDIM and one noise field.
Whether tissues and lesions are kept is in the table: a harmoniser may delete lesions.
Durrer et al. 2023, "Diffusion models for contrast harmonization of magnetic resonance images", arXiv 2303.08189.
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.tasks import translation
from jaxgen.tasks.translation import diffusion

# Of the paper, whose network learns the variance of its steps too.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddpm", "sampler_steps": 1000}
WIDTHS = {"channels": (128, 128, 256, 256, 512, 512), "diffusion_channels": (128, 128, 256, 256, 512, 512)}
NETWORK = {"size": 224, "patch": 1, "blocks": 2, "attention": (4,), "head_width": 512, "adaptive": False}
TRAINING = {"steps": 250_000, "batch_size": 4, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class HarmonizationConfig(diffusion.DiffusionTranslationConfig):
    data: str = option(
        "scanner_phantom",
        "pairs of two scanners: a name, a folder with source/ and target/, or an npz with sources and images",
        group="data",
    )
    shared_noise: bool = option(True, "all slices start from the same noise", group="sampling")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unpaired:
            raise UserError("--unpaired: harmonization learns from pairs; leave it out, or take cross_modality")


def methods(run: Run) -> list[translation.Translator]:
    return [translation.by_model(run, "diffusion", diffusion.model(run), shared=run.config.shared_noise)]


EXPERIMENT = translation.experiment(
    name="harmonization",
    summary="Contrast harmonization of two scanners by diffusion given the source, compared with maps of intensities",
    data="phantom brains on two scanners, computed; or your registered pairs",
    config=HarmonizationConfig,
    presets={
        "small": {},
        "smoke": {"data": "scanner_phantom/16", "diffusion_channels": (8,)},
        "full": {**CHAIN, **WIDTHS, **NETWORK, **TRAINING},
    },
    stages=(diffusion.stage(),),
    methods=methods,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
