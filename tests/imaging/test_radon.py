import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.operators import inner_product
from jaxgen.imaging.projection import Geometry, _project, project
from jaxgen.imaging.radon import radon_operator, slice_by_slice
from tests.imaging.ellipses import Disc, chords, draw

ANGLES = np.linspace(0, 2 * np.pi, 13)


@pytest.mark.parametrize(
    ("size", "detectors", "spacing"), [(24, None, 1.0), (31, None, 1.0), (24, 17, 1.0), (31, 60, 0.6), (16, 20, 1.7)]
)
def test_the_adjoint_is_exact(size, detectors, spacing):
    operator = radon_operator(size, ANGLES, detectors, spacing=spacing)
    x = jax.random.normal(jax.random.key(0), (2, size, size, 1))
    projected = operator.forward(x)
    y = jax.random.normal(jax.random.key(1), projected.shape)
    scale = jnp.linalg.norm(projected, axis=(1, 2)) * jnp.linalg.norm(y, axis=(1, 2))
    error = inner_product(projected, y) - inner_product(x, operator.adjoint(y))
    assert float(jnp.max(jnp.abs(error) / scale)) < 1e-6
    if detectors is None:  # not only in one direction of x
        transposed = jax.linear_transpose(lambda x: _project(Geometry(), x, jnp.asarray(ANGLES), y.shape[2]), x[..., 0])
        np.testing.assert_allclose(operator.adjoint(y)[..., 0], transposed(y)[0], atol=1e-4)


@pytest.mark.parametrize("disc", [Disc(0, 0, 60, 60), Disc(-19.2, 31.7, 36, 36), Disc(9.5, -6.1, 57, 26, 0.6)])
def test_chords_of_ellipses(disc):
    size, angles = 192, np.arange(24) * np.pi / 24 + 0.01
    found = radon_operator(size, angles).forward(jnp.asarray(draw(disc, size), jnp.float32)[None, ..., None])[0]
    u = np.arange(found.shape[1]) - (found.shape[1] - 1) / 2
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    points = np.stack([u * c, -u * s], -1)
    exact = chords(disc, points, np.broadcast_to(np.stack([s, c], -1), points.shape))
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.01


def test_sums_of_rows_and_columns_and_what_leaves_the_detector():
    x = jax.random.uniform(jax.random.key(0), (1, 12, 12, 1))
    found = radon_operator(12, np.array([0, np.pi / 2, np.pi]), 6).forward(x)[0]
    np.testing.assert_allclose(found[0], x[0, :, 3:9, 0].sum(0), rtol=1e-4)
    np.testing.assert_allclose(found[1], x[0, 3:9, :, 0].sum(1)[::-1], rtol=1e-4)
    np.testing.assert_allclose(found[2], found[0][::-1], rtol=1e-4)


def test_a_batch_is_its_images_and_a_volume_its_slices():
    operator = radon_operator(20, ANGLES)
    x = jax.random.normal(jax.random.key(0), (2, 3, 20, 20, 1))
    volume = slice_by_slice(operator.forward)(x)
    assert volume.shape == (2, 3, 13, 30)
    back = slice_by_slice(operator.adjoint)(volume)
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(operator.forward(x[i, j : j + 1])[0], volume[i, j], atol=1e-5)
            np.testing.assert_allclose(operator.adjoint(volume[i, j : j + 1])[0], back[i, j], atol=1e-4)


def test_jit_vmap_and_derivatives():
    operator = radon_operator(16, ANGLES[:4])
    x = jax.random.normal(jax.random.key(0), (3, 16, 16, 1))
    y = operator.forward(x)
    np.testing.assert_allclose(jax.jit(operator.forward)(x), y, atol=1e-4)
    np.testing.assert_allclose(jax.vmap(lambda one: operator.forward(one[None])[0])(x), y, atol=1e-5)

    def misfit(x):
        return 0.5 * jnp.sum((operator.forward(x) - 1) ** 2)

    np.testing.assert_allclose(jax.grad(misfit)(x), operator.adjoint(y - 1), atol=1e-4)
    # A second derivative, of a norm of the gradient: A' A A' (A x - 1).
    twice = jax.grad(lambda x: 0.5 * jnp.sum(jax.grad(misfit)(x) ** 2))(x)
    expected = operator.adjoint(operator.forward(operator.adjoint(y - 1)))
    np.testing.assert_allclose(twice, expected, rtol=1e-3, atol=1e-2)


def test_angles_may_be_traced():
    x = jax.random.normal(jax.random.key(0), (1, 16, 16))
    angles = jnp.asarray(ANGLES[:5], jnp.float32)
    traced = jax.jit(lambda x, a: project(Geometry(), x, a, 20))(x, angles)
    np.testing.assert_allclose(traced, project(Geometry(), x, angles, 20), atol=1e-4)


def test_double_precision():
    with jax.enable_x64():
        operator = radon_operator(16, np.array([0.3, 2.0]))
        x = jax.random.normal(jax.random.key(0), (1, 16, 16, 1), jnp.float64)
        y = jax.random.normal(jax.random.key(1), (1, 2, 24), jnp.float64)
        assert operator.forward(x).dtype == jnp.float64
        error = inner_product(operator.forward(x), y) - inner_product(x, operator.adjoint(y))
        assert abs(float(error[0])) < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: radon_operator(8, np.zeros((2, 3))), "list"),
        (lambda: radon_operator(8, np.zeros(0)), "list"),
        (lambda: radon_operator(8, np.array([0.0, np.nan])), "NaN"),
        (lambda: radon_operator(8, np.zeros(3), 0), "detectors"),
        (lambda: radon_operator(8, np.zeros(3), spacing=0.0), "positive"),
        (lambda: radon_operator(8, np.zeros(3)).forward(jnp.zeros((1, 8, 9, 1))), "square"),
        (lambda: radon_operator(8, np.zeros(3)).forward(jnp.zeros((8, 8))), "square"),
        (lambda: radon_operator(8, np.zeros(3)).forward(jnp.zeros((1, 8, 8, 1), jnp.complex64)), "real"),
        (lambda: radon_operator(8, np.zeros(3)).forward(jnp.zeros((1, 8, 8, 1), jnp.int32)), "real floating"),
        (lambda: radon_operator(8, np.zeros(3), 10).adjoint(jnp.zeros((1, 10, 3))), "3 angles"),
        (lambda: radon_operator(8, np.zeros(3), 10).adjoint(jnp.zeros((1, 3, 12))), "12 detectors"),
        (lambda: radon_operator(8, np.zeros(3), 10).adjoint(jnp.zeros((1, 3, 10), jnp.complex64)), "real"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_program_whatever_the_number_of_views():
    """The loop over lines is not unrolled, nor are views: programs stay small."""
    sizes = [
        len(jax.jit(functools.partial(project, Geometry(), detectors=20)).lower(jnp.zeros((1, 16, 16)), a).as_text())
        for a in (jnp.zeros(4), jnp.zeros(400))
    ]
    assert sizes[1] < 1.05 * sizes[0]
