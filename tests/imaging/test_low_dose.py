import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.low_dose import count_photons, scans_at_doses


def test_the_noise_is_that_of_counted_photons():
    """For many counts the standard deviation of -log(N / I) is e^(y / 2) / sqrt(I), by the first derivative."""
    y = jnp.full((1, 200, 200), 1.5)
    found = np.asarray(count_photons(jax.random.key(0), y, 1e4))
    np.testing.assert_allclose(found.mean(), 1.5, atol=1e-3)
    np.testing.assert_allclose(found.std(), np.exp(0.75) / 100, rtol=0.02)


def test_rays_without_a_photon_are_finite():
    assert np.isfinite(count_photons(jax.random.key(0), jnp.full((1, 4, 4), 50.0), 100.0)).all()


def test_ten_times_the_photons_are_a_tenth_of_the_variance_and_no_noise_is_the_mean():
    hu = np.full((6, 32, 32, 1), -1000.0, np.float32)
    hu[:, 8:24, 8:24] = 0.0
    low, full, clean = scans_at_doses(jax.random.key(1), hu, (1e4, 1e5, 0.0), field=200.0)
    inside = (slice(None), slice(10, 22), slice(10, 22))
    ratio = (low - clean)[inside].var() / (full - clean)[inside].var()
    assert 7 < ratio < 13
    assert np.abs(clean[inside]).mean() < 20
    assert np.abs((low - clean)[inside].mean()) < 3


def test_a_slice_has_the_noise_of_its_own_key():
    hu, keys = np.zeros((3, 16, 16, 1), np.float32), jax.random.split(jax.random.key(0), 3)
    (every,), (one,) = (scans_at_doses(k, x, (1e4,)) for k, x in ((keys, hu), (keys[1:2], hu[1:2])))
    np.testing.assert_allclose(every[1:2], one, atol=0.05)
    assert np.abs(every[0] - every[1]).max() > 1
