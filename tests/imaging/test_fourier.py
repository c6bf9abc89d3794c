import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.fourier import (
    add_phase,
    centred_fft2,
    centred_ifft2,
    from_complex,
    smooth_phase,
    to_complex,
)

SIZES = [(8, 6), (7, 5), (6, 9)]


def drawn(*shape):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape), jnp.complex64)


def matrix(n):
    """The centred transform of n samples from its formula."""
    at = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(at, at) / n) / np.sqrt(n)


@pytest.mark.parametrize("size", SIZES)
def test_the_formula(size):
    x = drawn(2, *size, 3)
    expected = np.einsum("uh,vw,bhwc->buvc", matrix(size[0]), matrix(size[1]), x)
    np.testing.assert_allclose(centred_fft2(x), expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_inverse_is_the_adjoint(size):
    x, y = drawn(2, *size), drawn(2, *size)[::-1]
    np.testing.assert_allclose(centred_ifft2(centred_fft2(x)), x, atol=1e-5)
    np.testing.assert_allclose(centred_fft2(centred_ifft2(x)), x, atol=1e-5)
    np.testing.assert_allclose(jnp.vdot(centred_fft2(x), y), jnp.vdot(x, centred_ifft2(y)), rtol=1e-5)


def test_a_real_image_has_hermitian_kspace_about_the_middle():
    k = centred_fft2(jnp.real(drawn(1, 7, 5)))[0]
    np.testing.assert_allclose(k, jnp.conj(k[::-1, ::-1]), atol=1e-5)


def test_under_jit_and_vmap():
    x = drawn(3, 2, 6, 5, 1)
    mapped = jax.jit(jax.vmap(centred_fft2))(x)
    for one, expected in zip(mapped, x, strict=True):
        np.testing.assert_allclose(one, centred_fft2(expected), atol=1e-5)


def test_complex_images_as_two_channels():
    z = drawn(2, 4, 3)
    assert from_complex(z).shape == (2, 4, 3, 2)
    assert from_complex(z).dtype == jnp.float32
    np.testing.assert_array_equal(to_complex(from_complex(z)), z)
    with pytest.raises(ValueError, match="two real channels"):
        to_complex(jnp.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="two real channels"):
        to_complex(from_complex(z) * 1j)
    with pytest.raises(ValueError, match="spatial axes"):
        centred_fft2(jnp.zeros((4, 4)))


def test_the_smooth_phase_is_that_of_few_cycles_and_a_wide_window_leaves_all():
    rows, columns = np.indices((24, 30))
    smooth = 0.8 * np.sin(2 * np.pi * rows / 24) + 0.5 * np.cos(2 * np.pi * columns / 30)
    fine = 0.3 * np.cos(np.pi * (rows + columns))
    z = jnp.asarray(np.exp(1j * (smooth + fine)), jnp.complex64)[None]
    np.testing.assert_allclose(smooth_phase(z, 5.0)[0], smooth, atol=0.05)
    np.testing.assert_allclose(smooth_phase(z, 1e3)[0], smooth + fine, atol=1e-3)


def test_the_phase_is_smooth_and_leaves_the_magnitude():
    magnitude = jax.random.uniform(jax.random.key(0), (2, 32, 32, 1), minval=0.1)
    x = add_phase(jax.random.key(1), magnitude, 1.0)
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1, keepdims=True), magnitude, rtol=1e-5)
    angle = np.unwrap(np.unwrap(np.arctan2(x[..., 1], x[..., 0]), axis=1), axis=2)
    assert 0.3 < angle.std() < 3
    assert max(np.abs(np.diff(angle, axis=axis)).max() for axis in (1, 2)) < 0.5
