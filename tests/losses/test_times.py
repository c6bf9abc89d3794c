import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses.times import low_discrepancy, noise_levels, spread_time, uniform_log_snr


def test_low_discrepancy_covers_evenly_and_each_number_is_uniform():
    draw = jax.jit(jax.vmap(lambda key: low_discrepancy(key, 8)))
    u = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    assert ((u >= 0) & (u < 1)).all()
    np.testing.assert_array_equal(np.sort(np.floor(u * 8 + 1e-4) % 8, axis=1), np.tile(np.arange(8), (2000, 1)))
    np.testing.assert_allclose(np.diff(np.sort(u, 1), axis=1), 1 / 8, atol=1e-6)
    assert (np.abs(u.mean(0) - 0.5) < 4 * np.sqrt(1 / 12 / 2000)).all()
    assert (np.abs((u**2).mean(0) - 1 / 3) < 4 * np.sqrt(4 / 45 / 2000)).all()


def test_a_mean_over_spread_times_varies_less():
    def means(key):
        return jnp.stack([(u**2).mean() for u in (low_discrepancy(key, 64), jax.random.uniform(key, (64,)))])

    f = jax.jit(jax.vmap(means))
    spread, independent = np.asarray(f(jax.random.split(jax.random.key(0), 500))).std(0)
    assert spread < 0.2 * independent


def test_the_offset_is_the_first_key_s_and_does_not_depend_on_devices():
    """A batch sharded over devices draws what one device draws: the offset comes from the global batch."""
    keys = jax.random.split(jax.random.key(0), 8)
    np.testing.assert_array_equal(low_discrepancy(keys, 8), low_discrepancy(keys[0], 8))
    mesh = jax.make_mesh((len(jax.devices()),), ("data",))
    sharded = jax.device_put(keys, jax.NamedSharding(mesh, jax.P("data")))
    np.testing.assert_array_equal(jax.jit(low_discrepancy, static_argnums=1)(sharded, 8), low_discrepancy(keys, 8))


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("path", [paths.rectified(), paths.variance_preserving(), paths.variance_exploding()])
def test_log_snr_is_uniform(path, spread):
    t = uniform_log_snr(-6.0, 7.0, spread=spread)(path, jax.random.key(0), 4000)
    assert t.dtype == jnp.float32
    ends = paths.log_snr(path, jnp.array([path.t_noise, path.t_data]))
    low, high = np.clip(ends, -6, 7)
    fractions = (np.asarray(paths.log_snr(path, t)) - low) / (high - low)
    np.testing.assert_allclose(np.quantile(fractions, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)
    assert -1e-3 < fractions.min() < fractions.max() < 1 + 1e-3


def test_levels_are_those_of_the_list():
    path = paths.variance_exploding(0.01, 50.0)
    keys = jax.random.split(jax.random.key(0), 4000)
    t = noise_levels(5)(path, keys, 4000)
    values, counts = np.unique(np.asarray(path.sigma(t)).round(5), return_counts=True)
    np.testing.assert_allclose(values, 0.01 * 5000 ** np.linspace(0, 1, 5), rtol=1e-3)
    assert (np.abs(counts - 800) < 4 * np.sqrt(4000 * 0.2 * 0.8)).all()
    np.testing.assert_array_equal(t[:7], noise_levels(5)(path, keys[:7], 7))
    with pytest.raises(ValueError, match="at least 2"):
        noise_levels(1)


def test_spread_times_leave_out_the_data_end():
    t = spread_time(paths.variance_preserving(), jax.random.key(0), 64)
    assert float(t.min()) > 0
    np.testing.assert_allclose(np.diff(np.sort(t)), 1 / 64, atol=1e-5)
