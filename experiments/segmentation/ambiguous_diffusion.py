"""Ambiguous segmentation: a diffusion model that draws the masks of different raters, as often as they occur.

    jaxgen run ambiguous_diffusion                              # computed blobs, four kinds of raters: minutes
    jaxgen run ambiguous_diffusion --data mine.npz --size 128   # images with the masks of several raters
    jaxgen run ambiguous_diffusion --no-train-encoders          # as published: both encoders stay as they started

Each step sees one rater's mask, drawn at random. Two encoders, of that mask and of the network's answer, are held
together by the loss (``--divergence-weight 0``: a plain diffusion model). Compared with a U-Net, masks drawn from its
probabilities pixel by pixel, and a probabilistic U-Net. Rahman et al. 2023, "Ambiguous medical image segmentation using
diffusion models", arXiv 2304.04745.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.medical.segmentation.ambiguous import Encoders, ambiguous_diffusion
from jaxgen.medical.segmentation.cases import Case
from jaxgen.metrics.ambiguity import nearest_raters, rater_scores
from jaxgen.tasks import images, segmentation
from jaxgen.tasks.images import Widths
from jaxgen.tasks.segmentation import diffusion, several_raters
from jaxgen.train import Stage
from jaxgen.types import Model

DESCRIBE = {
    "ged_unbiased": Metric("Energy distance, unbiased", "lower", "to the raters, each pair of different masks"),
    "best_dice": Metric("D_max", "higher", "Dice of the best sample for each rater, mean"),
    "sensitivity": Metric("S_c", "higher", "share of what any rater marked that any sample marks"),
    "uneven": Metric(
        "Uneven", "lower", "share of samples that lie nearest to the wrong rater: 0 if each is drawn alike"
    ),
    "insight": Metric("CI", "higher", "collective insight, as the paper prints it"),
}
SMALL = {"data": "ambiguous_phantom/32", "size": 32, "patch": 2, "channels": (32, 64), "baseline_channels": (32, 64)}
# Of the paper: its chain, its network and its training.
CHAIN = {"path": "linear", "prediction": "noise", "sampler": "ddpm", "sampler_steps": 1000, "members": 4}
WIDTHS = {"channels": (128, 128, 256, 384, 512), "baseline_channels": (128, 128, 256, 384, 512)}
BLOCKS = {"size": 128, "patch": 1, "blocks": 2, "attention": (3,), "heads_width": 384, "adaptive": False}
TRAINING = {"steps": 80_000, "batch_size": 20, "learning_rate": 1e-4, "warmup_steps": 0, "schedule": "constant"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AmbiguousConfig(diffusion.MaskDiffusionConfig):
    train_encoders: bool = option(True, "train both encoders, as in the paper", group="method")
    divergence_weight: float = option(1e-3, "weight of the encoders' divergence", ge=0, group="method")
    encoder_channels: Widths = option((16, 32), "widths of the encoders' levels", ge=4, group="network")
    code: int = option(6, "dimension of the encoders' codes", ge=1, group="network")


def model(run: Run) -> Model:
    config = run.config
    both = several_raters.rater_encoder(config), several_raters.rater_encoder(config)
    encoders = Encoders(*both, config.divergence_weight, config.train_encoders)
    return ambiguous_diffusion(diffusion.network(run), diffusion.sampling(config), encoders)


def build(run: Run) -> Stage:
    groups = ("net", "rater", "answer") if run.config.train_encoders else ("net",)
    return images.stage("diffusion", model, prepare=segmentation.prepare_tiles, groups=groups).build(run)


def method(run: Run) -> segmentation.Ensemble:
    return diffusion.ensemble(run, "diffusion", "diffusion")


def scores(cases: Sequence[Case], name: str) -> dict[str, float]:
    said = [case.predictions[name] for case in cases]
    masks = [one.mask[None] if one.members is None else one.members for one in said]
    pairs = [(drawn, case.raters) for drawn, case in zip(masks, cases, strict=True)]
    each, shares = [rater_scores(*pair) for pair in pairs], np.mean([nearest_raters(*pair) for pair in pairs], axis=0)
    found = {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}
    return found | {"uneven": float(np.abs(shares - shares.mean()).sum() / 2)}


def evaluate(run: Run) -> Evaluation:
    compared = segmentation.Comparison(run, method(run), several_raters.ensembles(run))
    cases, drawn = [case for each in compared.cases for case in each], compared.evaluation()
    rows = {name: {**drawn.metrics[name], **scores(cases, name)} for name in cases[0].predictions}
    return drawn._replace(metrics={**drawn.metrics, **rows}, describe={**drawn.describe, **DESCRIBE})


EXPERIMENT = segmentation.experiment(
    name="ambiguous_diffusion",
    summary="Segmentation where raters disagree: a diffusion model draws each rater's mask as often as it occurs",
    data="blobs that raters outline in four ways with known frequencies, computed; or your images with several masks",
    config=AmbiguousConfig,
    presets={
        "small": SMALL | {"steps": 2000, "batch_size": 32, "dropout_rate": 0.2},
        "smoke": SMALL
        | {
            "channels": (8,),
            "baseline_channels": (8,),
            "encoder_channels": (8,),
            "size": 16,
            "data": "ambiguous_phantom/16",
            "sampler_steps": 3,
        },
        "full": {**CHAIN, **WIDTHS, **BLOCKS, **TRAINING, "encoder_channels": (32, 64, 128, 192), "ema_decay": 0.9999},
    },
    stages=(several_raters.PROBABILISTIC, segmentation.StageSpec("diffusion", build)),
    method=method,
    evaluate=evaluate,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
