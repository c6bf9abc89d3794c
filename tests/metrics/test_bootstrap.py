import numpy as np
import pytest

from jaxgen.metrics.bootstrap import bootstrap_interval, jackknife_error
from jaxgen.metrics.fidelity import frechet_distance


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    x = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap_interval(np.mean, x, resamples=4000)
    half = 1.96 * x.std() / 20
    assert found.value == x.mean()
    assert found.low == pytest.approx(x.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(x.mean() + half, abs=0.1 * half)
    narrow = bootstrap_interval(np.mean, x, resamples=4000, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * half / 1.96, rel=0.1)


def test_it_covers_the_truth_as_often_as_it_says():
    hits = 0
    for i in range(300):
        x = np.random.default_rng(i).normal(size=60)
        found = bootstrap_interval(np.mean, x, resamples=200, level=0.8, seed=i)
        hits += found.low <= 0 <= found.high
    assert abs(hits / 300 - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 300)


def test_pairs_stay_together_or_not():
    x = np.random.default_rng(0).normal(size=50)
    difference = lambda a, b: float(np.mean(a) - np.mean(b))  # noqa: E731
    together = bootstrap_interval(difference, x, x + 1)
    assert together.low == pytest.approx(-1)
    assert together.high == pytest.approx(-1)
    apart = bootstrap_interval(difference, x, x + 1, paired=False)
    assert apart.high - apart.low > 0.3
    assert bootstrap_interval(difference, x, x[:20], paired=False).low < 0
    with pytest.raises(ValueError, match="one length"):
        bootstrap_interval(difference, x, x[:20])


def test_a_function_of_the_seed():
    x = np.arange(20.0)
    assert bootstrap_interval(np.median, x, resamples=50) == bootstrap_interval(np.median, x, resamples=50)
    assert bootstrap_interval(np.mean, x, resamples=50) != bootstrap_interval(np.mean, x, resamples=50, seed=1)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(np.mean, x, level=95)


def test_the_jackknife_finds_the_spread_of_a_distance_over_new_draws():
    """Frechet distances of 60 pairs of sets: their standard deviation, and what each pair says of it."""
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(200, 3)), 0.7 + 1.3 * rng.normal(size=(150, 3))) for _ in range(60)]
    spread = np.std([frechet_distance(*pair) for pair in pairs], ddof=1)
    errors = np.array([jackknife_error(frechet_distance, *pair) for pair in pairs])
    ratio = np.sqrt(np.mean(errors**2)) / spread
    assert abs(ratio - 1) < 4 / np.sqrt(2 * 59) + 0.05, "of a standard deviation from 60 draws; and a bias upwards"


def test_the_jackknife_needs_cases():
    with pytest.raises(ValueError, match="needs two groups"):
        jackknife_error(np.mean, np.zeros(5))
