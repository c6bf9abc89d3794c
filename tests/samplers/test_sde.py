import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.errors import UserError
from jaxgen.samplers import euler_maruyama, grids, sample
from jaxgen.samplers.sde import _Increments, reverse_sde, solve_sde
from tests.samplers import oracles

PATH = paths.variance_preserving()


def drift(rate, x, t):
    return rate * x


def diffusion(rate, x, t):
    return 0.5 + t


@pytest.mark.parametrize(
    ("solver", "backwards"),
    [(None, False), (diffrax.EulerHeun(), False), (diffrax.ShARK(), False), (diffrax.ShARK(), True)],
    ids=lambda value: type(value).__name__,
)
def test_a_linear_equation_has_its_mean_and_variance(solver, backwards):
    """``dx = -x dt + (1/2 + t) dw`` from 1: mean 1/e, variance the integral of (1/2 + t)^2 e^(2 (t - 1)).

    The same in mirrored time, where diffrax by itself loses a sign in ShARK.
    """
    grid, x = jnp.linspace(0.0, 1.0, 81), jnp.ones((4096, 1))
    system = (drift, diffusion, -1.0)
    if backwards:
        grid, system = grid[::-1], (lambda rate, x, t: -rate * x, lambda rate, x, t: 1.5 - t, -1.0)
    end = jax.jit(lambda key: solve_sde(*system, key, x, grid, solver=solver))(jax.random.key(0))
    t = np.linspace(0, 1, 100001)
    variance = np.trapezoid((0.5 + t) ** 2 * np.exp(2 * (t - 1)), t)
    assert oracles.misfit(end, np.exp([-1.0]), [[variance]]) < 4


def test_euler_is_the_plain_loop_backwards():
    x, grid = jnp.ones((3, 2)), jnp.linspace(1.0, 0.0, 6)
    end = jax.jit(lambda x: solve_sde(drift, lambda rate, x, t: 0.0, -1.5, jax.random.key(0), x, grid))(x)
    np.testing.assert_allclose(end, (1 + 1.5 * 0.2) ** 5 * x, rtol=1e-5)


def test_increments_have_their_moments_and_come_again():
    """W, H and K of a step are independent, with variances h, h / 12 and h / 720."""
    grid = jnp.array([0.0, 0.5, 2.0])
    like = jax.ShapeDtypeStruct((20000,), jnp.float32)
    path = _Increments(jax.random.key(0), grid, like, diffrax.SpaceTimeTimeLevyArea)
    step = jax.jit(lambda: path.evaluate(grid[1], grid[2], use_levy=True))()
    scaled = np.stack([step.W, step.H * 12**0.5, step.K * 720**0.5])
    np.testing.assert_allclose(np.cov(scaled), 1.5 * np.eye(3), atol=4 * 1.5 * np.sqrt(2 / 20000))
    np.testing.assert_allclose(step.W, path.evaluate(grid[1], grid[2]), rtol=1e-6)
    assert float(jnp.abs(path.evaluate(grid[0], grid[1]) - step.W).max()) > 0.1


def test_keys_by_example_do_not_depend_on_the_batch():
    keys, x, grid = jax.random.split(jax.random.key(1), 4), jnp.ones((4, 2)), jnp.linspace(0.0, 1.0, 4)
    solve = jax.jit(lambda keys, x: solve_sde(drift, diffusion, -1.0, keys, x, grid))
    np.testing.assert_allclose(solve(keys, x), solve(keys[::-1], x)[::-1], rtol=1e-6)
    assert len(np.unique(solve(keys, x))) == 8


def test_gradients_see_the_same_noise_again():
    """Checkpoints draw the increments of a step anew: they must be the same ones."""

    @jax.jit
    def end(rate):
        x, grid = jnp.ones((3, 1)), jnp.linspace(0.0, 1.0, 9)
        return solve_sde(drift, lambda rate, x, t: rate * t, rate, jax.random.key(0), x, grid)[1, 0]

    with jax.enable_x64(True):
        gradient, h = jax.jit(jax.grad(end))(-1.5), 1e-6
        np.testing.assert_allclose(gradient, (end(-1.5 + h) - end(-1.5 - h)) / (2 * h), rtol=1e-5)


def test_the_reverse_equation_ends_in_the_law():
    oracle = oracles.MIXTURE
    x, grid = oracles.start(PATH, oracle, jax.random.key(7), 4096), grids.log_snr(PATH, 100)

    @jax.jit
    def draw(key, x):
        return reverse_sde(PATH, oracle.denoiser(PATH), key, x, grid, solver=diffrax.ShARK())

    assert oracles.misfit(draw(jax.random.key(3), x), *oracles.law(PATH, oracle)) < 4


def test_without_noise_euler_is_our_own_step():
    path = paths.rectified()
    grid, x, key = grids.uniform(path, 10), jnp.array([[0.3, -1.2], [2.0, 0.1]]), jax.random.key(0)
    denoise = oracles.MIXTURE.denoiser(path)
    ours = jax.jit(lambda x: sample(euler_maruyama(path, noise=0.0), denoise, key, x, grid))(x)
    theirs = jax.jit(lambda x: reverse_sde(path, denoise, key, x, grid, noise=0.0))(x)
    np.testing.assert_allclose(theirs, ours, rtol=2e-5, atol=1e-6)  # on this path DDIM is Euler


def test_gradients_reach_what_the_denoiser_holds_and_types_stay():
    grid, x, path = jnp.linspace(0.0, 1.0, 5), jnp.ones((2, 2)), paths.rectified()

    def end(scale, x):
        return reverse_sde(path, lambda x, t: scale * x, jax.random.key(0), x, grid)

    total, h = jax.jit(lambda scale: end(scale, x).sum()), 1e-2
    gradient = jax.jit(jax.grad(total))(0.5)
    np.testing.assert_allclose(gradient, (total(0.5 + h) - total(0.5 - h)) / (2 * h), rtol=2e-3)
    assert jax.eval_shape(end, 0.5, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 steps"):
        reverse_sde(PATH, lambda x, t: x, jax.random.key(0), jnp.ones(2), jnp.array([1.0, 0.0]))


def test_a_grid_that_turns_back_is_an_error_outside_of_compiled_programs_and_nan_inside():
    def solve(x):
        return solve_sde(drift, diffusion, -1.0, jax.random.key(0), x, jnp.array([0.0, 0.6, 0.3, 1.0]))

    with pytest.raises(UserError, match="rise or fall"):
        solve(jnp.ones(2))
    assert np.isnan(jax.jit(solve)(jnp.ones(2))).all()


@pytest.mark.parametrize("solver", [None, diffrax.ShARK()], ids=["euler", "shark"])
def test_compiles_for_accelerators_without_a_call_back_to_python(solver):
    def draw(key, x):
        return reverse_sde(PATH, lambda x, t: 0 * x, key, x, grids.uniform(PATH, 4), solver=solver)

    traced = jax.jit(draw).trace(jax.random.key(0), jnp.ones(2))
    assert "callback" not in str(traced.jaxpr)
    traced.lower(lowering_platforms=("cuda", "tpu"))
