import numpy as np
import pytest
import scipy.linalg

from jaxgen.metrics.fidelity import Statistics, frechet_distance, kernel_distance, statistics

RNG = np.random.default_rng(0)


def covariance(d, seed):
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T / d


def test_frechet_distance_of_known_gaussians():
    """Equal axes: the distance of each axis is the squared difference of its standard deviations."""
    one = Statistics(np.zeros(3), np.diag([1.0, 4.0, 0.0]), 10)
    two = Statistics(np.array([1.0, 0.0, 2.0]), np.diag([9.0, 4.0, 0.25]), 10)
    assert frechet_distance(one, two) == pytest.approx(1 + 4 + (1 - 3) ** 2 + 0 + 0.5**2)


def test_frechet_distance_is_that_of_the_matrix_square_root():
    a, b = covariance(6, 1), covariance(6, 2)
    expected = np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)
    zero = np.zeros(6)
    assert frechet_distance(Statistics(zero, a, 9), Statistics(zero, b, 9)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_fewer_examples_than_features():
    x = RNG.normal(size=(5, 40))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 1) == pytest.approx(40, rel=1e-9)


def test_statistics_do_not_depend_on_the_batches():
    x = 1e4 + RNG.normal(size=(101, 3))
    parts = statistics(x[i : i + 7] for i in range(0, 101, 7))
    np.testing.assert_allclose(parts.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.cov(x.T), rtol=1e-7)
    assert parts.number == 101


def test_bad_input():
    with pytest.raises(ValueError, match="widths 2 and 3"):
        frechet_distance(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(np.zeros((1, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(np.zeros((1, 2)), np.zeros((4, 2)))


def test_kernel_distance_is_the_unbiased_sum_over_pairs():
    x, y = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2))
    k = lambda a, b: (np.dot(a, b) / 2 + 1) ** 3  # noqa: E731
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    within = np.mean([k(x[i], x[j]) for i, j in pairs]) + np.mean([k(y[i], y[j]) for i, j in pairs])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y, subsets=2).value == pytest.approx(within - 2 * across, rel=1e-10)


def test_kernel_distance_of_equal_laws_is_zero_and_of_others_is_not():
    """Independent draws of one law: the mean over them is 0 within 4 standard errors."""
    draws = [
        kernel_distance(*np.random.default_rng(i).normal(size=(2, 60, 4)), subsets=1, size=60).value for i in range(200)
    ]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))
    x, y = RNG.normal(size=(2, 400, 4))
    shifted = kernel_distance(x, y + 0.5)
    assert shifted.value > 4 * shifted.standard_error
