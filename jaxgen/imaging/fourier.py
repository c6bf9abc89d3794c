"""The centred, orthonormal Fourier transform of MRI, and complex images as two real channels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key


def _shifted(transform: Callable[..., Array], x: Array) -> Array:
    if x.ndim < 3:
        raise ValueError(f"a transform over the two spatial axes needs [b, h, w, ...], not {x.shape}")
    return jnp.fft.fftshift(transform(jnp.fft.ifftshift(x, (1, 2)), axes=(1, 2), norm="ortho"), (1, 2))


def centred_fft2(x: Array) -> Array:
    """The Fourier transform over both spatial axes, unitary, zero frequency and image origin in the middle.

    ``k[u, v] = 1 / sqrt(h w) sum x[i, j] exp(-2 pi 1j ((u - h // 2)(i - h // 2) / h + (v - w // 2)(j - w // 2) / w))``,
    for odd sizes too.

    Args:
        x: images ``[b, h, w, ...]``, real or complex; further axes, such as coils, are transformed one by one.

    Returns:
        k-space, complex, of the same shape; zero frequency at ``[h // 2, w // 2]``.

    Raises:
        ValueError: if there are fewer than three axes.

    Example:
        >>> k = centred_fft2(jnp.ones((1, 3, 3, 1)))
        >>> round(float(k[0, 1, 1, 0].real), 4), round(float(jnp.abs(k).sum()), 4)
        (3.0, 3.0)
    """
    return _shifted(jnp.fft.fftn, x)


def centred_ifft2(k: Array) -> Array:
    """The inverse of `centred_fft2`, and its adjoint.

    Args:
        k: k-space ``[b, h, w, ...]``, zero frequency at ``[h // 2, w // 2]``.

    Returns:
        Images, complex, of the same shape.

    Raises:
        ValueError: if there are fewer than three axes.

    Example:
        >>> x = jnp.arange(12.0).reshape(1, 4, 3, 1)
        >>> bool(jnp.allclose(centred_ifft2(centred_fft2(x)), x, atol=1e-5))
        True
    """
    return _shifted(jnp.fft.ifftn, k)


def smooth_phase(z: Array, width: float) -> Array:
    """The part of the phase that varies slowly: ``angle(F^-1(exp(-(u^2 + v^2) / (2 width^2)) F z))``.

    Times ``exp(-1j phase)`` a magnetic resonance image is nearly real, for detail has little phase of its own.

    Args:
        z: complex images ``[b, h, w]``.
        width: standard deviation of the window in k-space, cycles over the image.

    Returns:
        Radians, ``[b, h, w]``.

    Reference:
        Noll et al. 1991, "Homodyne detection in magnetic resonance imaging", with a Gaussian window.

    Example:
        >>> import jax
        >>> u = jax.random.uniform(jax.random.key(0), (1, 16, 16)) + 0.5
        >>> float(jnp.abs(smooth_phase(u * jnp.exp(0.7j), 2.0) - 0.7).max().round(4))
        0.0
    """
    h, w = z.shape[1:3]
    rows, columns = (jnp.exp(-((jnp.arange(n) - n // 2) ** 2) / (2 * width**2)) for n in (h, w))
    return jnp.angle(centred_ifft2(centred_fft2(z) * (rows[:, None] * columns)))


def add_phase(key: Key, magnitude: Array, deviation: float | Array) -> Array:
    """Complex images from magnitudes, with a random phase that is smooth over half the image.

    The phase is Gaussian on 3 x 3 nodes, interpolated by cubic splines.

    Args:
        key: one key, or keys ``[b]``.
        magnitude: ``[b, h, w, 1]``.
        deviation: standard deviation of the phase at the nodes, radians.

    Returns:
        Real and imaginary part, ``[b, h, w, 2]``.

    Example:
        >>> import jax
        >>> x = add_phase(jax.random.key(0), jnp.full((1, 8, 8, 1), 2.0), 1.0)
        >>> float(jnp.abs(jnp.linalg.norm(x, axis=-1) - 2).max().round(4))
        0.0
    """
    b, h, w, _ = magnitude.shape
    nodes = draws.normal(key, (b, 3, 3, 1))
    angle = deviation * jax.image.resize(nodes, (b, h, w, 1), "cubic")
    return magnitude * jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


def to_complex(x: Array) -> Array:
    """A complex array from one whose last axis holds its real and imaginary part.

    Args:
        x: real, ``[..., 2]``.

    Returns:
        ``[...]``, complex64 of float32 and of what is narrower.

    Raises:
        ValueError: if `x` is complex, or its last axis does not have two entries.

    Example:
        >>> to_complex(jnp.array([[3.0, 4.0]])).tolist()
        [(3+4j)]
    """
    if jnp.iscomplexobj(x) or x.ndim == 0 or x.shape[-1] != 2:
        raise ValueError(f"a complex image in two real channels is needed, not {x.dtype} of shape {x.shape}")
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # there are no narrower complex numbers
    return jax.lax.complex(x[..., 0], x[..., 1])


def from_complex(z: Array) -> Array:
    """The inverse of `to_complex`: real and imaginary part along a new last axis.

    Args:
        z: ``[...]``, complex, or real with nothing imaginary.

    Returns:
        Real, ``[..., 2]``.

    Example:
        >>> from_complex(jnp.array([3 + 4j])).tolist()
        [[3.0, 4.0]]
    """
    return jnp.stack([jnp.real(z), jnp.imag(z)], -1)
