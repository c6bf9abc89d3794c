import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers.probability_flow import probability_flow
from tests.samplers import oracles

RECTIFIED = paths.rectified()
ORACLE = oracles.GAUSSIAN


@pytest.mark.parametrize("path", [RECTIFIED, paths.variance_preserving(), paths.variance_exploding(), paths.edm()])
def test_adaptive_steps_follow_the_exact_flow(path):
    """In float64, for a small tolerance; with the error of the last step, of the order of stop^2."""
    with jax.enable_x64(True):
        x = float(path.sigma(path.t_noise)) * jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))
        solve = jax.jit(lambda x: probability_flow(path, ORACLE.denoiser(path), x, rtol=1e-8, atol=1e-8))
        np.testing.assert_allclose(solve(x), oracles.flow(path, ORACLE, x), atol=2e-6)


def test_fixed_steps_from_a_later_start():
    start, options = 0.4, {"solver": "dopri5", "steps": 40}
    x = oracles.start(RECTIFIED, ORACLE, jax.random.key(0), 4, start)
    # As above: JAX confuses the precisions of one constant of NumPy that meets it in both.
    with jax.enable_x64(True):
        solve = jax.jit(lambda x: probability_flow(RECTIFIED, ORACLE.denoiser(RECTIFIED), x, start=start, **options))
        np.testing.assert_allclose(solve(x), oracles.flow(RECTIFIED, ORACLE, x, start=start), atol=2e-3)


def test_gradients_reach_what_the_denoiser_holds_and_types_stay():
    x = jnp.ones((2, 2))

    def end(scale, x):
        return probability_flow(RECTIFIED, lambda x, t: scale * x + t, x, steps=6, solver="midpoint")

    total, h = jax.jit(lambda scale: end(scale, x).sum()), 1e-2
    gradient = jax.jit(jax.grad(total))(0.5)
    np.testing.assert_allclose(gradient, (total(0.5 + h) - total(0.5 - h)) / (2 * h), rtol=2e-3)
    assert jax.eval_shape(end, 0.5, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
