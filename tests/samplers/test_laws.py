"""What every sampler must show, as one table: a new sampler is a new row of `ROWS`.

- With the exact denoisers of a Gaussian and of a mixture, its samples have the known mean and covariance.
- If it is deterministic, its error falls with the number of steps by the order it states.
- It is a pure function: one trace serves several laws, the same key gives the same samples, it maps over keys and draws
  example by example; x keeps its type, bfloat16 too.

A row is one compiled program for its law, two for its order, a small one for its purity: choose paths that have
something to say, not all of them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths, samplers, schedules
from jaxgen.samplers import grids
from jaxgen.types import Array, Step
from tests.samplers import oracles

pytestmark = pytest.mark.thorough

PATHS = {
    "rectified": paths.rectified(),
    "trigonometric": paths.trigonometric(),
    "variance preserving": paths.variance_preserving(),
    "sub-variance preserving": paths.sub_variance_preserving(),
    "variance exploding": paths.variance_exploding(),
    "cosine": paths.cosine(),
    "edm": paths.edm(),
    "discrete": paths.discrete(schedules.linear_betas(1000)),
}


class Row(NamedTuple):
    """A sampler on a path.

    Attributes:
        name: what to call it.
        step: path -> Step.
        path: a key of `PATHS`.
        steps: enough of them for an error well below what 4096 draws can tell.
        grid: (path, steps) -> times.
        order: of convergence; None for a sampler that draws.
        order_steps: where to measure it, and at twice as many.
    """

    name: str
    step: Callable[[paths.Path], Step]
    path: str
    steps: int
    grid: Callable[[paths.Path, int], Array] = grids.uniform
    order: int | None = None
    order_steps: int = 24


def learned(path):
    """Ancestral sampling with any variance between the bounds."""
    return samplers.ddpm(path, lambda x, t: jax.nn.sigmoid(x + t))


def corrected(path):
    return samplers.predictor_corrector(samplers.reverse_diffusion(path), path, snr=0.1)


def corrected_twice(path):
    return samplers.predictor_corrector(samplers.ddim(path), path, snr=0.1, corrections=2)


def annealed(path):
    return samplers.annealed_langevin(path, step_size=0.5, repeats=50)


# Steps of equal length in log-SNR, over the part of it where these laws take shape.
by_snr = functools.partial(grids.log_snr, low=-5.0, high=7.0)
karras = functools.partial(grids.karras, r_max=80.0)

ROWS = [
    # Runge-Kutta methods in time.
    Row("euler", samplers.euler, "variance preserving", 200, order=1),
    Row("heun", samplers.heun, "rectified", 40, order=2),
    Row("heun", samplers.heun, "trigonometric", 40, order=2),
    Row("heun", samplers.heun, "variance preserving", 60, order=2),
    Row("heun", samplers.heun, "variance exploding", 60, order=2, order_steps=64),
    Row("midpoint", samplers.midpoint, "sub-variance preserving", 60, order=2),
    Row("runge_kutta4", samplers.runge_kutta4, "rectified", 20, order=4),
    Row("runge_kutta4", samplers.runge_kutta4, "variance preserving", 30, order=4),
    # DDIM and ancestral sampling.
    Row("ddim", samplers.ddim, "variance preserving", 250, by_snr, order=1),
    *(Row("ddim, eta 1", functools.partial(samplers.ddim, eta=1.0), path, 250, by_snr) for path in PATHS),
    Row("ddpm, large", functools.partial(samplers.ddpm, variance="large"), "discrete", 300, grids.trailing),
    Row("ddpm, learned", learned, "cosine", 300),
    Row("euler_ancestral", functools.partial(samplers.euler_ancestral, eta=0.5), "edm", 250, by_snr),
    # EDM.
    Row("edm", samplers.edm, "edm", 40, grids.karras, order=2),
    Row("edm", samplers.edm, "rectified", 40, functools.partial(grids.karras, r_max=80.0), order=2),
    Row("edm, churn", functools.partial(samplers.edm, churn=20.0, noise=1.0), "edm", 60, grids.karras),
    Row("edm, churn", functools.partial(samplers.edm, churn=20.0, noise=1.0), "trigonometric", 60),
    # KDPM2.
    Row("kdpm2", samplers.kdpm2, "cosine", 60, karras, order=2),
    Row("kdpm2, eta 1", functools.partial(samplers.kdpm2, eta=1.0), "trigonometric", 250, by_snr),
    # Multistep methods and DPM-Solver++: the path changes nothing but rounding, only the noise levels count.
    Row("dpm_solver_2s", samplers.dpm_solver_2s, "sub-variance preserving", 100, karras, order=2),
    Row("dpm_solver_3s", samplers.dpm_solver_3s, "cosine", 60, karras, order=3),
    Row("dpm_solver_2m", samplers.dpm_solver_2m, "rectified", 60, karras, order=2),
    Row("dpm_solver_2m, eta 1", functools.partial(samplers.dpm_solver_2m, eta=1.0), "trigonometric", 250, by_snr),
    Row("dpm_solver_2s, eta 1", functools.partial(samplers.dpm_solver_2s, eta=1.0), "cosine", 400, by_snr),
    Row("dpm_solver_3m", samplers.dpm_solver_3m, "variance preserving", 60, karras, order=3),
    Row("dpm_solver_3m, eta 0.5", functools.partial(samplers.dpm_solver_3m, eta=0.5), "edm", 250, by_snr),
    Row("unipc", functools.partial(samplers.unipc, order=3), "discrete", 40, karras, order=3),
    Row("unipc, bh1", functools.partial(samplers.unipc, exponential=False), "variance exploding", 60, karras, order=2),
    Row("deis", samplers.deis, "trigonometric", 40, karras, order=3, order_steps=48),
    Row("lms", samplers.lms, "edm", 60, karras, order=3),
    Row("pndm", samplers.pndm, "cosine", 60, karras, order=2),
    # The reverse stochastic equation, and Langevin dynamics.
    Row("euler_maruyama", samplers.euler_maruyama, "variance preserving", 300),
    Row("euler_maruyama", samplers.euler_maruyama, "rectified", 300),
    Row("euler_maruyama, 0.5", functools.partial(samplers.euler_maruyama, noise=0.5), "variance exploding", 300),
    Row("reverse_diffusion", samplers.reverse_diffusion, "variance exploding", 300),
    Row("reverse_diffusion", samplers.reverse_diffusion, "variance preserving", 300),
    Row("predictor_corrector", corrected, "sub-variance preserving", 200),
    Row("predictor_corrector", corrected_twice, "variance exploding", 100),
    Row("annealed_langevin", annealed, "edm", 25, functools.partial(grids.exponential, r_min=0.03, r_max=20.0)),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} on {row.path}")
deterministic_rows = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.order], ids=lambda row: f"{row.name} on {row.path}"
)


def run(row: Row):
    """(oracle, key, x, grid) -> samples."""
    path = PATHS[row.path]
    return lambda oracle, key, x, grid: samplers.sample(row.step(path), oracle.denoiser(path), key, x, grid)


@every_row
def test_mean_and_covariance(row):
    """One trace for the two laws; the start is drawn from the exact law of x_t, so that all error is the sampler's."""
    path, key = PATHS[row.path], jax.random.key(3)
    grid = row.grid(path, row.steps)
    chex.clear_trace_counter()  # it counts by the line of the function, the same for every row
    program = jax.jit(chex.assert_max_traces(run(row), n=1))
    for oracle in (oracles.GAUSSIAN, oracles.MIXTURE):
        x = oracles.start(path, oracle, jax.random.key(7), 4096, grid[0])
        ends = program(oracle, key, x, grid)
        assert ends.dtype == jnp.float32
        assert oracles.misfit(ends, *oracles.law(path, oracle)) < 4
    np.testing.assert_array_equal(ends, program(oracle, key, x, grid))


@deterministic_rows
def test_order_of_convergence(row):
    path, oracle = PATHS[row.path], oracles.GAUSSIAN
    with jax.enable_x64(True):
        coarse, fine = (row.grid(path, n) for n in (row.order_steps, 2 * row.order_steps))
        x = float(path.sigma(coarse[0])) * jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))
        want = oracles.flow(path, oracle, x, start=coarse[0])
        program, key = jax.jit(run(row)), jax.random.key(0)
        errors = [np.abs(program(oracle, key, x, grid) - want).max() for grid in (coarse, fine)]
    assert errors[1] > 1e-13
    assert np.log2(errors[0] / errors[1]) > row.order - 0.2


@pytest.mark.parametrize("row", list({row.name: row for row in ROWS}.values()), ids=lambda row: row.name)
def test_purity(row):
    """Once for each name: what is pure on one path is pure on all."""
    path, x = PATHS[row.path], jnp.ones((4, 3))
    grid = row.grid(path, 4)

    def draw(key, x):
        return samplers.sample(row.step(path), lambda x, t: 0.3 * x, key, x, grid)

    keys, program = jax.random.split(jax.random.key(0), 2), jax.jit(jax.vmap(draw, (0, None)))
    ends, swapped = program(keys, x), program(keys[::-1], x)
    np.testing.assert_allclose(ends, swapped[::-1], rtol=1e-6, atol=1e-6)
    assert bool((ends == swapped).all()) == bool(row.order)
    # By shapes alone: no further program.
    by_example = jax.random.split(keys[0], 4)
    assert jax.eval_shape(draw, by_example, x).shape == x.shape
    assert jax.eval_shape(draw, keys[0], x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
