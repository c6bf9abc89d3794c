import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import ddim, dpm_solver_2m, grids, inverse_dpm_solver, invert, sample
from tests.samplers import oracles

PATH = paths.variance_preserving()
ORACLE = oracles.GAUSSIAN
KEY = jax.random.key(0)


def rising(path, steps, begin, end):
    """Times from data to noise, equally spaced in log-SNR."""
    ends = paths.log_snr(path, jnp.array([begin, end]))
    return paths.time_of_log_snr(path, jnp.linspace(*ends, steps + 1))


def run(step, x, grid, path=PATH):
    return jax.jit(lambda x: sample(step, ORACLE.denoiser(path), KEY, x, grid))(jnp.asarray(x))


def test_order_of_convergence_to_the_flow():
    """Order 3 begins with a step of order 1: its error is smaller than that of order 2, and falls as fast."""
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(8, 2))
        want = oracles.flow(PATH, ORACLE, x, start=0.02, end=1.0)
        fine = rising(PATH, 120, 0.02, 1.0)
        errors = {}
        for order in (1, 2, 3):
            step = inverse_dpm_solver(PATH, order)
            errors[order] = [np.abs(run(step, x, grid) - want).max() for grid in (fine[::2], fine)]
    for order, falls in ((1, 1), (2, 2), (3, 2)):
        assert np.log2(errors[order][0] / errors[order][1]) > falls - 0.3
    assert errors[3][1] < errors[2][1] < errors[1][1]


def test_order_one_is_ddim_inversion():
    x, grid = jnp.ones((3, 2)), jnp.linspace(0.05, 1.0, 8)
    np.testing.assert_allclose(
        run(inverse_dpm_solver(PATH, 1), x, grid), run(invert(PATH), x, grid), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("path", [paths.rectified(), paths.cosine()], ids=["rectified", "cosine"])
def test_round_trip_from_data_without_noise_to_noise_without_data(path):
    """Both infinite ends of lambda; DPM-Solver++ finds its way back, closer than DDIM and its inversion."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 2)), jnp.float32)
    grid = grids.log_snr(path, 40)
    errors = {}
    for name, there, back in (
        ("dpm", inverse_dpm_solver(path), dpm_solver_2m(path)),
        ("ddim", invert(path), ddim(path)),
    ):
        noise = run(there, x, grid[::-1], path)
        assert np.isfinite(noise).all()
        errors[name] = float(jnp.abs(run(back, noise, grid, path) - x).max())
    assert errors["dpm"] < 0.02
    assert errors["dpm"] < errors["ddim"] / 3


def test_an_order_that_there_is_not():
    with pytest.raises(ValueError, match="choose 1, 2 or 3"):
        inverse_dpm_solver(PATH, 4)
