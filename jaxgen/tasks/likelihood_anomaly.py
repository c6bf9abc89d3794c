"""The likelihood of a model as an anomaly score: odd images made of test images, and three scores that detect them.

The plain likelihood fails on images that are simpler than the training images; `jaxgen.medical.anomaly.likelihood` has
the scores that correct for it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure as Canvas
from scipy import ndimage

from jaxgen import figures
from jaxgen.config import option
from jaxgen.data import Source, most_of
from jaxgen.experiment import Figure, Metric, Run
from jaxgen.medical.anomaly.likelihood import (
    complexity,
    complexity_corrected_score,
    likelihood_score,
    typicality_score,
)
from jaxgen.metrics import auroc
from jaxgen.metrics.likelihood import dequantise
from jaxgen.tasks import images, likelihood
from jaxgen.types import Key, Model

TEST = "test images"
ODD = ("blurred", "empty", "bright disc", "noisy", "negative")


def odd_images(whole: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Images unlike the data, made of the data: two kinds are simpler, three are not.

    Args:
        whole: bytes ``[n, h, w, c]``.
        seed: of the places of the discs and of the noise.

    Returns:
        Bytes ``[n, h, w, c]`` by kind.

    Example:
        >>> list(odd_images(np.zeros((2, 16, 16, 1), np.uint8), 0))
        ['blurred', 'empty', 'bright disc', 'noisy', 'negative']
    """
    rng = np.random.default_rng(seed)
    n, h, w, _ = whole.shape
    blurred = ndimage.gaussian_filter(whole.astype(np.float32), (0, h / 16, w / 16, 0))
    empty = np.broadcast_to(whole.mean((1, 2), keepdims=True), whole.shape)
    rows, columns = np.indices((h, w))
    centre = rng.uniform(0.35, 0.65, (n, 2, 1, 1)) * np.array([h, w])[:, None, None]
    disc = ((rows - centre[:, 0]) / h) ** 2 + ((columns - centre[:, 1]) / w) ** 2 < 0.1**2
    marked = np.where(disc[..., None], 255.0, whole)
    noisy = whole + 25 * rng.standard_normal(whole.shape)
    made = zip(ODD, (blurred, empty, marked, noisy, 255.0 - whole), strict=True)
    return {name: np.clip(np.rint(x), 0, 255).astype(np.uint8) for name, x in made}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LikelihoodConfig(images.ImageConfig):
    """The options of an experiment whose likelihoods are anomaly scores."""

    likelihood_images: int = option(256, "test images whose likelihood is computed", ge=2, group="evaluation")
    likelihood_draws: int = option(4, "draws of the noise per image, averaged", ge=1, le=1000, group="evaluation")


class LikelihoodScores:
    """Bits per dimension of test images, and how well three scores tell them from odd images made of them.

    Args:
        run: the run, of a `LikelihoodConfig`.
        stage: the stage that trained the model.
        model: the model, with a dequantiser of its own.
        keys: a key for the test images, one for those of the Gaussian and one for the validation images.
        method: the name of the model among the metrics.
        labelled: whether the model is told the class of an image.

    Attributes:
        metrics: bits of the model and of a Gaussian, and ``{score: {"auroc_" + kind: area under the ROC curve}}``.
        figures: images of each set with their mean bits, and histograms of the bits.
        headline: the bits, and how well blurred images are detected.
    """

    def __init__(self, run: Run, stage: str, model: Model, keys: Sequence[Key], *, method: str, labelled: bool) -> None:
        config, (test_key, gaussian_key, validation_key) = run.config, keys
        log_prob = likelihood.log_prob_of_bytes(run, stage, model, config.likelihood_draws, labelled=labelled)
        whole, label = _bytes(run, run.splits.test, most_of(config.data, config.likelihood_images))
        usual = log_prob(validation_key, *_bytes(run, run.splits.validation, config.likelihood_images))
        sets = {TEST: whole, **odd_images(whole, config.seed)}
        nats = {name: log_prob(test_key, x, label) for name, x in sets.items()}
        scores = {
            "likelihood": lambda name: likelihood_score(nats[name]),
            "complexity corrected": lambda name: complexity_corrected_score(nats[name], complexity(sets[name])),
            "typicality": lambda name: typicality_score(nats[name], usual),
        }
        areas = {score: _areas(of_set) for score, of_set in scores.items()}
        dequantised = np.asarray(dequantise(jax.random.fold_in(gaussian_key, 2), jnp.asarray(whole)))
        gaussian_nats = likelihood.gaussian_baseline(run, gaussian_key, dequantised)
        ours = likelihood.bits(nats[TEST], whole[0].size, bins=None)
        gaussian = likelihood.bits(gaussian_nats, whole[0].size)
        self.metrics = {method: ours, "gaussian": gaussian, **areas, "likelihood_images": len(whole)}

        bits = {name: likelihood_score(values) / whole[0].size for name, values in nats.items()}
        rows = {f"{name}, {bits[name].mean():.2f} bits": x[:8] / 127.5 - 1 for name, x in sets.items()}
        self.figures = {
            "anomalies": figures.rows(rows, "Test images, and odd ones made of them, with their mean bits."),
            "likelihoods": _histograms(bits),
        }
        self.headline = (
            f"{ours['bits']:.3f} +- {ours['bits_error']:.3f} bits per dimension, Gaussian {gaussian['bits']:.3f}. "
            f"Blurred images as anomalies: AUROC {areas['likelihood']['auroc_blurred']:.2f} by likelihood, "
            f"{areas['complexity corrected']['auroc_blurred']:.2f} corrected for complexity."
        )


def _bytes(run: Run, source: Source, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split as bytes and their classes, 0 without any."""
    found = images.real_images(run, source, most, np.uint8)
    return found["image"], found.get("label", np.zeros(len(found["image"]), np.int32))


def _areas(score: Callable[[str], np.ndarray]) -> dict[str, float]:
    usual = score(TEST)
    truth = np.repeat([1, 0], len(usual))
    return {_key(name): float(auroc(np.concatenate([score(name), usual]), truth)) for name in ODD}


def _key(name: str) -> str:
    return f"auroc_{name.replace(' ', '_')}"


def _histograms(bits: Mapping[str, np.ndarray]) -> Figure:
    canvas = Canvas(figsize=(6.4, 3.4), layout="constrained")
    axes = canvas.subplots()
    everything = np.concatenate(list(bits.values()))
    edges = np.linspace(everything.min(), np.quantile(everything, 0.99), 60)
    for (name, values), colour in zip(bits.items(), figures.COLOURS, strict=False):
        axes.hist(np.clip(values, edges[0], edges[-1]), edges.tolist(), label=name, color=colour, alpha=0.6)
    axes.set(xlabel="bits per dimension: fewer is more likely", ylabel="images")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Odd images that are simpler than test images are more likely than they are.")


DESCRIBE = {
    **likelihood.DESCRIBE,
    **{_key(name): Metric(f"AUROC {name}", "higher", f"{name} images told from test images") for name in ODD},
}
