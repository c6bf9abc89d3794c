import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers.probability_flow import probability_flow
from tests.samplers import oracles

PATHS = [paths.rectified(), paths.variance_preserving(), paths.variance_exploding(), paths.edm(), paths.cosine()]
ORACLE = oracles.GAUSSIAN


@pytest.mark.parametrize("path", PATHS)
def test_adaptive_steps_follow_the_exact_flow(path):
    """In float64, for a small tolerance; with the error of the last step, of the order of stop^2."""
    with jax.enable_x64(True):
        x = float(path.sigma(path.t_noise)) * jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))
        solve = jax.jit(lambda x: probability_flow(path, ORACLE.denoiser(path), x, rtol=1e-8, atol=1e-8))
        np.testing.assert_allclose(solve(x), oracles.flow(path, ORACLE, x), atol=2e-6)


def test_adaptive_steps_in_float32_and_a_stiff_solver():
    path = PATHS[1]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)
    for solver in ("tsit5", diffrax.Kvaerno3()):
        end = jax.jit(lambda x, s=solver: probability_flow(path, ORACLE.denoiser(path), x, solver=s))(x)
        np.testing.assert_allclose(end, oracles.flow(path, ORACLE, x), atol=2e-3)


def test_fixed_steps_gradients_types_and_a_later_start():
    path, x = PATHS[0], jnp.ones((2, 2))

    def end(scale, x, **options):
        options = {"steps": 6, "solver": "midpoint", **options}
        return probability_flow(path, lambda x, t: scale * x + t, x, **options)

    gradient, h = jax.jit(jax.grad(lambda scale: end(scale, x).sum()))(0.5), 1e-2
    want = (end(0.5 + h, x).sum() - end(0.5 - h, x).sum()) / (2 * h)
    np.testing.assert_allclose(gradient, want, rtol=2e-3)
    assert jax.eval_shape(end, 0.5, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    start = 0.4
    x = oracles.start(path, ORACLE, jax.random.key(0), 4, start)
    ends = probability_flow(path, ORACLE.denoiser(path), x, solver="dopri5", steps=40, start=start)
    np.testing.assert_allclose(ends, oracles.flow(path, ORACLE, x, start=start), atol=2e-3)
