import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.metrics import bits_per_dimension, dequantise


def test_dequantised_data_falls_back_into_its_bins():
    x = jnp.arange(256, dtype=jnp.uint8).reshape(4, 8, 8, 1)
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        y = dequantise(jax.random.key(0), x, low=low, high=high)
        assert y.shape == x.shape
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(np.floor((np.asarray(y, np.float64) - low) / (high - low) * 256), x)
    inside = np.asarray((dequantise(jax.random.key(0), jnp.zeros((1, 4000), int), bins=2) + 1), np.float64)
    np.testing.assert_allclose(np.quantile(inside, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)


def test_each_key_draws_its_own():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jnp.zeros((4, 3), jnp.uint8)
    np.testing.assert_array_equal(dequantise(keys, x)[2:], dequantise(keys[2:], x[2:]))


def test_bits_per_dimension_in_numpy():
    log_prob = np.random.default_rng(0).normal(100, 20, 50)
    found = bits_per_dimension(jnp.asarray(log_prob, jnp.float32), 64, low=0.0)
    bits = -(log_prob / 64 - np.log(256)) / np.log(2)
    np.testing.assert_allclose(found.value, bits.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.standard_error, bits.std(ddof=1) / np.sqrt(50), rtol=1e-4)
    found = bits_per_dimension(jnp.asarray(log_prob, jnp.float32), 64, bins=None)
    np.testing.assert_allclose(found.value, -log_prob.mean() / 64 / np.log(2), rtol=1e-5)


def test_known_probabilities_of_whole_numbers():
    """A density constant within each bin loses nothing by dequantisation: bits per dimension are the entropy."""
    p = np.array([0.5, 0.25, 0.125, 0.125])
    x = jnp.asarray(np.random.default_rng(0).choice(4, (4000, 1), p=p))
    y = np.asarray(dequantise(jax.random.key(0), x, bins=4))
    log_density = np.log(p[np.floor((y[:, 0] + 1) * 2).astype(int)] / 0.5)
    found = bits_per_dimension(jnp.asarray(log_density), 1, bins=4)
    assert abs(found.value - 1.75) < 4 * found.standard_error
