"""How good a set of images is, in the features of the judge; with the figures that show it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.data import Everything, Splits, most_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric
from jaxgen.metrics import (
    copying_test,
    density_coverage,
    frechet_distance,
    kernel_distance,
    memorisation_ratio,
    nearest_neighbours,
    precision_recall,
)
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.types import Array

MOST_TRAIN = 5000
LEAST = 4
"""Images that make a set: precision and recall ask for the third nearest neighbour of each."""


class Real:
    """The real images that samples are compared with.

    Attributes:
        train: training images ``[n, h, w, c]`` in [-1, 1].
        train_features: their features.
        held_out: as many test (and validation) images as samples are drawn; all of the test images of other data.
        label: the labels of the held-out images, or None.
        count: how many samples to judge: as many as there are held-out images, `samples` at most.
    """

    def __init__(self, config: images.JudgedConfig, constants: Mapping[str, Any], splits: Splits, judge: images.Judge):
        self.train = images.real_images(config, constants, splits.train, MOST_TRAIN)["image"]
        unseen = (splits.test,) if isinstance(config.data, Everything) else (splits.test, splits.validation)
        parts = [images.real_images(config, constants, part) for part in unseen]
        held_out = np.concatenate([part["image"] for part in parts])
        self.count = min(most_of(config.data, config.samples) or len(held_out), len(held_out))
        if self.count < LEAST:
            few = "1 image is" if self.count == 1 else f"{self.count} images are"
            raise UserError(f"--data {config.data}: {few} too few for a set; {LEAST} are the least")
        self.held_out = held_out[: self.count]
        has_labels = bool(constants["classes"]) and all("label" in part for part in parts)
        self.label = np.concatenate([part["label"] for part in parts])[: self.count] if has_labels else None
        self.train_features = judge.features(self.train)


def cut(x: Array) -> Array:
    """Values cut to [-1, 1]; those that are infinite become NaN, so that they are not taken for black or white."""
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -1, 1), jnp.nan)


def diverged(samples: np.ndarray) -> float:
    """The share of samples ``[n, ...]`` that hold NaN or infinity."""
    return float(np.mean(~np.isfinite(samples.reshape(len(samples), -1)).all(1)))


def accuracy(judge: images.Judge, samples: np.ndarray, label: np.ndarray) -> float:
    """The share of samples that are taken for their class; NaN if any diverged."""
    return float("nan") if diverged(samples) else float(np.mean(judge.classes(samples) == label))


def distances(judge: images.Judge, to: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Frechet and kernel distance of samples to images with the features ``to``; NaN if any sample diverged."""
    features = judge.features(samples)
    if diverged(samples) or diverged(features):
        return {"frechet": float("nan"), "kernel": float("nan")}
    return {
        "frechet": float(frechet_distance(to, features)),
        "kernel": float(kernel_distance(to, features).value),
    }


def fidelity(real: Real, judge: images.Judge, samples: np.ndarray) -> dict[str, float]:
    """Metrics of a set of samples against the training images, in the judge's features.

    Where samples diverged no metric has a value: all are NaN, and ``diverged`` says how many samples did.
    """
    features = judge.features(samples)
    share = max(diverged(samples), diverged(features))
    if share:
        return dict.fromkeys(("frechet", "kernel", "precision", "recall", "coverage"), float("nan")) | {
            "diverged": share
        }
    precision, recall = precision_recall(real.train_features, features)
    _, coverage = density_coverage(real.train_features, features)
    return {
        "frechet": float(frechet_distance(real.train_features, features)),
        "kernel": float(kernel_distance(real.train_features, features).value),
        "precision": float(precision),
        "recall": float(recall),
        "coverage": float(coverage),
    }


def score(real: Real, judge: images.Judge, samples: np.ndarray) -> dict[str, float]:
    """`fidelity`, and in pixels how near the samples are to the training images."""
    if diverged(samples):
        return fidelity(real, judge, samples) | dict.fromkeys(("neighbour_ratio", "copying"), float("nan"))
    pixels = _flat(samples), _flat(real.train), _flat(real.held_out)
    return {
        **fidelity(real, judge, samples),
        "neighbour_ratio": memorisation_ratio(*pixels),
        "copying": copying_test(*pixels).closer,
    }


def sampled(
    drawn: np.ndarray, caption: str, label: np.ndarray | None = None, classes: Sequence[str] = ()
) -> Evaluation:
    """What ``jaxgen sample`` leaves of images ``[n, h, w, c]``: a picture of the first of them, and the arrays."""
    shown = pictures.grid(drawn[:64], caption)
    n, arrays = len(drawn), {"images": drawn}
    if label is not None:
        arrays |= {"label": label, "label_names": np.array(list(classes))}
    return Evaluation({"images": n}, {"samples": shown}, f"{n} images", arrays=arrays, images=("images",))


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def neighbours(real: Real, samples: np.ndarray) -> Figure:
    """Samples above the training images nearest to them."""
    _, index = nearest_neighbours(_flat(np.nan_to_num(samples)), _flat(real.train))
    drawn = {"sample": samples, "nearest training image": real.train[index]}
    return pictures.rows(drawn, "Samples, and the training image nearest to each in pixels: they should not be copies.")


DESCRIBE = {
    "frechet": Metric("Frechet distance", "lower", "to the training images, in the judge's features"),
    "kernel": Metric("Kernel distance", "lower", "unbiased squared MMD, cubic kernel, in the judge's features"),
    "precision": Metric("Precision", "higher", "share of samples within the training images' manifold"),
    "recall": Metric("Recall", "higher", "share of training images within the samples' manifold"),
    "coverage": Metric("Coverage", "higher", "share of training images with a sample nearby"),
    "neighbour_ratio": Metric(
        "Neighbour ratio", "", "distance to the nearest training image over a held-out image's; copies give 0"
    ),
    "copying": Metric(
        "Closer than new", "", "chance that a sample is nearer to the training images than a new image; 0.5"
    ),
    "diverged": Metric("Diverged", "lower", "share of samples that hold NaN or infinity, if any"),
}
