import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.fan_beam import fan_beam_operator
from jaxgen.imaging.operators import inner_product
from jaxgen.imaging.projection import Geometry, _project
from jaxgen.imaging.radon import radon_operator
from tests.imaging.ellipses import Disc, chords, draw

ANGLES = np.arange(11) * 2 * np.pi / 11


@pytest.mark.parametrize(
    ("size", "detectors", "far", "spacing"),
    [(24, None, 60, None), (31, None, 30, None), (24, 17, 200, 0.7), (31, 40, 45, 2.5)],
)
def test_the_adjoint_is_exact(size, detectors, far, spacing):
    operator = fan_beam_operator(
        size, ANGLES, detectors, source_distance=far, detector_distance=0.5 * far, spacing=spacing
    )
    x = jax.random.normal(jax.random.key(0), (2, size, size, 1))
    projected = operator.forward(x)
    y = jax.random.normal(jax.random.key(1), projected.shape)
    scale = jnp.linalg.norm(projected, axis=(1, 2)) * jnp.linalg.norm(y, axis=(1, 2))
    error = inner_product(projected, y) - inner_product(x, operator.adjoint(y))
    assert float(jnp.max(jnp.abs(error) / scale)) < 1e-6
    if spacing is None:
        geometry = Geometry(1 / far)
        transposed = jax.linear_transpose(lambda x: _project(geometry, x, jnp.asarray(ANGLES), y.shape[2]), x[..., 0])
        np.testing.assert_allclose(operator.adjoint(y)[..., 0], transposed(y)[0], atol=2e-4)


@pytest.mark.parametrize("disc", [Disc(-19.2, 31.7, 36, 36), Disc(9.5, -6.1, 57, 26, 0.6)])
def test_chords_of_ellipses(disc):
    size, angles, far = 192, np.arange(24) * 2 * np.pi / 24 + 0.01, 270.0
    operator = fan_beam_operator(size, angles, source_distance=far, detector_distance=120.0, spacing=2.0)
    found = operator.forward(jnp.asarray(draw(disc, size), jnp.float32)[None, ..., None])[0]
    u = (np.arange(found.shape[1]) - (found.shape[1] - 1) / 2) * 2.0
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    source = np.stack([-far * s, -far * c], -1)
    pixels = np.stack([120.0 * s + u * c, 120.0 * c - u * s], -1)
    directions = (pixels - source) / np.linalg.norm(pixels - source, axis=-1, keepdims=True)
    exact = chords(disc, np.broadcast_to(source, pixels.shape), directions)
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.01


def test_a_far_source_gives_parallel_rays():
    x = jax.random.uniform(jax.random.key(0), (1, 20, 20, 1))
    far = fan_beam_operator(20, ANGLES, 30, source_distance=1e6).forward(x)
    np.testing.assert_allclose(far, radon_operator(20, ANGLES, 30).forward(x), atol=5e-3)


def test_jit_and_derivatives():
    operator = fan_beam_operator(16, ANGLES[:4], source_distance=40.0)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    y = jax.jit(operator.forward)(x)
    np.testing.assert_allclose(y[1], operator.forward(x[1:])[0], atol=1e-4)
    gradient = jax.grad(lambda x: 0.5 * jnp.sum(operator.forward(x) ** 2))(x)
    np.testing.assert_allclose(gradient, operator.adjoint(y), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_distance": 10.0}, "lies within"),
        ({"source_distance": -1.0}, "positive"),
        ({"source_distance": 90.0, "detector_distance": -1.0}, "positive"),
        ({"source_distance": 90.0, "spacing": 0.0}, "positive"),
    ],
)
def test_bad_geometry(options, message):
    with pytest.raises(ValueError, match=message):
        fan_beam_operator(16, ANGLES, **options)
