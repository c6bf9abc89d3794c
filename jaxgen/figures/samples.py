"""Figures of drawn images: the training images nearest to them, and fidelity against diversity."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxgen.figures.figure import Figure
from jaxgen.figures.pictures import curves, rows
from jaxgen.metrics import nearest_neighbours


def neighbours(
    samples: np.ndarray, train: np.ndarray, picture: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> Figure:
    """Samples above the training images nearest to them.

    Args:
        samples: ``[n, h, w, c]``.
        train: training images ``[m, h, w, c]``.
        picture: what is shown of each, as images ``[n, h, w, c]``, such as slices of volumes.

    Returns:
        The figure.
    """
    flat = np.nan_to_num(samples).reshape(len(samples), -1)
    _, index = nearest_neighbours(flat, train.reshape(len(train), -1))
    drawn = {"sample": picture(samples), "nearest training image": picture(train[index])}
    return rows(drawn, "Samples, and the training image nearest to each in pixels: they should not be copies.")


def fidelity_against_diversity(
    metrics: Mapping[str, Mapping[str, float]], scales: Mapping[str, Sequence[float]]
) -> Figure:
    """Accuracy against diversity of sets called ``"method scale"`` and of held-out images, as guidance grows.

    Args:
        metrics: ``accuracy`` and ``diversity`` by set (`jaxgen.metrics.sample_sets.SampleSets.of_classes`).
        scales: the scales of each method.

    Returns:
        The figure.
    """
    sets = {method: [metrics[f"{method} {scale:g}"] for scale in of_one] for method, of_one in scales.items()}
    sets["held-out images"] = [metrics["held-out images"]]
    return curves(
        {
            name: ([row["diversity"] for row in found], [row["accuracy"] for row in found])
            for name, found in sets.items()
        },
        "Fidelity against diversity as the scale of guidance grows (numbers at the points).",
        x="diversity: mean distance within a class",
        y="fidelity: share taken for the asked class",
        notes={method: [f"{scale:g}" for scale in of_one] for method, of_one in scales.items()},
    )


def frechet_by_steps(metrics: Mapping[str, Mapping[str, float]], few: Sequence[str], steps: Sequence[int]) -> Figure:
    """Frechet distances by the number of steps: curves of some methods, and lines for all other sets.

    Args:
        metrics: ``frechet`` by set; the sets of the methods in `few` are called ``"method, steps"``.
        few: the methods with a curve.
        steps: their numbers of steps.

    Returns:
        The figure.
    """
    return curves(
        {name: (steps, [metrics[f"{name}, {n}"]["frechet"] for n in steps]) for name in few},
        "Frechet distance by the number of evaluations of the network.",
        x="evaluations",
        y="Frechet distance",
        logarithmic="xy",
        levels={name: found["frechet"] for name, found in metrics.items() if ", " not in name},
    )
