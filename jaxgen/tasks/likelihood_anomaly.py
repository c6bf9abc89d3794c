"""The likelihood of a model as an anomaly score: odd images made of test images, and three scores that detect them.

The plain likelihood fails on images that are simpler than the training images; `jaxgen.medical.anomaly.likelihood` has
the scores that correct for it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from jaxgen import figures
from jaxgen.config import option
from jaxgen.data import Source, most_of
from jaxgen.experiment import Metric, Run
from jaxgen.families.dequantisation import averaged_log_prob
from jaxgen.figures.histograms import histograms
from jaxgen.medical.anomaly.likelihood import (
    complexity,
    complexity_corrected_score,
    likelihood_score,
    typicality_score,
)
from jaxgen.medical.anomaly.odd_images import ODD, areas, metric_of, odd_images
from jaxgen.metrics.likelihood import bits as bits_of
from jaxgen.tasks import images, likelihood
from jaxgen.types import Key, Model

TEST = "test images"


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
        assert model.log_prob is not None
        averaged = jax.jit(averaged_log_prob(model.log_prob, config.likelihood_draws, labelled=labelled))

        def log_prob(key: Key, *arrays: np.ndarray) -> np.ndarray:
            found = functools.partial(averaged, run.params[stage])
            return images.draw_in_chunks(run, found, key, len(arrays[0]), *arrays).astype(np.float64)

        whole, label = _bytes(run, run.splits.test, most_of(config.data, config.likelihood_images))
        usual = log_prob(validation_key, *_bytes(run, run.splits.validation, config.likelihood_images))
        sets = {TEST: whole, **odd_images(whole, config.seed)}
        nats = {name: log_prob(test_key, x, label) for name, x in sets.items()}
        scores = {
            "likelihood": lambda name: likelihood_score(nats[name]),
            "complexity corrected": lambda name: complexity_corrected_score(nats[name], complexity(sets[name])),
            "typicality": lambda name: typicality_score(nats[name], usual),
        }
        told = {score: areas({name: of_set(name) for name in sets}, TEST) for score, of_set in scores.items()}
        gaussian_nats = likelihood.gaussian_baseline(run, gaussian_key, whole)
        ours = bits_of(nats[TEST], whole[0].size, bins=None)
        gaussian = bits_of(gaussian_nats, whole[0].size)
        self.metrics = {method: ours, "gaussian": gaussian, **told, "likelihood_images": len(whole)}

        bits = {name: likelihood_score(values) / whole[0].size for name, values in nats.items()}
        rows = {f"{name}, {bits[name].mean():.2f} bits": x[:8] / 127.5 - 1 for name, x in sets.items()}
        self.figures = {
            "anomalies": figures.rows(rows, "Test images, and odd ones made of them, with their mean bits."),
            "likelihoods": histograms(
                bits,
                "Odd images that are simpler than test images are more likely than they are.",
                x="bits per dimension: fewer is more likely",
            ),
        }
        self.headline = (
            f"{ours['bits']:.3f} +- {ours['bits_error']:.3f} bits per dimension, Gaussian {gaussian['bits']:.3f}. "
            f"Blurred images as anomalies: AUROC {told['likelihood']['auroc_blurred']:.2f} by likelihood, "
            f"{told['complexity corrected']['auroc_blurred']:.2f} corrected for complexity."
        )


def _bytes(run: Run, source: Source, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images of a split as bytes and their classes, 0 without any."""
    found = images.real_images(run, source, most, np.uint8)
    return found["image"], found.get("label", np.zeros(len(found["image"]), np.int32))


DESCRIBE = {
    **likelihood.DESCRIBE,
    **{metric_of(name): Metric(f"AUROC {name}", "higher", f"{name} images told from test images") for name in ODD},
}
