"""Can a classifier tell two sets apart? Its accuracy on examples it has not seen, and a p-value that is exact."""

from typing import Literal, NamedTuple

import numpy as np

from jaxgen.metrics._host import distance_blocks
from jaxgen.metrics._host import features as as_features
from jaxgen.types import Array


class TwoSampleTest(NamedTuple):
    """What a classifier found.

    Attributes:
        accuracy: share of examples put into the right set by classifiers that did not see them; 0.5 where the sets
            have one distribution.
        p_value: the chance of such an accuracy, or a higher one, if they had; at least ``1 / (permutations + 1)``.
        number: examples of each set that were used.
    """

    accuracy: float
    p_value: float
    number: int


def classifier_test(
    a: np.ndarray | Array,
    b: np.ndarray | Array,
    *,
    classifier: Literal["linear", "neighbours"] = "linear",
    folds: int = 5,
    neighbours: int = 5,
    ridge: float = 1.0,
    permutations: int = 199,
    seed: int = 0,
) -> TwoSampleTest:
    """Classifier two-sample test, cross-validated.

    Examples of both sets, as many of each, are cut into folds; each fold is classified by a classifier of the others.
    The accuracies of folds are not independent, since a classifier of one fold was trained on the rest, so that the
    binomial distribution calls chance a difference (of normal sets of 30 to 60, a linear classifier told 8 to 13 %
    apart at a level of 5 %). Instead labels are permuted within folds, and every permutation is trained and tested
    anew: the p-value is exact for any number of examples and any features.

    Args:
        a: features ``[n, d]``; images are flattened.
        b: features ``[m, d]``; of the larger set, as many as the smaller has are drawn at random.
        classifier: "linear" is ridge regression on the labels, Fisher's discriminant (its solution is linear in the
            labels, which makes permutations cheap; a logistic regression on the same features differs little);
            "neighbours" is a vote of the nearest training examples.
        folds: how many.
        neighbours: how many vote; odd.
        ridge: strength of the penalty, in units of the mean variance that a feature explains: 1 shrinks directions
            that vary less than the average.
        permutations: how many.
        seed: of folds, draws and permutations.

    Returns:
        The `TwoSampleTest`.

    Raises:
        ValueError: if there are fewer examples than folds, or an option is out of range.

    Reference:
        Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", arXiv 1610.06545, section 3; Golland and
        Fischl 2003, "Permutation tests for classification", for the p-value.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 3))
        >>> same, other = classifier_test(x[:150], x[150:]), classifier_test(x[:150], x[150:] + 2)
        >>> same.p_value > 0.05, other.p_value, other.accuracy > 0.9
        (True, 0.005, True)
    """
    first, second = as_features(a, b)
    number = min(len(first), len(second))
    if folds < 2 or number < folds or permutations < 1 or ridge <= 0 or neighbours < 1 or neighbours % 2 == 0:
        raise ValueError(
            f"needs 2 folds or more, as many examples of each set ({number} here), a permutation, a positive ridge and "
            f"an odd number of neighbours; got {folds}, {permutations}, {ridge}, {neighbours}"
        )
    rng = np.random.default_rng(seed)
    x = np.concatenate([s[rng.permutation(len(s))[:number]] for s in (first, second)])
    x = x - x.mean(0)
    spread = x.std(0)
    x = x[:, spread > 1e-12 * spread.max(initial=1e-300)]
    x = x / x.std(0)
    label = np.repeat([1.0, -1.0], number)
    fold = np.tile(np.arange(number) % folds, 2)  # the sets are in random order already
    drawn = np.stack([label, *(_permuted(label, fold, rng) for _ in range(permutations))], axis=1)
    scores = _linear(x, fold, drawn, ridge) if classifier == "linear" else _vote(x, fold, drawn, neighbours)
    right = scores * drawn
    accuracy = np.mean((right > 0) + 0.5 * (right == 0), axis=0)
    at_least = np.sum(accuracy[1:] >= accuracy[0] - 1e-12)
    return TwoSampleTest(float(accuracy[0]), float((1 + at_least) / (1 + permutations)), number)


def _permuted(label: np.ndarray, fold: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels exchanged within folds, so that each keeps as many of either set."""
    result = label.copy()
    for i in range(fold.max() + 1):
        within = np.flatnonzero(fold == i)
        result[within] = label[rng.permutation(within)]
    return result


def _linear(x: np.ndarray, fold: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
    """Predictions of ridge regressions of the labels ``[n, p]``, each fold's by the others."""
    scores = np.empty_like(labels)
    for i in range(fold.max() + 1):
        test = fold == i
        train, y = x[~test], labels[~test]
        n, d = train.shape
        penalty = ridge * n * x.shape[1] / max(1, min(n, d))  # of the mean eigenvalue of train^T train
        if d <= n:
            weights = np.linalg.solve(train.T @ train + penalty * np.eye(d), train.T @ y)
        else:
            weights = train.T @ np.linalg.solve(train @ train.T + penalty * np.eye(n), y)
        scores[test] = x[test] @ weights
    return scores


def _vote(x: np.ndarray, fold: np.ndarray, labels: np.ndarray, neighbours: int) -> np.ndarray:
    """Sums of the labels of the nearest examples of the other folds."""
    scores = np.empty_like(labels)
    for i in range(fold.max() + 1):
        test, train = np.flatnonzero(fold == i), np.flatnonzero(fold != i)
        count = min(neighbours, len(train) - 1 + len(train) % 2)
        for rows, distance in distance_blocks(x[test], x[train]):
            nearest = train[np.argpartition(distance, count - 1, axis=1)[:, :count]]
            scores[test[rows]] = sum(labels[nearest[:, j]] for j in range(count))
    return scores
