"""Sets of drawn images compared with real ones in the features of a network, and in pixels with the training images.

A set of which any image diverged has no metrics but the share that did.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from jaxgen.metrics.diversity import pairwise_similarity, within_class_distance
from jaxgen.metrics.fidelity import frechet_distance
from jaxgen.metrics.kernel_distance import kernel_distance
from jaxgen.metrics.memorisation import copying_test, memorisation_ratio, nearest_neighbours
from jaxgen.metrics.precision_recall import density_coverage, precision_recall
from jaxgen.types import Array

NAN = float("nan")
LEAST_SPREAD = 0.05
"""Of a feature: one that hardly varies on real images is not blown up."""


class FeatureExtractor(Protocol):
    """A network whose features tell images apart, and which tells their classes."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, d]`` of images ``[n, h, w, c]``."""

    def classes(self, images: np.ndarray) -> np.ndarray:
        """The most likely class of each, ``[n]``."""


class Unclassified:
    """A base of feature extractors that tell no classes apart."""

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Raise: there are none."""
        raise TypeError("these features tell no classes apart")


class Scaled(Unclassified):
    """Features brought to mean 0 and standard deviation 1 on a set of images; they tell no classes apart.

    Args:
        features: ``features(images) -> [n, d]``, in units of all kinds; NaN counts as 0.
        train: the set.

    Example:
        >>> Scaled(lambda x: x, np.array([[0.0], [2.0]]))(np.array([[3.0]])).tolist()
        [[2.0]]
    """

    def __init__(self, features: Callable[[np.ndarray], np.ndarray], train: np.ndarray) -> None:
        self._features = features
        found = np.nan_to_num(features(train))
        self._mean, self._spread = found.mean(0), np.maximum(found.std(0), 1e-6)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, d]``."""
        return (np.nan_to_num(self._features(images)) - self._mean) / self._spread


class Whitened(Unclassified):
    """The directions in which features of a set of images vary most, each at standard deviation 1 on that set.

    Features are brought to one scale each, at least `LEAST_SPREAD`, then projected on their principal components. As
    many are kept as a set of some hundred images can tell the covariance of. They tell no classes apart.

    Args:
        features: ``features(images) -> [n, d]``; NaN counts as 0.
        train: the set ``[n, ...]``.
        width: how many directions are kept at most.

    Example:
        >>> train = np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
        >>> found = Whitened(lambda x: x, train)(train)
        >>> found.std(0).round(3).tolist(), (abs(found[:, 0] @ found[:, 1]) < 1e-6).item()
        ([1.0, 1.0], True)
    """

    def __init__(self, features: Callable[[np.ndarray], np.ndarray], train: np.ndarray, width: int = 32) -> None:
        self._features = features
        found = np.nan_to_num(features(train)).astype(np.float64)
        self._mean, self._spread = found.mean(0), np.maximum(found.std(0), LEAST_SPREAD)
        _, scale, directions = np.linalg.svd((found - self._mean) / self._spread, full_matrices=False)
        kept = scale[:width] > 1e-6 * scale[0] if scale[0] else np.arange(len(scale)) < 1
        scale, directions = scale[:width][kept], directions[:width][kept]
        self._onto = directions.T * np.sqrt(len(found)) / np.maximum(scale, 1e-12)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features ``[n, width]``."""
        found = (np.nan_to_num(self._features(images)) - self._mean) / self._spread
        return (found @ self._onto).astype(np.float32)


class RealSet(Protocol):
    """The real images that drawn ones are compared with.

    Attributes:
        extract: the feature extractor.
        train: training images ``[n, h, w, c]``.
        train_features: their features.
        held_out: images that the model was not trained on.
        label: their classes, or None.
        count: how many there are.
    """

    extract: FeatureExtractor
    train: np.ndarray
    train_features: np.ndarray
    held_out: np.ndarray
    label: np.ndarray | None
    count: int


class RealArrays:
    """A `RealSet` of images without classes.

    Args:
        extract: the feature extractor.
        train: training images ``[n, *spatial, c]``.
        held_out: images that the model was not trained on.
    """

    label: np.ndarray | None = None

    def __init__(self, extract: FeatureExtractor, train: np.ndarray, held_out: np.ndarray) -> None:
        self.extract, self.train, self.held_out = extract, train, held_out
        self.train_features, self.count = extract(train), len(held_out)


class SampleSets:
    """Sets of samples and the held-out images, with the metrics of each.

    Args:
        real: the real images.
        sets: images ``[n, h, w, c]`` by the name of their method.

    Attributes:
        real: the real images.
        extract: the feature extractor.
        sets: the sets, and the ``"held-out images"``.
        metrics: the metrics of each.
    """

    def __init__(self, real: RealSet, sets: Mapping[str, np.ndarray]) -> None:
        self.real, self.extract = real, real.extract
        self.sets = {**sets, "held-out images": real.held_out}
        self.metrics = {name: self.score(samples) for name, samples in self.sets.items()}

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """The metrics of a set: in features, and in pixels how near it is to the training images."""
        found = self.fidelity(samples)
        if diverged(samples):
            return found | {"neighbour_ratio": NAN, "copying": NAN}
        pixels = _flat(samples), _flat(self.real.train), _flat(self.real.held_out)
        return found | {"neighbour_ratio": memorisation_ratio(*pixels), "copying": copying_test(*pixels).closer}

    def fidelity(self, samples: np.ndarray) -> dict[str, float]:
        """Metrics of a set against the training images, in features.

        Where samples diverged all are NaN, and ``diverged`` is the share that did.
        """
        known, found = self.real.train_features, self.extract(samples)
        share = max(diverged(samples), diverged(found))
        if share:
            return dict.fromkeys(("frechet", "kernel", "precision", "recall", "coverage"), NAN) | {"diverged": share}
        precision, recall = precision_recall(known, found)
        _, coverage = density_coverage(known, found)
        return {
            "frechet": float(frechet_distance(known, found)),
            "kernel": float(kernel_distance(known, found).value),
            "precision": float(precision),
            "recall": float(recall),
            "coverage": float(coverage),
        }

    def accuracy(self, samples: np.ndarray, label: np.ndarray) -> float:
        """The share of samples that the classifier takes for their class; NaN if any diverged."""
        return NAN if diverged(samples) else float(np.mean(self.extract.classes(samples) == label))

    def of_classes(self, label: np.ndarray) -> dict[str, dict[str, float]]:
        """Accuracy and diversity of each set: of samples of the classes ``[n]``, and of held-out images."""
        found = {}
        for name, samples in self.sets.items():
            known = self.real.label if name == "held-out images" else label
            assert known is not None  # data without labels were refused
            several = np.bincount(known).max() > 1
            found[name] = {
                "accuracy": self.accuracy(samples, known),
                "diversity": within_class_distance(self.extract(samples), known) if several else 0.0,
            }
        return found

    def headline(self, shown: str, baseline: str = "gaussian", called: str = "a fitted Gaussian") -> str:
        """The Frechet distances of a set, of the baseline, which the sentence calls so, and of held-out images."""
        found = self.metrics
        return (
            f"Frechet distance to the training images {found[shown]['frechet']:.3g}, that of {called} "
            f"{found[baseline]['frechet']:.3g} and of held-out images {found['held-out images']['frechet']:.3g} "
            f"({self.real.count} images each); nearest training image at {found[shown]['neighbour_ratio']:.2f} times "
            "the distance of a held-out image's."
        )


def cut(x: Array) -> Array:
    """Values cut to [-1, 1]; infinite ones become NaN, so that they are not taken for black or white.

    Args:
        x: an array of any shape.

    Returns:
        An array of the same shape.

    Example:
        >>> cut(jnp.array([-3.0, 0.5, jnp.inf])).tolist()
        [-1.0, 0.5, nan]
    """
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -1, 1), jnp.nan)


def diverged(samples: np.ndarray) -> float:
    """The share of samples that hold NaN or infinity.

    Args:
        samples: ``[n, ...]``.

    Returns:
        The share, from 0 to 1.

    Example:
        >>> diverged(np.array([[0.0, 1.0], [np.nan, 1.0]]))
        0.5
    """
    return float(np.mean(~np.isfinite(samples.reshape(len(samples), -1)).all(1)))


def distances(extract: FeatureExtractor, to: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Frechet and kernel distance of samples to images with known features; NaN if any sample diverged.

    Args:
        extract: the feature extractor.
        to: the features ``[m, d]`` of the images.
        samples: ``[n, h, w, c]``.

    Returns:
        ``frechet`` and ``kernel``.
    """
    found = extract(samples)
    if diverged(samples) or diverged(found):
        return {"frechet": NAN, "kernel": NAN}
    return {"frechet": float(frechet_distance(to, found)), "kernel": float(kernel_distance(to, found).value)}


def similarities(sets: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """MS-SSIM of random pairs of each set of images in [-1, 1], as ``similarity``; NaN if any diverged.

    Example:
        >>> similarities({"same": np.zeros((4, 16, 16, 1))})
        {'same': {'similarity': 1.0}}
    """
    return {
        name: {"similarity": NAN if diverged(x) else pairwise_similarity(x, data_range=2.0).value}
        for name, x in sets.items()
    }


def realism_of(real: RealSet) -> Callable[[np.ndarray], float]:
    """How near images are to the training images, as ``realism(images [n, h, w, c])``.

    Args:
        real: the real images.

    Returns:
        The median distance in features to the nearest training image, in units of a held-out image's; NaN if any
        image diverged.
    """

    def distance(x: np.ndarray) -> float:
        found = real.extract(x)
        if diverged(x) or diverged(found):
            return NAN
        return np.median(nearest_neighbours(found, real.train_features)[0])

    held_out = distance(real.held_out)
    return lambda x: float(distance(x) / held_out)


def joined(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of metrics as one: what several say of a method stands together.

    Args:
        *tables: rows of metrics by method, or metrics of the whole.

    Returns:
        One table.

    Example:
        >>> joined({"gan": {"frechet": 1.0}}, {"gan": {"psnr": 20.0}, "images": 8})
        {'gan': {'frechet': 1.0, 'psnr': 20.0}, 'images': 8}
    """
    made: dict[str, Any] = {}
    for table in tables:
        for name, found in table.items():
            made[name] = {**made.get(name, {}), **found} if isinstance(found, Mapping) else found
    return made


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)
