import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import euler_maruyama, grids, sample
from jaxgen.samplers.sde import reverse_sde, solve_sde
from tests.samplers import oracles

PATH = paths.variance_preserving()


def drift(rate, x, t):
    return rate * x


def diffusion(rate, x, t):
    return 0.5 + t


@pytest.mark.parametrize("solver", [None, diffrax.ShARK(), diffrax.SRA1(), diffrax.EulerHeun()], ids=repr)
def test_a_linear_equation_has_its_mean_and_variance(solver):
    """``dx = -x dt + (1/2 + t) dw`` from 1 at t=0: mean 1/e, variance the integral of (1/2 + t)^2 e^(2 (t - 1))."""
    grid, x = jnp.linspace(0.0, 1.0, 101), jnp.ones((4096, 1))
    end = jax.jit(lambda key: solve_sde(drift, diffusion, -1.0, key, x, grid, solver=solver))(jax.random.key(0))
    t = np.linspace(0, 1, 100001)
    variance = np.trapezoid((0.5 + t) ** 2 * np.exp(2 * (t - 1)), t)
    assert oracles.misfit(end, np.exp([-1.0]), [[variance]]) < 4


def test_the_strong_order_of_a_solver_that_uses_the_levy_area():
    """The Levy area of a step is that of its own increment: independent of it, with the variance 1/12 of the step."""
    from jaxgen.samplers.sde import _Increments

    grid = jnp.array([0.0, 0.5, 2.0])
    like = jax.ShapeDtypeStruct((20000,), jnp.float32)
    path = _Increments(jax.random.key(0), grid, like, diffrax.SpaceTimeTimeLevyArea)
    step = jax.jit(lambda: path.evaluate(grid[1], grid[2], use_levy=True))()
    moments = np.cov(np.stack([step.W, step.H, step.K]))
    np.testing.assert_allclose(moments, 1.5 * np.diag([1, 1 / 12, 1 / 720]), atol=4 * 1.5 * np.sqrt(2 / 20000))
    np.testing.assert_allclose(moments[2, 2], 1.5 / 720, rtol=0.05)
    again = jax.jit(lambda: path.evaluate(grid[1], grid[2]))()
    np.testing.assert_array_equal(step.W, again)
    assert float(jnp.abs(path.evaluate(grid[0], grid[1]) - again).max()) > 0.1


def test_euler_is_the_plain_loop_forwards_and_backwards():
    for grid in (jnp.linspace(0.0, 1.0, 6), jnp.linspace(1.0, 0.0, 6)):
        x = jnp.ones((3, 2))
        end = solve_sde(drift, lambda rate, x, t: 0.0, -1.5, jax.random.key(0), x, grid)
        np.testing.assert_allclose(end, (1 - 1.5 * float(grid[1] - grid[0])) ** 5 * x, rtol=1e-5)


def test_keys_by_example_do_not_depend_on_the_split():
    keys, x, grid = jax.random.split(jax.random.key(1), 4), jnp.ones((4, 2)), jnp.linspace(0.0, 1.0, 4)
    solve = jax.jit(lambda keys, x: solve_sde(drift, diffusion, -1.0, keys, x, grid))
    np.testing.assert_allclose(solve(keys, x)[2:], solve(keys[2:], x[2:]), rtol=1e-6)


def test_gradients_see_the_same_noise_again():
    """Checkpoints draw the increments of a step anew: they must be the same ones."""
    grid, x, key = jnp.linspace(0.0, 1.0, 9), jnp.ones((3, 1)), jax.random.key(0)

    def end(rate):
        return solve_sde(drift, lambda rate, x, t: rate * t, rate, key, x, grid)[1, 0]

    with jax.enable_x64(True):
        gradient, h = jax.jit(jax.grad(end))(-1.5), 1e-6
        np.testing.assert_allclose(gradient, (end(-1.5 + h) - end(-1.5 - h)) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize(("solver", "noise", "steps"), [(None, 0.5, 200), (diffrax.ShARK(), 1.0, 100)], ids=str)
def test_the_reverse_equation_ends_in_the_law(solver, noise, steps):
    oracle = oracles.MIXTURE
    x, grid = oracles.start(PATH, oracle, jax.random.key(7), 4096), grids.uniform(PATH, steps)

    @jax.jit
    def draw(oracle, key, x):
        return reverse_sde(PATH, oracle.denoiser(PATH), key, x, grid, solver=solver, noise=noise)

    assert oracles.misfit(draw(oracle, jax.random.key(3), x), *oracles.law(PATH, oracle)) < 4


@pytest.mark.parametrize("path", [PATH, paths.rectified()])
def test_without_noise_euler_is_our_own_step(path):
    grid, x = grids.uniform(path, 10), jnp.array([[0.3, -1.2], [2.0, 0.1]])
    denoise = oracles.MIXTURE.denoiser(path)
    ours = jax.jit(lambda x: sample(euler_maruyama(path, noise=0.0), denoise, jax.random.key(0), x, grid[:-1]))(x)
    theirs = reverse_sde(path, denoise, jax.random.key(0), x, jnp.append(grid[:-1], grid[-2]), noise=0.0)
    np.testing.assert_allclose(theirs, ours, rtol=2e-5, atol=1e-6)


def test_gradients_reach_what_the_denoiser_holds_and_types_stay():
    grid, x, path = jnp.linspace(0.0, 1.0, 5), jnp.ones((2, 2)), paths.rectified()

    def end(scale, x):
        return reverse_sde(path, lambda x, t: scale * x, jax.random.key(0), x, grid)

    gradient, h = jax.jit(jax.grad(lambda scale: end(scale, x).sum()))(0.5), 1e-2
    want = (end(0.5 + h, x).sum() - end(0.5 - h, x).sum()) / (2 * h)
    np.testing.assert_allclose(gradient, want, rtol=2e-3)
    assert jax.eval_shape(end, 0.5, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps"):
        reverse_sde(PATH, lambda x, t: x, jax.random.key(0), jnp.ones(2), jnp.array([1.0, 0.0]))
