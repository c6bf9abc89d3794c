"""Classifiers trained with drawn images and without, for as many steps, on the same real images."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.experiment import Run
from jaxgen.imaging.variations import classical, moved
from jaxgen.train.finding_classifiers import Labelled, Training, Vary, fit, small_classifier

Scores = Callable[[np.ndarray], Mapping[str, float]]
"""Of the probabilities ``[n, k]`` that a classifier gives test images."""


class Arm(NamedTuple):
    """What one kind of classifier is trained on.

    Attributes:
        real: real images, or none.
        synthetic: drawn ones, or none.
        vary: what is done to batches; None leaves them as they are.
    """

    real: Labelled | None
    synthetic: Labelled | None = None
    vary: Vary | None = None


def training(run: Run) -> Training:
    """How all classifiers of a run are trained."""
    return Training(small_classifier(len(run.facts.classes)), run.config.classifier_steps)


def usual(run: Run) -> Vary:
    """How images are varied: mirrored too, unless the configuration says that they have a side."""
    return classical if run.config.mirror else moved


def chosen_share(run: Run, arm: Arm, image: np.ndarray, score: Callable[[np.ndarray], float]) -> Training:
    """The share of drawn images in a batch that does best on validation images, by classifiers of one seed.

    Args:
        run: the run, with ``config.shares`` to choose from.
        arm: real and drawn images.
        image: real validation images.
        score: of their probabilities, higher is better.
    """
    tried = [training(run)._replace(share=share) for share in run.config.shares]
    if len(tried) == 1:
        return tried[0]
    seed = run.config.classifier_seeds  # none of those that are compared

    def found(how: Training) -> float:
        (predict,) = fit(how, arm.real, arm.synthetic, seeds=(seed,), vary=arm.vary)
        return score(predict(image))

    return max(tried, key=found)


def compared(
    run: Run, how: Training, arms: Mapping[str, Arm], image: np.ndarray, scores: Scores, versus: str
) -> dict[str, dict[str, float]]:
    """Classifiers of several seeds of each kind.

    Args:
        run: the run.
        how: how all are trained.
        arms: by name, what they are trained on.
        image: test images.
        scores: of their probabilities.
        versus: the arm that gains are measured from, seed by seed.

    Returns:
        By arm the mean of each score, ``<score>_spread``, its standard deviation over seeds, and ``<score>_gain`` with
        ``<score>_gain_error``, the mean gain and its standard error.
    """
    seeds = range(run.config.classifier_seeds)
    rows: dict[str, Sequence[Mapping[str, float]]] = {}
    for name, arm in arms.items():
        predictors = fit(how, arm.real, arm.synthetic, seeds=seeds, vary=arm.vary)
        rows[name] = [scores(predict(image)) for predict in predictors]
    found: dict[str, dict[str, float]] = {}
    for name, row in rows.items():
        found[name] = {}
        for metric in row[0]:
            values = np.array([one[metric] for one in row])
            gains = values - np.array([one[metric] for one in rows[versus]])
            found[name] |= {metric: float(values.mean()), f"{metric}_spread": _deviation(values)}
            if name != versus:
                error = _deviation(gains) / np.sqrt(len(gains))
                found[name] |= {f"{metric}_gain": float(gains.mean()), f"{metric}_gain_error": float(error)}
    return found


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
