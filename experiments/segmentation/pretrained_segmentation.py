"""Segmentation with few masks: a U-Net learns to denoise images without masks first, then to segment.

    jaxgen run pretrained_segmentation --labelled 5      # computed bitewing radiographs: minutes on 2 CPU cores
    jaxgen run pretrained_segmentation --data nuclei_dsb2018 --foreground binary --size 128 --labelled 20
    jaxgen run pretrained_segmentation --preset full --data DATA --labelled 10      # 256 pixels, the U-Net of ADM

PTDR: the diffusion model is told a small time and the clean image, its last convolution is replaced, and all weights
are trained. Compared with the same network from random weights, with pre-training at one level of noise (a denoising
autoencoder), and with classifiers of single pixels: on features of the frozen diffusion model, and on a Gaussian
pyramid. Rousseau et al. 2023, "Pre-training with diffusion models for dental radiography segmentation", arXiv
2307.14066; Baranchuk et al. 2022, "Label-efficient semantic segmentation with diffusion models", arXiv 2112.03126.
"""

from jaxgen.app.cli import run_module
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.pictures import curves
from jaxgen.medical.segmentation.cases import dice_of_members
from jaxgen.tasks import segmentation
from jaxgen.tasks.segmentation import cases_of, pretraining

DATA = {"data": "dental_phantom", "foreground": "each", "size": 64, "patch": 2, "test_images": 100}
TRAINING = {
    "baseline_channels": (16, 32, 64),
    "batch_size": 16,
    "steps": 500,
    "pretraining_steps": 1800,
    "pixel_steps": 300,
}
# Of ADM for images of 256 pixels, without its resampling inside residual blocks.
WIDTHS = {"size": 256, "patch": 1, "baseline_channels": (256, 256, 512, 512, 1024, 1024), "blocks": 2}
HEADS = {"attention": (3, 4, 5), "heads_width": 64, "path": "linear", "feature_blocks": (5, 6, 7, 8, 12)}
STEPS = {"steps": 20_000, "pretraining_steps": 300_000, "batch_size": 16, "learning_rate": 1e-4}


def method(run: Run) -> segmentation.Ensemble:
    return pretraining.tuned(run, "ptdr", "diffusion", "PTDR")


def others(run: Run) -> list[segmentation.Ensemble]:
    return [
        pretraining.tuned(run, "autoencoder", "denoising", "denoising autoencoder"),
        pretraining.classified(run, "features", pretraining.joined, "pixels by diffusion features"),
        pretraining.classified(run, "pyramid", pretraining.pyramid, "pixels by a Gaussian pyramid"),
    ]


def evaluate(run: Run) -> Evaluation:
    compared = segmentation.Comparison(run, method(run), others(run))
    sweep = pretraining.classified(run, "sweep", pretraining.swept, "pixels by features of one time")
    cases = [case for each in cases_of(run, sweep, run.splits.test) for case in each]
    times, dice = run.config.sweep_times, dice_of_members(cases, sweep.name)
    caption = "Dice of one pixel classifier on diffusion features of one time, mean over test images."
    curve = curves({sweep.label: (times, dice)}, caption, x="share of the way to noise", y="Dice")
    found = compared.evaluation({"time_and_dice": curve})
    by_time = {f"dice, time {time:g}": value for time, value in zip(times, dice, strict=True)}
    rows = {**found.metrics, "features": {**found.metrics["features"], **by_time}}
    said = {one: f"{rows[one]['dice']:.3f}" for one in ("ptdr", "unet", "autoencoder", "features", "pyramid")}
    headline = (
        f"Dice {said['ptdr']} after diffusion pre-training, {said['unet']} from random weights, {said['autoencoder']} "
        f"after a denoising autoencoder; pixel classifiers: {said['features']} on diffusion features, "
        f"{said['pyramid']} on a Gaussian pyramid."
    )
    return found._replace(metrics=rows, headline=headline)


EXPERIMENT = segmentation.experiment(
    name="pretrained_segmentation",
    summary="Segmentation with few masks after diffusion pre-training (PTDR), and pixel classifiers on its features",
    data="computed bitewing radiographs of 64 pixels with four tissues; or your images with masks",
    config=pretraining.PretrainingConfig,
    presets={
        "small": {**DATA, **TRAINING, "members": 1},
        "smoke": {
            "members": 1,
            "pretraining_steps": 6,
            "pixel_steps": 6,
            "classifiers": 2,
            "data": "dental_phantom/32",
            "size": 32,
        }
        | {"feature_blocks": (1, 2), "sweep_times": (0.1, 0.5), "classifier_widths": (8,)},
        "full": {**WIDTHS, **HEADS, **STEPS, "members": 1, "finetuning_rate": 1e-4, "schedule": "constant"},
    },
    stages=(
        pretraining.DIFFUSION,
        pretraining.DENOISING,
        pretraining.tuning("autoencoder", "denoising"),
        pretraining.classifying("pyramid", pretraining.pyramid),
        pretraining.classifying("features", pretraining.joined),
        pretraining.classifying("sweep", pretraining.swept),
        pretraining.tuning("ptdr", "diffusion"),
    ),
    method=method,
    evaluate=evaluate,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
