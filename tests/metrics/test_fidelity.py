import numpy as np
import pytest
import scipy.linalg

from jaxgen.metrics.fidelity import Statistics, frechet_distance, frechet_distance_infinity, statistics

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
    with pytest.raises(ValueError, match="10 samples"):
        frechet_distance_infinity(np.zeros((9, 2)), np.zeros((40, 2)))


def test_the_bias_of_small_sets_is_taken_away():
    """Equal laws, the reference known exactly: the distance is 0; that of n samples is about d (d + 5) / (4 n)."""
    d, n = 8, 400
    exact = Statistics(np.zeros(d), np.eye(d), 10**9)
    sets = np.random.default_rng(5).normal(size=(25, n, d))
    plain = np.array([frechet_distance(x, exact) for x in sets])
    limit = np.array([frechet_distance_infinity(x, exact, seed=i).value for i, x in enumerate(sets)])
    error = plain.std(ddof=1) / 5
    assert abs(plain.mean() - (d + d * (d + 1) / 4) / n) < 4 * error + 0.1 * plain.mean(), "mean and covariance terms"
    assert plain.mean() > 8 * error
    assert abs(limit.mean()) < 4 * limit.std(ddof=1) / 5
    far = sets + 1.0
    shifted = np.array([frechet_distance_infinity(x, exact, seed=i).value for i, x in enumerate(far)])
    assert abs(shifted.mean() - d) < 4 * shifted.std(ddof=1) / 5


def test_the_extrapolation_of_an_exact_line():
    """Sets whose every subset has the same moments lie on a line without noise."""
    x = np.zeros((200, 2))
    found = frechet_distance_infinity(x, Statistics(np.array([3.0, 4.0]), np.zeros((2, 2)), 100))
    assert found.value == pytest.approx(25)
    assert found.standard_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(12, 9), (12, 90), (90, 9)])
def test_few_examples_give_the_distance_of_their_covariances(n, m):
    """Fewer examples than features take another road, without the roots of eigenvalues that should be 0.

    On the road of the statistics these are about 1e-8, the root of float64's precision.
    """
    a, b = RNG.normal(size=(n, 20)), 1 + 2 * RNG.normal(size=(m, 20))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(statistics([a]), statistics([b])), rel=1e-7)
