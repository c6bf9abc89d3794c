"""Covariates asked for and measured: correlations, and one covariate changed at a time."""

import jax
import numpy as np

from jaxgen.metrics.covariates import agreement, movement, one_at_a_time

RANGES = ((0.0, 1.0), (10.0, 30.0))
"""Lows and highs."""


def test_correlations_by_hand():
    asked = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    measured = np.array([[0.0, 5.0], [2.0, 4.0], [np.nan, 3.0], [4.0, 2.0]])
    found = agreement(("age", "sex"), asked, measured)
    np.testing.assert_allclose(found["r_age"], np.corrcoef(asked[:, 0], [0, 2, 2, 4])[0, 1], atol=1e-6)
    assert found["r_sex"] == 0.0, "what does not vary correlates with nothing"
    assert agreement(("age",), asked[:, :1], np.full((4, 1), np.nan)) == {"r_age": 0.0}


def test_a_movement():
    assert movement(1, np.array([0.1, 0.4, -0.2]), 0.8) == {"moved": 0.5, "others": 0.5}
    assert movement(0, np.array([0.8]), 0.8) == {"moved": 1.0, "others": 0.0}


def test_one_covariate_at_a_time():
    """Samples that are their covariates, the second leaking into the first by a tenth of its range."""
    seen = []

    def leak(b):
        return (b - 1) / 29 * 10 * 0.1

    def draw(keys, covariates):
        seen.append(np.asarray(jax.random.key_data(keys)))
        return covariates + np.array([1.0, 0.0]) * leak(covariates[:, 1:])

    rows, samples = one_at_a_time(draw, lambda x: x, ("a", "b"), RANGES, jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose([rows["change of a"][name] for name in ("moved", "others")], [1, 0], atol=1e-6)
    np.testing.assert_allclose([rows["change of b"][name] for name in ("moved", "others")], [1, 0.1], atol=1e-6)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_allclose(samples["a"][:, 0], 10 * np.array([0.1, 0.3, 0.5, 0.7, 0.9]) + leak(15.5))
    np.testing.assert_allclose(samples["b"][:, 1], 1 + 29 * np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
    assert (np.ptp(seen[2], axis=0) == 0).all(), "the pictures of a covariate share their noise"
