"""Do drawn skin lesions help a classifier that has few real ones, and where does the gain end?

    jaxgen run lesion_augmentation                        # computed lesions of five kinds, 50 of them labelled
    jaxgen run lesion_augmentation --labelled 300         # the gain with more real images
    jaxgen run lesion_augmentation --data lesions.npz --size 64 --labelled 200 --ratios 0,1,5,10

One generator learns from the labelled images and, without their labels, from all others; another one from the labelled
images alone. Every classifier is trained for as many steps. Sagers et al. 2023, "Augmenting medical image classifiers
with synthetic data from latent diffusion models", arXiv 2308.12453.
"""

import dataclasses

import jax
import numpy as np

from jaxgen import headings
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import Subset
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.figures import rows
from jaxgen.figures.pictures import curves
from jaxgen.tasks import synthesis
from jaxgen.train.finding_classifiers import Labelled


@dataclasses.dataclass(frozen=True, kw_only=True)
class LesionConfig(synthesis.SynthesisConfig):
    """No more than the ratios, and a second generator."""

    ratios: tuple[int, ...] = option(
        (1, 2, 5, 10, 20), "drawn images for each labelled one, rising", ge=1, le=1000, group="evaluation"
    )
    few: bool = option(True, "train a generator on the labelled images alone as well", group="training")


DESCRIBE = {"accuracy": Metric("Accuracy", "higher", "test images whose class is told right")}


def evaluate(run: Run) -> Evaluation:
    config, train = run.config, run.splits.train
    chosen = synthesis.labelled(run)
    real, test, held_out = (
        synthesis.known(run, part) for part in (Subset(train, chosen), run.splits.test, run.splits.validation)
    )
    most = max(config.ratios) * len(chosen)
    order = np.resize(np.random.default_rng(config.seed).permutation(len(chosen)), most)
    findings, group = real.findings[order], real.group[order]
    asked = synthesis.told(run, findings, group)
    stages = [stage for stage in ("generator", "few") if stage in run.params]
    keys = jax.random.split(run.key, len(stages))
    drawn = {stage: synthesis.drawing(run, stage)(key, asked) for stage, key in zip(stages, keys, strict=True)}
    vary, ours = synthesis.usual(run), synthesis.labelled_as(real)

    def first(images: np.ndarray, ratio: int) -> Labelled:
        """As many drawn images as the ratio says; the weights of the others are 0, so that one program serves all."""
        return Labelled(images, findings, (np.arange(most) < ratio * len(chosen)).astype(float))

    arms = {"real images, as they are": synthesis.Arm(ours), "real images": synthesis.Arm(ours, None, vary)}
    arms |= {
        f"{ratio} drawn for 1 real": synthesis.Arm(ours, first(drawn["generator"], ratio), vary)
        for ratio in config.ratios
    }
    last = config.ratios[-1]
    if "few" in drawn:
        arms[f"{last} for 1, of few images"] = synthesis.Arm(ours, first(drawn["few"], last), vary)
    everything = synthesis.labelled_as(synthesis.known(run, train))
    arms["all training images, labelled"] = synthesis.Arm(everything, None, vary)

    def right(probability: np.ndarray, known: synthesis.Known) -> float:
        return float(np.mean(known.findings[np.arange(len(probability)), probability.argmax(-1)]))

    widest = arms[f"{last} drawn for 1 real"]
    how = synthesis.chosen_share(run, widest, held_out.image, lambda probability: right(probability, held_out))
    scores = lambda probability: {"accuracy": right(probability, test)}  # noqa: E731
    metrics = synthesis.compared(run, how, arms, test.image, scores, "real images")
    few = metrics["real images"]["accuracy"]
    accuracy = [metrics[f"{ratio} drawn for 1 real"]["accuracy"] for ratio in config.ratios]
    curve = curves(
        {"with drawn images": ([0, *config.ratios], [few, *accuracy])},
        "Accuracy on test images by drawn images for each real one.",
        x="drawn images for one real",
        y="accuracy",
    )
    many = metrics["all training images, labelled"]["accuracy"]
    return Evaluation(
        {**metrics, "labelled": len(chosen), "share": how.share},
        {
            "samples": rows(
                {"real": real.image[:10], **{name: images[:10] for name, images in drawn.items()}}, "Lesions."
            ),
            "accuracy": curve,
        },
        f"Accuracy {few:.3f} with {len(chosen)} real images, {accuracy[-1]:.3f} with {last} drawn ones for each, "
        f"{many:.3f} with {len(train)} real ones.",
        describe=headings.with_gains(DESCRIBE),
    )


EXPERIMENT = synthesis.experiment(
    name="lesion_augmentation",
    summary="Drawn skin lesions for a classifier that has few real ones: the gain, and where it ends",
    data="computed skin lesions of five kinds, of which 50 are labelled; or your images with classes",
    config=LesionConfig,
    presets={
        "small": {"labelled": 50},
        "smoke": {"data": "skin_phantom/16", "ratios": (1, 2)},
        # Of the classifiers and of the diffusion model in pixels; the paper fine-tunes Stable Diffusion 2.1.
        "full": {"size": 256, "patch": 1, "channels": (128, 128, 256, 256, 512), "blocks": 2, "attention": (3, 4)}
        | {"steps": 200_000, "batch_size": 64, "learning_rate": 1e-4, "guidance": 3.0, "sampler_steps": 50},
    },
    stages=synthesis.STAGES,
    examples=synthesis.with_pool,
    evaluate=evaluate,
    sample=synthesis.sample,
    sample_flags=synthesis.SAMPLE_FLAGS,
    baseline="real images",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
