"""What is watched while a generator trains against a critic: whether its images cover those that it learns from."""

from collections.abc import Callable, Mapping

import numpy as np

from jaxgen.metrics import density_coverage, within_class_distance
from jaxgen.metrics.sample_sets import NAN, FeatureExtractor
from jaxgen.train.watch import Watch, critic_wins, falls, stays_low
from jaxgen.types import Key, Params


def watch_generator(
    draw: Callable[[Params, Key], np.ndarray],
    extractor: Callable[[], FeatureExtractor],
    *,
    classes: int = 0,
    every: int = 1,
    examples: int = 128,
) -> Watch:
    """In features: coverage of the training images, the number of classes drawn, and the variety within a class.

    Variety is the mean distance of two images of a class, or of any two without labels, over that of real ones. A class
    counts as drawn if it has a tenth of its share.

    Args:
        draw: ``draw(params, key) -> [n, h, w, c]``, images in [-1, 1].
        extractor: makes the feature extractor, once, at the first measurement.
        classes: the number of classes of the training images; 0 without labels.
        every: lines of the log between measurements.
        examples: how many training images to compare with; they come as bytes, ``image``.

    Returns:
        The `Watch`, which warns too when the critic wins.
    """
    made: list[FeatureExtractor] = []
    real: list[tuple[np.ndarray, float | None]] = []  # features and distance of training images: the same each time

    def distance(found: np.ndarray, label: np.ndarray) -> float | None:
        return within_class_distance(found, label) if np.bincount(label).max() > 1 else None

    def classes_of(images: np.ndarray) -> np.ndarray:
        return made[0].classes(images) if classes else np.zeros(len(images), int)

    def measure(params: Params, key: Key, examples: Mapping[str, np.ndarray]) -> dict[str, float]:
        if not real:
            made.append(extractor())
            shown = examples["image"].astype(np.float32) / 127.5 - 1
            known = made[0](shown)
            real.append((known, distance(known, classes_of(shown))))
        (extract,), ((known, usual),) = made, real
        drawn = draw(params, key)
        found, label = extract(drawn), classes_of(drawn)
        diverged = not np.isfinite(found).all()
        measured = {"coverage": NAN if diverged else float(density_coverage(known, found)[1])}
        apart = distance(found, label)
        if apart is not None and usual is not None:
            measured["variety"] = apart / max(usual, 1e-12)
        if classes:
            share = np.bincount(label, minlength=classes) / len(label)
            measured["classes_drawn"] = float(np.sum(share >= 0.1 / classes))
        return measured

    advisers = [
        critic_wins(),
        falls("coverage", at_least=0.3),
        stays_low("coverage", below=0.05, skip=8),
        stays_low("variety", below=0.5, skip=4),
    ]
    if classes:
        advisers.append(falls("classes_drawn", at_least=2, below=0.6))
    return Watch(measure, tuple(advisers), every, examples)
