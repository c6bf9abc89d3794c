"""Volumes measured in thick slices or slice by slice: the systems they pose, and samplers under what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.operators import inner_product
from jaxgen.medical.reconstruction import catalogue, volume_baselines, volume_scan
from jaxgen.paths import cosine
from jaxgen.samplers import grids, sample, starting_noise

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (2, 8, 8, 6, 1)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 2)
AMOUNTS = {"thick": 3, "ct": 5, "mri": 2}


@pytest.mark.parametrize("problem", AMOUNTS)
def test_the_truth_solves_the_system_and_some_volumes_are_a_scan_too(problem):
    scan = volume_scan.simulate(problem, KEYS, X, AMOUNTS[problem])
    assert (len(scan), scan.shape) == (2, (8, 8, 6))
    operator, y = volume_scan.volume_system(scan)
    np.testing.assert_allclose(operator.forward(jnp.asarray(X)), y, atol=1e-4)
    u = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)
    np.testing.assert_allclose(
        inner_product(operator.forward(u), y), inner_product(u, operator.adjoint(y)), rtol=1e-3, atol=1e-2
    )
    norm = inner_product(operator.forward(u), operator.forward(u)) / inner_product(u, u)
    assert float(norm.max()) < 1.05
    one = scan.take(np.array([1]))
    assert (len(one), one.shape) == (1, (8, 8, 6))
    np.testing.assert_allclose(volume_scan.volume_system(one)[1], y[1:], atol=1e-6)


def test_slices_of_a_volume_share_their_mask_and_volumes_do_not():
    mask = volume_scan.simulate("mri", KEYS, X, 2).slices.mask.reshape(2, 6, 8, 8)
    assert (mask == mask[:, :1]).all()
    assert (mask[0, 0] != mask[1, 0]).any()


@pytest.mark.parametrize("problem", AMOUNTS)
def test_baselines_have_the_shape_of_the_truth_and_are_near_it(problem):
    ramp = np.linspace(-0.9, 0.9, 6, dtype=np.float32)
    x = np.broadcast_to(ramp[:, None], (1, 16, 16, 6, 1)).copy()
    rows, columns = np.indices((16, 16)) - 7.5
    x[:, rows**2 + columns**2 > 36] = -1.0
    scan = volume_scan.simulate(problem, KEYS[:1], x, {"thick": 2, "ct": 30, "mri": 2}[problem])
    for method in volume_baselines.USUAL[problem]:
        found = method.run(scan, method.settings[0] if method.settings else None)
        assert found.shape == x.shape
        assert np.abs(found - x).mean() < 0.25, method.name
    smooth = volume_baselines.smooth_volumes(scan, 1e-3, 60)
    assert np.abs(np.asarray(smooth) - x).mean() < 0.25


@pytest.mark.parametrize("method", catalogue.offered("thick"))
def test_samplers_keep_the_means_of_thick_slices(method):
    """DDNM exactly, whatever the prior says; the others come near."""
    scan, path = volume_scan.average_slices(X, 3), cosine()
    operator, y = volume_scan.volume_system(scan)
    grid = np.asarray(grids.uniform(path, 12))
    posed = catalogue.Posed(path, grid, operator, y, iterations=2, snr=0.16)
    setting = catalogue.METHODS[method].settings["thick"][0]
    step, denoise = catalogue.METHODS[method].make(posed, lambda x, t: jnp.tanh(x), jnp.float32(setting))
    start = starting_noise(path, KEYS, X.shape)
    x = jax.jit(lambda start: sample(step, denoise, KEYS, start, jnp.asarray(grid)))(start)
    left = np.abs(np.asarray(x).reshape(2, 8, 8, 2, 3, 1).mean(4) - scan.y)
    assert left.max() < {"ddnm": 1e-5, "diffpir": 0.2, "dps": 1.0}[method]
    assert np.ptp(np.asarray(x) - X) > 0.5, "nothing else is known"
