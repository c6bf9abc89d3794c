"""A generative adversarial network of labelled images: the label by conditional normalisation and by projection.

    jaxgen run conditional_gan                                  # phantom brains of four classes, computed
    jaxgen run conditional_gan --data brain_tumor_mri.npz       # labelled images: an npz, a folder of classes

Evaluated as `gan` is, and by how often a classifier trained on the real images takes a drawn one for the class asked
for; compared with Gaussians fitted class by class. Miyato & Koyama 2018, "cGANs with projection discriminator", arXiv
1802.05637; the loss is that of Huang et al. 2024, arXiv 2501.05441, with both images of a pair of one class.
"""

from collections.abc import Sequence

import jax
import numpy as np

from jaxgen import figures
from jaxgen.app.cli import run_module
from jaxgen.baselines import gaussian_images
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec
from jaxgen.tasks import features, gan, generation, images
from jaxgen.train import Stage

DESCRIBE = {"accuracy": Metric("Asked class", "higher", "share that the classifier takes for the asked class")}


def build(run: Run) -> Stage:
    return gan.make_stage(run, classes=len(run.facts.classes))


def gaussians(run: Run, label: np.ndarray) -> np.ndarray:
    """Images of these classes from a Gaussian fitted to each class."""
    train = images.real_images(run, run.splits.train, generation.MOST_TRAIN)
    drawn = np.zeros((len(label), *train["image"].shape[1:]), np.float32)
    for k in np.unique(label):
        chosen = label == k
        drawn[chosen] = gaussian_images(train["image"][train["label"] == k], chosen.sum(), run.config.seed)
    return drawn


def by_class(drawn: np.ndarray, label: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: drawn[label == k][:8] for k, name in enumerate(names) if (label == k).any()}


def evaluate(run: Run) -> Evaluation:
    real = generation.RealImages(run, features.Features(run))
    assert real.label is not None  # data without labels were refused
    label = np.asarray(real.label)  # as often as among the held-out images, so that the two can be compared
    *_, class_key, line_key = keys = jax.random.split(run.key, real.count + 2)
    sets = {
        "conditional_gan": gan.draw_images(run, keys[:-2], real.count, label),
        "gaussian": gaussians(run, label),
    }
    compared = generation.Comparison(run, lambda n: sets, gaussian=False, real=real)
    accuracy = {name: compared.accuracy(x, label) for name, x in compared.sets.items()}

    each, names = np.repeat(np.arange(len(run.facts.classes)), 8), run.facts.classes[:8]
    drawn = gan.draw_images(run, class_key, len(each), each)
    between = gan.interpolations(run, line_key, len(names), 9, np.arange(len(names)))
    return compared.evaluation(
        metrics={name: {"accuracy": share} for name, share in accuracy.items()},
        describe=DESCRIBE,
        figures={
            "samples": figures.rows(by_class(drawn, each, names), "Images drawn, a row per class."),
            "compared": figures.rows(by_class(real.held_out, label, names), "Real test images, a row per class."),
            "between": figures.rows(
                dict(zip(names, between, strict=True)), "Between two latent vectors, a row per class."
            ),
        },
        headline=f"A classifier trained on real images takes {accuracy['conditional_gan']:.0%} of the images drawn for "
        f"the asked class, {accuracy['gaussian']:.0%} of a Gaussian's and {accuracy['held-out images']:.0%} of "
        f"held-out real ones. {compared.headline('conditional_gan')}",
    )


def sample(run: Run, n: int, label: np.ndarray | None = None) -> Evaluation:
    label = np.arange(n) % len(run.facts.classes) if label is None else label
    drawn = gan.draw_images(run, run.key, n, label)
    shown = figures.rows(by_class(drawn, label, run.facts.classes), "Images drawn by the generator, a row per class.")
    return generation.sampled(drawn, "", label, run.facts.classes)._replace(figures={"samples": shown})


EXPERIMENT = gan.experiment(
    name="conditional_gan",
    summary="A GAN of labelled images: conditional normalisation, projection, and pairs of one class",
    data="phantom brains of four classes, computed; or your labelled images",
    presets={"full": gan.R3GAN_64},
    load=images.load_labelled,
    stages=(StageSpec("gan", build),),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"label": None},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
