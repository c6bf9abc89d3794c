"""Simulated CT: what is measured is what the system says, and metal spoils only what passes through it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.imaging.ct_scan import ct_scan, ct_system, interpolated, sparse_views, with_metal
from jaxgen.imaging.operators import squared_norm_bound
from jaxgen.imaging.projection import Geometry, covering


def test_the_system_explains_what_is_measured():
    """The sinogram of u, brought to x in [-1, 1], is what the scaled operator gives of x, whatever rays count."""
    x = np.asarray(jax.random.uniform(jax.random.key(0), (2, 16, 16, 1), minval=-1))
    scan = sparse_views(x, 3, 5)
    assert scan.y.shape == (2, 5, covering(Geometry(), 16))
    assert (scan.y[:, 3:] == 0).all()
    operator, target = ct_system(dataclasses.replace(scan, scale=jnp.float32(0.3)))
    np.testing.assert_allclose(operator.forward(jnp.asarray(x)), target, atol=1e-4)


def test_the_operator_has_a_norm_of_one_and_slices_keep_what_they_share():
    scan = ct_scan(np.ones((3, 4, covering(Geometry(), 16)), np.float32), np.arange(4, dtype=np.float32), 16)
    operator, _ = ct_system(scan.take(np.array([2])))
    assert float(squared_norm_bound(operator, jax.random.key(1), (1, 16, 16, 1))[0]) < 1.05
    part = scan.take(np.array([1, 1]))
    assert (len(part), part.size, part.geometry) == (2, 16, scan.geometry)


def test_metal_spoils_what_passes_through_it():
    x = np.full((1, 16, 16, 1), -1, np.float32)
    x[:, 3:13, 3:13] = -0.2  # water
    scan, ignore = with_metal(jax.random.key(0), x, 8, high=1500.0, pixel=25.0, photons=1e8)
    exact = sparse_views(x, 8, 8).y
    trusted = scan.keep > 0
    assert 0 < ignore.mean() < 0.2
    assert 0.1 < trusted.mean() < 0.95
    np.testing.assert_allclose(scan.y[trusted], exact[trusted], atol=0.3)
    assert (scan.y - exact)[~trusted].max() > 2
    line = interpolated(scan)
    np.testing.assert_array_equal(line[trusted], scan.y[trusted])
    assert np.abs(line - exact).mean() < np.abs(scan.y - exact).mean()
