import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from jaxgen.metrics.wasserstein import sliced_wasserstein, wasserstein_along

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sizes", [(7, 7), (7, 5), (3, 12), (1, 4)])
def test_along_one_direction_against_scipy(sizes):
    a, b = (RNG.normal(size=(n, 1)) for n in sizes)
    ours = wasserstein_along(jnp.asarray(a), jnp.asarray(b), jnp.ones((1, 1)), order=1.0)[0]
    assert float(ours) == pytest.approx(wasserstein_distance(a[:, 0], b[:, 0]), rel=1e-5)


def test_the_square_against_the_definition():
    """Both sets repeated to their least common multiple and paired in order."""
    a, b = RNG.normal(size=(4, 3)), RNG.normal(size=(6, 3))
    directions = RNG.normal(size=(5, 3))
    pa, pb = np.sort(np.repeat(directions @ a.T, 3, axis=1)), np.sort(np.repeat(directions @ b.T, 2, axis=1))
    ours = wasserstein_along(jnp.asarray(a), jnp.asarray(b), jnp.asarray(directions))
    np.testing.assert_allclose(ours, np.mean((pa - pb) ** 2, axis=1), rtol=1e-5)


def test_shifted_sets():
    """Every direction sees theta^T v: the mean square over the sphere is |v|^2 / d."""
    x, shift = jnp.asarray(RNG.normal(size=(40, 4, 2))), jnp.asarray(RNG.normal(size=(4, 2)))
    key = jax.random.key(3)
    found = float(sliced_wasserstein(key, x, x + shift, projections=4000))
    expected = float(jnp.sum(shift**2)) / 8
    # theta_1^2 has variance 2 (d - 1) / (d^2 (d + 2)) on the sphere
    error = expected * np.sqrt(2 * 7 / 10) / np.sqrt(4000)
    assert abs(found**2 - expected) < 4 * error


def test_scaled_gaussians():
    """Projections are N(0, s^2): the squared distance is (s - 1)^2 along every direction."""
    x, y = (jnp.asarray(RNG.normal(size=(20_000, 3))) for _ in range(2))
    found = float(sliced_wasserstein(jax.random.key(0), x, 2 * y, projections=32))
    assert found == pytest.approx(1, abs=4 * np.sqrt(5 / 20_000))  # sd of the difference of two sample deviations


def test_under_jit_and_for_equal_sets():
    x = jnp.asarray(RNG.normal(size=(9, 5)))
    distance = jax.jit(sliced_wasserstein)
    assert float(distance(jax.random.key(0), x, x[::-1])) == 0
    np.testing.assert_allclose(
        distance(jax.random.key(1), x, 2 * x), sliced_wasserstein(jax.random.key(1), x, 2 * x), rtol=1e-5
    )
    with pytest.raises(ValueError, match="widths differ"):
        sliced_wasserstein(jax.random.key(0), x, x[:, :3])
