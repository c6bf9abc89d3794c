import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jaxgen import paths
from tests.samplers import oracles

PATHS = [paths.rectified(), paths.variance_preserving(), paths.variance_exploding()]


@pytest.mark.parametrize("path", PATHS)
def test_the_denoiser_obeys_tweedie(path):
    """``alpha x0_hat = x_t + sigma^2 grad log p``, with the gradient by finite differences of another formula."""
    weights, means = [0.6, 0.4], np.array([[-1.0, 0.5], [1.5, 0.0]])
    covariances = np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]])
    t, h = 0.4, 1e-5
    x = 2 * np.random.default_rng(0).normal(size=(7, 2))
    with jax.enable_x64(True):
        a, s = float(path.alpha(t)), float(path.sigma(t))
        ours = np.asarray(oracles.mixture(weights, means, covariances).denoiser(path)(jnp.asarray(x), t))

    def log_p(x):
        parts = zip(weights, means, covariances, strict=True)
        return np.log(sum(w * multivariate_normal(a * m, a**2 * c + s**2 * np.eye(2)).pdf(x) for w, m, c in parts))

    steps = h * np.eye(2)
    gradient = np.stack([(log_p(x + step) - log_p(x - step)) / (2 * h) for step in steps], -1)
    np.testing.assert_allclose(a * ours, x + s**2 * gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("oracle", [oracles.GAUSSIAN, oracles.MIXTURE])
def test_draws_have_the_stated_moments_and_the_measure_sees_a_wrong_one(oracle):
    path = PATHS[0]
    x = oracles.start(path, oracle, jax.random.key(0), 20000, t=0.7)
    mean, covariance = oracles.law(path, oracle, t=0.7)
    assert oracles.misfit(x, mean, covariance) < 4
    assert oracles.misfit(x, mean + 0.05, covariance) > 4
    assert oracles.misfit(x, mean, 1.1 * covariance) > 4


def test_the_ends_of_time_are_finite():
    path, x = PATHS[0], jnp.array([[0.3, 2.0]])
    for oracle in (oracles.GAUSSIAN, oracles.MIXTURE):
        denoise = jax.jit(oracle.denoiser(path))
        np.testing.assert_allclose(denoise(x, 0.0)[0], oracle.mean, atol=1e-5)  # pure noise
        np.testing.assert_allclose(denoise(x, 1.0), x, rtol=1e-5)  # pure data


def test_the_flow_carries_the_law_and_solves_its_equation():
    path, h = PATHS[1], 1e-6
    x = oracles.start(path, oracles.GAUSSIAN, jax.random.key(0), 20000)
    assert oracles.misfit(oracles.flow(path, oracles.GAUSSIAN, x), *oracles.law(path, oracles.GAUSSIAN)) < 4
    with jax.enable_x64(True):
        before, here, after = (oracles.flow(path, oracles.GAUSSIAN, x[:5], end=0.3 + d) for d in (-h, 0, h))

        @jax.jit
        def velocity(x):
            x0 = oracles.GAUSSIAN.denoiser(path)(x, 0.3)
            return paths.convert(path, x, 0.3, x0, "x0", "velocity")

        velocity = velocity(here)
    np.testing.assert_allclose((after - before) / (2 * h), velocity, rtol=1e-6, atol=1e-6)
