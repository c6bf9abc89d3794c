import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths, schedules
from jaxgen.samplers import grids

PATHS = [
    paths.rectified(),
    paths.rectified(1e-2),
    paths.trigonometric(),
    paths.variance_preserving(),
    paths.variance_exploding(),
    paths.sub_variance_preserving(),
    paths.cosine(),
    paths.edm(),
    paths.discrete(schedules.linear_betas(1000)),
    paths.discrete(schedules.zero_terminal_snr(schedules.linear_betas(1000))),
]
FREE = [grids.uniform, grids.log_snr, grids.karras, grids.exponential]
TABLES = [grids.linspace, grids.leading, grids.trailing]


def ratio(path, t):
    t = jnp.asarray(t)
    return path.sigma(t) / path.alpha(t)


def times_of(grid, path, *args, **options):
    return jax.jit(lambda: grid(path, *args, **options))()  # eagerly, each small operation would compile by itself


def part(path, fraction):
    """The time a fraction of the way from data to noise."""
    return path.t_data + fraction * (path.t_noise - path.t_data)


def is_monotone(path, times):
    return (np.diff(times) * np.sign(path.t_data - path.t_noise) > 0).all()


@pytest.mark.parametrize("path", [PATHS[i] for i in (0, 1, 4, 6, 7, 9)])
def test_ends_are_exact_and_times_monotone(path):
    """Of every grid, one program a path; few steps on a path that ends in noise and on one that does not."""
    start, tables = part(path, 0.4), (grids.linspace, grids.trailing)
    several = (1, 2, 7, 50) if path in PATHS[:2] else (7,)

    @jax.jit
    def all_grids():
        whole = [grid(path, steps) for grid in (*FREE, *tables) for steps in several]
        return whole, [grid(path, 5, start=start) for grid in (*FREE, *tables, grids.edm)]

    whole, started = all_grids()
    for times in map(np.asarray, whole):
        assert len(times) - 1 in several
        assert (times[0], times[-1]) == (path.t_noise, path.t_data)
        assert is_monotone(path, times)
    for times in map(np.asarray, started):
        assert times.shape == (6,)
        assert (times[0], times[-1]) == (np.float32(start), path.t_data)
        assert is_monotone(path, times)


@pytest.mark.parametrize("path", [PATHS[i] for i in (0, 3, 4, 7, 9)])
def test_log_snr_steps_are_equal_between_the_ends(path):
    steps, low, high = 10, -6.0, 6.0
    inner = paths.log_snr(path, times_of(grids.log_snr, path, steps, low=low, high=high)[1:-1])
    ends = np.clip(paths.log_snr(path, jnp.array([path.t_noise, path.t_data])), low, high)
    np.testing.assert_allclose(inner, np.linspace(*ends, steps + 1)[1:-1], atol=2e-3)


def test_geometric_path_is_uniform_in_both():
    path = paths.variance_exploding()
    np.testing.assert_allclose(times_of(grids.log_snr, path, 8, low=-99, high=99), grids.uniform(path, 8), atol=1e-5)
    # The path keeps noise at its data end, which then is the last level.
    np.testing.assert_allclose(times_of(grids.exponential, path, 8), grids.uniform(path, 8), atol=1e-5)


@pytest.mark.parametrize("path", [PATHS[i] for i in (0, 3, 4, 7, 8)])
def test_karras_levels_by_hand(path):
    steps, rho, low, high = 9, 5.0, 0.02, 30.0
    times = times_of(grids.karras, path, steps, rho, low, high)
    i = np.arange(steps)
    want = (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(ratio(path, times[:-1]), want, rtol=1e-3)
    assert times[-1] == path.t_data
    want = high * (low / high) ** (i / (steps - 1))
    np.testing.assert_allclose(ratio(path, times_of(grids.exponential, path, steps, low, high)[:-1]), want, rtol=1e-3)


def test_karras_without_bounds_divides_what_the_path_has():
    path = paths.discrete(schedules.linear_betas(1000))
    levels = ratio(path, times_of(grids.karras, path, 6)[:-1]) ** (1 / 7)
    np.testing.assert_allclose(levels, np.linspace(ratio(path, 1.0) ** (1 / 7), 0.002 ** (1 / 7), 6), rtol=1e-4)
    path = paths.variance_exploding()
    levels = path.sigma(times_of(grids.karras, path, 6)) ** (1 / 7)
    np.testing.assert_allclose(levels, np.linspace(50 ** (1 / 7), 0.01 ** (1 / 7), 7), rtol=1e-4)


def test_edm_times_are_the_levels_of_its_paper():
    times = times_of(grids.edm, paths.edm(), 18)
    i = np.arange(18)
    want = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(times, np.append(want, 0), rtol=1e-4)
    assert times[0] == 80


def test_spacings_of_a_table():
    """The entries of the table: those of table 2 in Lin et al. 2024, for 10 steps of 1000, counted from 0."""
    path = paths.discrete(schedules.linear_betas(1000))

    def entries(times):
        assert times[-1] == 0
        return np.round(np.asarray(times[:-1], np.float64) * 1000 - 1, 3).tolist()

    assert entries(grids.leading(path, 10)) == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert entries(grids.leading(path, 10, offset=1)) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert entries(grids.linspace(path, 10)) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert entries(grids.trailing(path, 10)) == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert entries(grids.trailing(path, 3)) == [999, 666, 332]
    assert entries(grids.linspace(path, 1)) == [999]
    assert entries(grids.leading(path, 5, start=0.5)) == [400, 300, 200, 100, 0]
    assert entries(grids.trailing(path, 5, start=0.5)) == [499, 399, 299, 199, 99]


def test_times_of_a_table_hit_its_entries():
    betas = schedules.scaled_linear_betas(1000)
    path = paths.discrete(betas)
    kept = np.cumprod(1 - betas.astype(np.float64))
    times = grids.leading(path, 50, offset=1)
    np.testing.assert_allclose(path.alpha(times[:-1]), np.sqrt(kept[np.arange(50)[::-1] * 20 + 1]), rtol=1e-6)


def test_a_table_on_a_path_that_runs_the_other_way():
    np.testing.assert_allclose(grids.trailing(paths.rectified(), 2, timesteps=8), [0, 0.5, 1])


def test_works_without_jit_too():
    path = paths.rectified()
    np.testing.assert_allclose(grids.karras(path, 5), times_of(grids.karras, path, 5), atol=1e-6)


def test_what_makes_no_grid_is_refused():
    path = paths.rectified()
    for grid in (*FREE, *TABLES, grids.edm):
        with pytest.raises(ValueError, match="at least 1"):
            grid(path, 0)
    for grid in TABLES:
        with pytest.raises(ValueError, match="table has 8 entries"):
            grid(path, 9, timesteps=8)
    with pytest.raises(ValueError, match="entry 9 is out of a table of 8"):
        grids.leading(path, 4, timesteps=8, offset=3)
    with pytest.raises(ValueError, match="either start or"):
        grids.karras(path, 4, r_max=3.0, start=0.5)
