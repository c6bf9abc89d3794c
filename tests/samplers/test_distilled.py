"""Samplers for distilled networks, with the networks that distillation aims at: exact flows of a Gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, paths
from jaxgen.samplers import consistency, ddim, grids, sample, tcd
from tests.samplers import oracles

PATH = paths.variance_preserving()
KEY = jax.random.key(0)
ORACLE = oracles.GAUSSIAN


def landing(path, end):
    """The consistency function of a Gaussian: where the flow carries x_t at the time `end`."""
    variances, axes = np.linalg.eigh(ORACLE.covariance)

    def land(x, t):
        (a, s), (b, r) = ((path.alpha(u), path.sigma(u)) for u in (t, jnp.asarray(end)))
        along = (x - a * ORACLE.mean) @ axes
        return b * ORACLE.mean + (along * jnp.sqrt((b**2 * variances + r**2) / (a**2 * variances + s**2))) @ axes.T

    return land


@pytest.mark.parametrize(("path", "end", "steps"), [(PATH, 0.0, 1), (PATH, 0.2, 6), (paths.edm(), 0.5, 2)])
def test_consistency_is_exact_in_any_number_of_steps(path, end, steps):
    """With the exact function every step draws from the distribution at its end, also where noise is left there."""
    grid = jnp.linspace(path.t_noise, end, steps + 1)
    x = oracles.start(path, ORACLE, jax.random.key(1), 4096)
    ends = jax.jit(lambda x: sample(consistency(path), landing(path, end), KEY, x, grid))(x)
    assert oracles.misfit(ends, *oracles.law(path, ORACLE, end)) < 4
    if steps == 1:
        np.testing.assert_allclose(ends, oracles.flow(path, ORACLE, x, end=end), rtol=1e-3, atol=1e-3)


def test_consistency_with_a_posterior_mean_has_too_little_variance():
    """What the docstring warns of: ordinary denoisers are not for it."""
    x = oracles.start(PATH, ORACLE, jax.random.key(1), 4096)
    grid = grids.uniform(PATH, 50)
    ends = jax.jit(lambda x: sample(consistency(PATH), ORACLE.denoiser(PATH), KEY, x, grid))(x)
    assert np.trace(np.cov(ends.T)) < 0.9 * np.trace(ORACLE.covariance)


def test_noise_of_consistency_is_what_is_given():
    grid, x = jnp.array([1.0, 0.5, 0.0]), jnp.ones((2, 3))
    step = consistency(PATH, noise=lambda key, shape: 2 * draws.normal(key, shape))
    state = step.init(x, grid)
    moved = step.step(lambda x, t: 0 * x, KEY, state, grid[0], grid[1]).x
    np.testing.assert_allclose(moved, 2 * PATH.sigma(0.5) * draws.normal(KEY, x.shape), rtol=1e-5)


def test_tcd_between_ddim_and_consistency():
    """The two ends of gamma; at the last step nothing is drawn."""
    x, grid = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32), grids.uniform(PATH, 5)

    def run(step):
        return jax.jit(lambda x: sample(step, ORACLE.denoiser(PATH), KEY, x, grid, keep=True))(x)

    np.testing.assert_allclose(run(tcd(PATH, 0.0)), run(ddim(PATH)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(tcd(PATH, 1.0)), run(consistency(PATH)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"gamma is 1\.5"):
        tcd(PATH, 1.5)


@pytest.mark.parametrize("gamma", [0.3, 0.7, lambda s: 0.4 * s])
def test_tcd_noise_makes_up_for_what_was_taken(gamma):
    """Given x0, x_s has the distribution of the forward chain: variance sigma_s^2 around alpha_s x0."""
    t, s, x0 = jnp.array(0.8), jnp.array(0.4), 1.5
    keys = jax.random.split(jax.random.key(2), 2)
    x = PATH.alpha(t) * x0 + PATH.sigma(t) * draws.normal(keys[0], (20000, 1))
    step = tcd(PATH, gamma)
    moved = step.step(lambda x, t: x0 + 0 * x, keys[1], step.init(x, jnp.stack([t, s])), t, s).x
    assert oracles.misfit(moved, PATH.alpha(s) * x0, np.asarray([[PATH.sigma(s) ** 2]])) < 4


def test_tcd_keeps_the_share_of_the_noise_that_gamma_leaves():
    t, s = jnp.array(0.8), jnp.array(0.4)
    x = jnp.ones((1, 1))
    step = tcd(PATH, 0.5)
    kept = [step.step(lambda x, t: 0 * x, KEY, step.init(y, jnp.stack([t, s])), t, s).x for y in (x, 2 * x)]
    d = 0.2
    want = PATH.alpha(s) / PATH.alpha(d) * PATH.sigma(d) / PATH.sigma(t)
    np.testing.assert_allclose(kept[1] - kept[0], want, rtol=1e-5)
