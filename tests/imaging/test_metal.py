import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging import metal
from jaxgen.imaging.hounsfield import to_attenuation, to_hounsfield
from jaxgen.imaging.operators import inner_product
from jaxgen.imaging.radon import radon_operator
from tests.imaging.ellipses import Disc, draw

SIZE, PIXEL = 32, 8.0
ANGLES = np.arange(16) * np.pi / 16
OPERATOR = radon_operator(SIZE, ANGLES)


def body():
    """Water in air, with two pieces of metal."""
    hu = -1000 + 1000 * draw(Disc(0, 0, 13, 13), SIZE)
    mask = draw(Disc(-5, 2, 2.5, 2.5), SIZE) + draw(Disc(6, -1, 2, 2), SIZE) > 0.5
    return jnp.asarray(hu, jnp.float32)[None, ..., None], jnp.asarray(mask)[None, ..., None]


def test_hounsfield_units():
    hu = jnp.array([-1000.0, -200.0, 0.0, 60.0, 2000.0])
    np.testing.assert_allclose(to_hounsfield(to_attenuation(hu, pixel=0.7), pixel=0.7), hu, atol=1e-3)
    np.testing.assert_allclose(to_attenuation(hu, pixel=5.0), to_attenuation(hu) / 2, rtol=1e-6)


def test_masks_and_their_growth():
    hu, mask = body()
    found = metal.metal_mask(jnp.where(mask, 3000.0, hu))
    np.testing.assert_array_equal(found, mask)
    grown = metal.metal_mask(jnp.where(mask, 3000.0, hu), dilation=2)
    expected = np.asarray(mask[0, ..., 0])
    expected = np.any([np.roll(expected, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)], 0)
    np.testing.assert_array_equal(grown[0, ..., 0], expected)


def test_the_trace_and_the_operator_without_it():
    hu, mask = body()
    trace = metal.metal_trace(OPERATOR, mask)
    touched = OPERATOR.forward(jnp.where(mask, 1.0, 0.0))
    np.testing.assert_array_equal(np.asarray(touched)[~np.asarray(trace)] > 1e-3, False)
    assert 0.05 < float(trace.mean()) < 0.4
    operator = metal.without_trace(OPERATOR, trace)
    a, c = OPERATOR.forward(hu), OPERATOR.forward(jnp.where(mask, 5000.0, hu))
    np.testing.assert_allclose(operator.forward(hu), operator.forward(jnp.where(mask, 5000.0, hu)), atol=2.0)
    assert float(jnp.abs(a - c).max()) > 1000
    y = jax.random.normal(jax.random.key(0), a.shape)
    error = inner_product(operator.forward(hu), y) - inner_product(hu, operator.adjoint(y))
    assert abs(float(error[0])) < 1e-5 * float(jnp.linalg.norm(a) * jnp.linalg.norm(y))


def test_lines_over_the_trace():
    rng = np.random.default_rng(0)
    sinogram, trace = rng.normal(size=(2, 5, 20)).astype(np.float32), rng.uniform(size=(2, 5, 20)) < 0.5
    trace[0, 0], trace[0, 1], trace[1, 2, :4], trace[1, 3, -3:] = True, False, True, True
    found = np.asarray(jax.jit(metal.interpolate_trace)(sinogram, trace))
    for i in range(2):
        for j in range(5):
            keep = ~trace[i, j]
            expected = np.interp(np.arange(20), np.flatnonzero(keep), sinogram[i, j, keep]) if keep.any() else 0
            np.testing.assert_allclose(found[i, j], expected, atol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        metal.interpolate_trace(sinogram, trace[:1])


def test_without_metal_water_is_measured_right_and_bone_wrong():
    hu, mask = body()
    none = jnp.zeros_like(mask)
    measured = metal.simulate_metal(jax.random.key(0), hu, none, OPERATOR, pixel=PIXEL, photons=1e8, scatter=0.0)
    exact = OPERATOR.forward(to_attenuation(hu, pixel=PIXEL))
    np.testing.assert_allclose(measured, exact, atol=0.02)
    bone = jnp.where(mask, 1500.0, hu)
    measured = metal.simulate_metal(jax.random.key(0), bone, none, OPERATOR, pixel=PIXEL, photons=1e8, scatter=0.0)
    exact = OPERATOR.forward(to_attenuation(bone, pixel=PIXEL))
    assert float(jnp.min(measured - exact)) < -0.1, "beam hardening: less is measured than there is"


def test_metal_spoils_its_trace_alone_and_is_a_function_of_the_key():
    hu, mask = body()
    two, masks = jnp.concatenate([hu, hu]), jnp.concatenate([mask, mask])
    keys = jax.random.split(jax.random.key(1), 2)
    options = {"pixel": PIXEL, "photons": 1e6, "scatter": 0.0}
    measured = jax.jit(lambda k, x, m: metal.simulate_metal(k, x, m, OPERATOR, **options))(keys, two, masks)
    alone = metal.simulate_metal(keys[1:], hu, mask, OPERATOR, **options)
    np.testing.assert_allclose(measured[1:], alone, atol=2e-3)
    assert float(jnp.abs(measured[0] - measured[1]).max()) > 1e-4
    trace = np.asarray(metal.metal_trace(OPERATOR, mask))
    exact = np.asarray(OPERATOR.forward(to_attenuation(hu, pixel=PIXEL)))
    error = np.abs(np.asarray(alone) - exact)
    assert error[~trace].max() < 0.1
    assert error[trace].max() > 1.0
    iron = metal.simulate_metal(keys[1:], hu, mask, OPERATOR, metal=metal.IRON, **options)
    assert np.asarray(iron)[trace].sum() > np.asarray(alone)[trace].sum()
    starved = metal.simulate_metal(keys[1:], hu, mask, OPERATOR, metal=metal.IRON, pixel=PIXEL, photons=1e3)
    assert np.isfinite(starved).all()


def test_random_implants_lie_in_the_body():
    x = np.full((6, 64, 64, 1), -1.0)
    x[:, 20:30, 30:60] = 0.0
    found = metal.random_implants(np.random.default_rng(0), x)
    assert found.shape == x.shape
    middle = np.array([np.argwhere(mask[..., 0]).mean(0) for mask in found])
    assert (middle > [18, 28]).all()
    assert (middle < [31, 61]).all()
    assert (found.sum((1, 2, 3)) <= 2 * 13).all(), "two discs with a radius of 2 pixels at most"
    empty = metal.random_implants(np.random.default_rng(0), np.full((1, 64, 64, 1), -1.0))
    assert empty[0, 32, 32, 0], "in the middle where there is no body"
