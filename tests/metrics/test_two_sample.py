import numpy as np
import pytest
from scipy import stats

from jaxgen.metrics.two_sample import classifier_test


def normal(seed, n, d, shift=0.0):
    x = np.random.default_rng(seed).normal(size=(2, n, d))
    x[1, :, 0] += shift
    return x


@pytest.mark.parametrize(
    ("classifier", "n", "d", "folds"), [("linear", 30, 4, 2), ("linear", 20, 60, 5), ("neighbours", 30, 3, 5)]
)
def test_p_values_are_right_for_equal_laws(classifier, n, d, folds):
    """At every level, no more than that share of the tests reject, up to four standard errors."""
    tests = 250
    found = [
        classifier_test(*normal(i, n, d), classifier=classifier, folds=folds, permutations=39, seed=i)
        for i in range(tests)
    ]
    p = np.array([f.p_value for f in found])
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level * (1 - level) / tests), level
    assert np.mean(p <= 0.5) > 0.5 - 4 * np.sqrt(0.25 / tests) - 0.1, "ties in accuracy make it a little conservative"
    accuracy = np.array([f.accuracy for f in found])
    assert abs(accuracy.mean() - 0.5) < 4 * accuracy.std(ddof=1) / np.sqrt(tests)


@pytest.mark.parametrize(("classifier", "loss"), [("linear", 0.01), ("neighbours", 0.06)])
def test_accuracy_is_that_of_the_best_classifier(classifier, loss):
    """Two normal laws a distance of s apart: the best classifier is right with the probability Phi(s / 2)."""
    n, shift = 1500, 1.5
    found = classifier_test(*normal(0, n, 3, shift), classifier=classifier, neighbours=15, permutations=19)
    best = stats.norm.cdf(shift / 2)
    error = np.sqrt(best * (1 - best) / (2 * n))
    assert best - loss - 4 * error < found.accuracy < best + 4 * error
    assert found.p_value == 1 / 20
    assert found.number == n


def test_a_difference_that_no_mean_shows_is_seen_by_neighbours_alone():
    x = np.random.default_rng(0).normal(size=(2, 300, 2))
    ring = 2 * x[1] / np.linalg.norm(x[1], axis=1, keepdims=True)
    assert classifier_test(x[0], ring, classifier="neighbours").p_value == 0.005
    assert classifier_test(x[0], ring).accuracy < 0.6


def test_sets_of_different_sizes_images_and_constant_features():
    x = normal(0, 200, 18)
    images = np.concatenate([x[0], x[1]]).reshape(400, 3, 3, 2)
    images[..., 0, 0, 0] = 7.0
    found = classifier_test(images[:300], images[300:] * 5, seed=1, classifier="neighbours")
    assert found.number == 100
    assert found.p_value == 0.005
    assert classifier_test(np.zeros((20, 3)), np.zeros((20, 3))).accuracy == 0.5


def test_equal_sets_cannot_be_told_apart_and_bad_options_are_refused():
    x = normal(0, 40, 2)[0]
    assert classifier_test(x, x, classifier="neighbours", neighbours=1).accuracy <= 0.5
    for options in ({"folds": 1}, {"neighbours": 2}, {"ridge": 0}, {"permutations": 0}, {"folds": 50}):
        with pytest.raises(ValueError, match="needs 2 folds"):
            classifier_test(x, x, **options)
    with pytest.raises(ValueError, match="width"):
        classifier_test(x, x[:, :1])
