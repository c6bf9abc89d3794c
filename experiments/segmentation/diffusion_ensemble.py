"""Implicit ensembles: masks drawn by a diffusion model given the image, several for each, whose mean segments.

    jaxgen run diffusion_ensemble                         # the shipped nuclei: minutes on 2 CPU cores
    jaxgen run diffusion_ensemble --sampler ddpm --sampler-steps 1000      # ancestral sampling, as in the paper
    jaxgen run diffusion_ensemble --preset full --data DATA                # the paper's network

Compared with a deterministic U-Net, one with dropout, and a deep ensemble, all as large and trained for as many steps.
Wolleb et al. 2022, "Diffusion models for implicit image segmentation ensembles", arXiv 2112.03145.
"""

import dataclasses

from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.pictures import curves
from jaxgen.medical.segmentation.cases import dice_by_members
from jaxgen.tasks import segmentation
from jaxgen.tasks.segmentation import diffusion

COUNTS = (1, 2, 4, 8, 16, 32)
"""Members for which the Dice is given."""
# Of the paper: its chain, its network and its training.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddpm", "sampler_steps": 1000, "members": 5}
WIDTHS = {"channels": (128, 128, 256, 256, 512, 512), "baseline_channels": (128, 128, 256, 256, 512, 512)}
BLOCKS = {"size": 224, "patch": 1, "blocks": 2, "attention": (4,), "heads_width": 512, "adaptive": False}
TRAINING = {"steps": 70_000, "batch_size": 10, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionEnsembleConfig(diffusion.MaskDiffusionConfig):
    pass


def method(run: Run) -> segmentation.Ensemble:
    return diffusion.ensemble(run, "diffusion", "diffusion")


def evaluate(run: Run) -> Evaluation:
    compared = segmentation.Comparison(run, method(run))
    cases = [case for each in compared.cases for case in each]
    growth = {one: dice_by_members(cases, one.name, COUNTS) for one in (compared.method, *compared.others)}
    series = {one.label: (list(dice), list(dice.values())) for one, dice in growth.items()}
    caption = "Dice of the majority of the first members, mean over test images."
    drawn = compared.evaluation({"members_and_dice": curves(series, caption, x="members", y="Dice", logarithmic="x")})
    found = {one.name: {f"dice, {n}": value for n, value in dice.items()} for one, dice in growth.items()}
    return drawn._replace(metrics={**drawn.metrics, **{name: {**drawn.metrics[name], **found[name]} for name in found}})


EXPERIMENT = segmentation.experiment(
    name="diffusion_ensemble",
    summary="Segmentation by ensembles of masks from a diffusion model, compared with MC dropout and U-Nets",
    data="nuclei_dsb2018: 334 fluorescence images of nuclei, 128 pixels, CC0, shipped",
    config=DiffusionEnsembleConfig,
    presets={
        "small": {"dropout_rate": 0.2, "networks": 4},
        "smoke": {"sampler_steps": 3, "dropout_rate": 0.2, "networks": 2},
        "full": {**CHAIN, **WIDTHS, **BLOCKS, **TRAINING, "ema_decay": 0.9999},
    },
    stages=(diffusion.STAGE,),
    method=method,
    evaluate=evaluate,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
