"""A generative adversarial network of labelled images: the label by conditional normalisation and by projection.

    jaxgen run conditional_gan                                  # phantom brains of four classes, computed
    jaxgen run conditional_gan --data brain_tumor_mri.npz       # labelled images: an npz, a folder of classes

Judged as `gan` is, and by whether a classifier trained on the real images takes a drawn one for the class asked for;
beside Gaussians fitted class by class. Miyato & Koyama 2018, "cGANs with projection discriminator", arXiv 1802.05637;
the loss is that of Huang et al. 2024, arXiv 2501.05441, its pairs of one class each.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.generation import gan
from jaxgen import baselines
from jaxgen.app.cli import run_module
from jaxgen.data import Splits
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks import gan as adversarial
from jaxgen.tasks.old import images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage


def _build(config: adversarial.GANConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    return adversarial.make_stage(config, constants, trained, len(constants["classes"]))


def _gaussians(config: adversarial.GANConfig, constants, splits: Splits, label: np.ndarray) -> np.ndarray:
    """Images of the classes asked for, from a normal law fitted to each class."""
    train = images.real_images(config, constants, splits.train, judging.MOST_TRAIN)
    drawn = np.zeros((len(label), *train["image"].shape[1:]), np.float32)
    for k in np.unique(label):
        chosen = label == k
        drawn[chosen] = baselines.gaussian_images(train["image"][train["label"] == k], chosen.sum(), config.seed)
    return drawn


def _evaluate(config: adversarial.GANConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    assert real.label is not None  # data without labels were refused
    label = np.asarray(real.label)  # as often as among the held-out images, so that the two are comparable
    keys = jax.random.split(key, real.count + 2)
    drawn = adversarial.draw_images(config, constants, trained, keys[:-2], real.count, label)
    sets = {"conditional_gan": drawn, "gaussian": _gaussians(config, constants, splits, label)}
    sets["held-out images"] = real.held_out
    metrics: dict[str, Any] = {
        name: {"accuracy": judging.accuracy(judge, x, label), **judging.score(real, judge, x)}
        for name, x in sets.items()
    }
    metrics["images"] = real.count
    classes = constants["classes"]
    shown = range(min(len(classes), 8))
    each = np.repeat(np.arange(len(classes)), 8)
    by_class = adversarial.draw_images(config, constants, trained, keys[-2], len(each), each)
    held = {f"{classes[k]} (real)": real.held_out[label == k][:8] for k in shown if (label == k).any()}
    way = adversarial.between(config, constants, trained, keys[-1], len(shown), 9, np.array(shown))
    figures = {
        "samples": pictures.rows({classes[k]: by_class[each == k] for k in shown}, "Images drawn, a row a class."),
        "beside": pictures.rows(held, "Real test images of the same classes."),
        "neighbours": judging.neighbours(real, drawn[:8]),
        "between": pictures.rows({classes[k]: way[k] for k in shown}, "Between two latent vectors, a row a class."),
    }
    ours, baseline, floor = (metrics[name] for name in sets)
    headline = (
        f"A classifier trained on real images takes {ours['accuracy']:.0%} of the images drawn for the class asked "
        f"for, {baseline['accuracy']:.0%} of a Gaussian's and {floor['accuracy']:.0%} of held-out real ones; Frechet "
        f"distance {ours['frechet']:.3g}, {baseline['frechet']:.3g} and {floor['frechet']:.3g}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "accuracy": Metric("Asked class", "higher", "share that the judge takes for the asked class"),
    **judging.DESCRIBE,
}


def _sample(config: adversarial.GANConfig, constants, trained, splits, key, n, label=None) -> Evaluation:
    label = np.arange(n) % len(constants["classes"]) if label is None else label
    drawn = adversarial.draw_images(config, constants, trained, key, n, label)
    rows = {name: drawn[label == k][:10] for k, name in enumerate(constants["classes"]) if (label == k).any()}
    shown = pictures.rows(rows, "Images drawn by the generator, a row a class.")
    found = judging.sampled(drawn, "", label, constants["classes"])
    return found._replace(figures={"samples": shown})


EXPERIMENT = before.experiment(
    name="conditional_gan",
    summary="A GAN of labelled images: conditional normalisation, projection, and pairs of one class",
    data="phantom brains of four classes, computed; or your labelled images",
    presets={"smoke": gan.SMOKE, "small": gan.SMALL, "full": gan.FULL},
    load=lambda config: images.load_images(config, labels=True),
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("gan", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"label": None},
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
