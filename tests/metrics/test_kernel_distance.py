import numpy as np
import pytest

from jaxgen.metrics.kernel_distance import kernel_distance, maximum_mean_discrepancy

RNG = np.random.default_rng(0)


def unbiased(x, y, k):
    """The definition, pair by pair."""
    within = [np.mean([k(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    return sum(within) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_against_loops():
    x, y = RNG.normal(size=(6, 2)), RNG.normal(size=(9, 2))
    cubic = unbiased(x, y, lambda a, b: (a @ b / 2 + 1) ** 3)
    assert kernel_distance(x, y).value == pytest.approx(cubic, rel=1e-10)
    gauss = unbiased(x, y, lambda a, b: np.exp(-((a - b) @ (a - b)) / (2 * 0.7**2)))
    assert maximum_mean_discrepancy(x, y, bandwidth=0.7).value == pytest.approx(gauss, rel=1e-9)


def test_the_standard_error_is_the_jackknife_of_loops():
    x, y = RNG.normal(size=(5, 2)), RNG.normal(size=(7, 2)) + 1
    k = lambda a, b: (a @ b / 2 + 1) ** 3  # noqa: E731
    less_x = np.array([unbiased(np.delete(x, i, 0), y, k) for i in range(5)])
    less_y = np.array([unbiased(x, np.delete(y, i, 0), k) for i in range(7)])
    variance = 4 * less_x.var() + 6 * less_y.var()
    assert kernel_distance(x, y).standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("distance", [kernel_distance, maximum_mean_discrepancy])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_value_is_unbiased_and_the_standard_error_true(distance, shift):
    """Over fresh draws: the mean is that of large sets, and the spread what the standard error says."""

    def draw(seed, n):
        x, y = np.random.default_rng(seed).normal(size=(2, n, 3))
        return distance(x, y + shift)

    found = [draw(i, 60) for i in range(150)]
    values, errors = np.array(found).T
    spread = values.std(ddof=1)
    if shift:
        large = draw(999, 3000)
        assert abs(values.mean() - large.value) < 4 * np.hypot(spread / np.sqrt(150), large.standard_error)
        assert 0.8 < np.sqrt(np.mean(errors**2)) / spread < 1.25
    else:
        assert abs(values.mean()) < 4 * spread / np.sqrt(150)
        assert 0.9 < np.sqrt(np.mean(errors**2)) / spread < 1.9, "at least the truth, where sets are alike"
        assert (np.abs(values) < 4 * errors).mean() > 0.98


def test_subsets_keep_the_expectation():
    x, y = np.random.default_rng(1).normal(size=(2, 400, 3))
    y = y + 0.7
    whole, parts = kernel_distance(x, y), kernel_distance(x, y, subset_size=50)
    assert whole.value != parts.value
    assert abs(whole.value - parts.value) < 4 * parts.standard_error
    assert kernel_distance(x, y, subset_size=50, seed=1).value != parts.value
    assert kernel_distance(x, y, subset_size=50) == parts


def test_the_median_distance_is_the_bandwidth():
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[7.0], [15.0], [31.0]])
    distances = [abs(a - b) for i, a in enumerate([0, 1, 3, 7, 15, 31]) for b in [0, 1, 3, 7, 15, 31][:i]]
    expected = maximum_mean_discrepancy(x, y, bandwidth=float(np.median(distances)))
    assert maximum_mean_discrepancy(x, y) == expected


def test_bad_input():
    with pytest.raises(ValueError, match="three examples"):
        kernel_distance(np.zeros((2, 2)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="width"):
        kernel_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="NaN"):
        kernel_distance(np.full((4, 2), np.nan), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="bandwidth is 0"):
        maximum_mean_discrepancy(np.zeros((4, 2)), np.zeros((4, 2)))
