import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.metrics import brier_score, expected_calibration_error, reliability_curve
from jaxgen.metrics._sums import total


def forecasts(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.5, 0.8, n).astype(np.float32)
    probability[:3] = [0.0, 1.0, 0.5]
    return probability, rng.random(n) < probability**2


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_against_a_loop_over_the_bins(bins):
    probability, outcome = forecasts()
    index = np.minimum(np.floor(probability * np.float32(bins)), bins - 1)
    curve = jax.jit(lambda p, y: reliability_curve(p, y, bins=bins))(probability, outcome)
    error = 0.0
    for k in range(bins):
        inside = index == k
        assert curve.number[k] == inside.sum()
        np.testing.assert_allclose(curve.probability[k], probability[inside].mean(), rtol=1e-5)
        np.testing.assert_allclose(curve.frequency[k], outcome[inside].mean(), rtol=1e-5)
        error += inside.mean() * abs(outcome[inside].mean() - probability[inside].mean())
    np.testing.assert_allclose(expected_calibration_error(probability, outcome, bins=bins), error, rtol=1e-4)
    np.testing.assert_allclose(brier_score(probability, outcome), np.mean((probability - outcome) ** 2), rtol=1e-5)


def test_an_empty_bin_is_nan_and_costs_nothing():
    curve = reliability_curve(jnp.array([0.1, 0.9]), jnp.array([0, 1]), bins=3)
    assert curve.number.tolist() == [1, 0, 1]
    assert np.isnan(curve.frequency[1])
    np.testing.assert_allclose(expected_calibration_error(jnp.array([0.1, 0.9]), jnp.array([0, 1]), bins=3), 0.1)


def test_calibrated_forecasts_have_a_small_error_and_others_their_offset():
    rng = np.random.default_rng(1)
    probability = rng.uniform(0, 0.8, 200_000).astype(np.float32)
    outcome = rng.random(200_000) < probability
    assert expected_calibration_error(probability, outcome) < 0.006  # 12 bins of 17,000: about 0.003 by chance
    np.testing.assert_allclose(expected_calibration_error(probability + 0.2, outcome), 0.2, atol=0.006)
    np.testing.assert_allclose(brier_score(probability, outcome), 0.4 - 0.64 / 3, atol=0.004)


def test_images_are_pooled():
    probability, outcome = forecasts(24)
    shaped = probability.reshape(2, 3, 4), outcome.reshape(2, 3, 4)
    assert brier_score(*shaped) == brier_score(probability, outcome)
    assert expected_calibration_error(*shaped) == expected_calibration_error(probability, outcome)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        brier_score(jnp.zeros((2, 3)), jnp.zeros((3, 2)))


def test_sums_of_many_pixels_do_not_saturate():
    n = 2**24 + 2**20
    assert float(total(jnp.ones(n))) == n
    curve = reliability_curve(jnp.full(2**21, 0.3), jnp.ones(2**21), bins=2)
    np.testing.assert_allclose(curve.probability[0], 0.3, rtol=1e-5)  # a running sum is off by 2e-2
