import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import grids

PATHS = [paths.rectified(), paths.trigonometric(), paths.variance_preserving(), paths.variance_exploding()]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("grid", [grids.uniform, grids.log_snr])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_ends_are_exact_and_times_monotone(path, grid, steps):
    times = np.asarray(grid(path, steps))
    assert times.shape == (steps + 1,)
    assert (times[0], times[-1]) == (path.t_noise, path.t_data)
    assert (np.diff(times) * np.sign(path.t_data - path.t_noise) > 0).all()


@pytest.mark.parametrize("path", PATHS)
def test_log_snr_steps_are_equal_between_the_ends(path):
    steps, low, high = 10, -6.0, 6.0
    inner = paths.log_snr(path, grids.log_snr(path, steps, low=low, high=high)[1:-1])
    ends = np.clip(paths.log_snr(path, jnp.array([path.t_noise, path.t_data])), low, high)
    np.testing.assert_allclose(inner, np.linspace(*ends, steps + 1)[1:-1], atol=2e-3)


def test_geometric_path_is_uniform_in_both():
    path = paths.variance_exploding()
    np.testing.assert_allclose(grids.log_snr(path, 8, low=-99, high=99), grids.uniform(path, 8), atol=1e-5)


def test_works_under_jit():
    path = paths.rectified()
    np.testing.assert_array_equal(jax.jit(lambda: grids.log_snr(path, 5))(), grids.log_snr(path, 5))


def test_no_step_is_refused():
    for grid in (grids.uniform, grids.log_snr):
        with pytest.raises(ValueError, match="at least 1"):
            grid(paths.rectified(), 0)
