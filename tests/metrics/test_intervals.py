"""Prediction intervals of samples, beside laws whose coverage is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics import interval_coverage, interval_widening


def drawn(number, n, spread=1.0, values=40_000):
    """Samples of deviation `spread` and a truth of deviation 1, around means and in units that vary."""
    rng = np.random.default_rng(number)
    mean, unit = rng.normal(size=values), np.exp(rng.normal(size=values))
    samples = mean + unit * spread * rng.normal(size=(n, values))
    return samples, mean + unit * rng.normal(size=values)


@pytest.mark.parametrize("n", [2, 4, 16])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_of_one_more_draw_hold_their_level(n, level):
    samples, truth = drawn(n, n)
    assert interval_coverage(samples, truth, level=level) == pytest.approx(level, abs=0.01)
    assert interval_widening(samples, truth, level=level) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spread", [0.4, 2.5])
def test_a_factor_from_some_values_holds_for_others(spread):
    factor = interval_widening(*drawn(0, 6, spread))
    others = drawn(1, 6, spread)
    assert abs(interval_coverage(*others) - 0.9) > 0.07
    assert interval_coverage(*others, widening=factor) == pytest.approx(0.9, abs=0.01)
    assert (factor > 1) == (spread < 1)


@pytest.mark.parametrize("n", [1, 9, 10, 57])
def test_the_factor_is_the_smallest_that_holds_enough(n):
    samples, truth = drawn(2, 3, values=n)
    factor = interval_widening(samples, truth)
    inside = interval_coverage(samples, truth, widening=factor * (1 + 1e-5)) * n
    assert round(float(inside)) == min(np.ceil(0.9 * (n + 1)), n)
    assert interval_coverage(samples, truth, widening=factor * (1 - 1e-5)) * n < inside - 0.5


def test_only_what_counts_counts():
    samples, truth = drawn(3, 5, values=1000)
    where = np.arange(1000) % 3 == 0
    for judge in (interval_coverage, interval_widening):
        found = jax.jit(lambda where, judge=judge: judge(samples, truth, where=where))(where)
        np.testing.assert_allclose(found, judge(samples[:, where], truth[where]), rtol=1e-5)
        assert np.isnan(judge(samples, truth, where=np.zeros(1000)))


def test_samples_that_agree():
    samples = jnp.ones((3, 2))
    assert interval_widening(samples, jnp.ones(2)) == 0
    assert interval_coverage(samples, jnp.array([1.0, 2.0])) == 0.5
    assert interval_widening(samples, jnp.array([1.0, 2.0])) == np.inf


@pytest.mark.parametrize("judge", [interval_coverage, interval_widening])
def test_what_no_interval_can_be_made_of(judge):
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        judge(np.zeros((1, 4)), np.zeros(4))
    with pytest.raises(ValueError, match="but a truth of"):
        judge(np.zeros((2, 4)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        judge(np.zeros((2, 4)), np.zeros(4), level=90)
