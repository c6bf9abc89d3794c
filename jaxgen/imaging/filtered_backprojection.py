"""Filtered back-projection of parallel and fan-beam sinograms."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxgen.imaging.projection import Geometry, check_source, checked_angles, checked_sinogram, passing
from jaxgen.imaging.views import angular_steps, ray_weights
from jaxgen.types import Array

PARALLEL = Geometry()

Window = Callable[[Array], Array]
"""What a ramp filter is multiplied with: a function of the frequency, 0 to 0.5 periods a detector."""


def ramp(frequency: Array) -> Array:
    """No window: the ramp filter of Ram and Lak, sharpest and noisiest.

    Example:
        >>> ramp(jnp.array([0.0, 0.5])).tolist()
        [1.0, 1.0]
    """
    return jnp.ones_like(frequency)


def shepp_logan(frequency: Array) -> Array:
    """The window of Shepp and Logan: ``sin(pi f) / (pi f)``.

    Example:
        >>> round(float(shepp_logan(jnp.array(0.5))), 4)
        0.6366
    """
    return jnp.sinc(frequency)


def cosine(frequency: Array) -> Array:
    """The cosine window: ``cos(pi f)``.

    Example:
        >>> round(float(cosine(jnp.array(0.25))), 4)
        0.7071
    """
    return jnp.cos(jnp.pi * frequency)


def hann(frequency: Array) -> Array:
    """The window of von Hann: ``(1 + cos(2 pi f)) / 2``, smoothest.

    Example:
        >>> hann(jnp.array([0.0, 0.25])).round(4).tolist()
        [1.0, 0.5]
    """
    return 0.5 + 0.5 * jnp.cos(2 * jnp.pi * frequency)


WINDOWS: dict[str, Window] = {"ramp": ramp, "shepp_logan": shepp_logan, "cosine": cosine, "hann": hann}
"""The windows by name."""


def filter_projections(sinogram: Array, window: Window = ramp) -> Array:
    """Projections convolved with the ramp filter, for detectors one pixel apart.

    The ramp is the transform of its own band-limited kernel, 1/4 at 0, ``-1 / (pi k)^2`` at odd k and 0 at others: one
    sampled in frequency would be 0 at frequency 0 and darken the whole image.

    Args:
        sinogram: ``[..., detectors]``.
        window: one of `ramp`, `shepp_logan`, `cosine`, `hann`, or your own.

    Returns:
        An array of the same shape.

    Reference:
        Kak and Slaney 1988, "Principles of computerized tomographic imaging", section 3.3.

    Example:
        >>> [round(float(q), 4) for q in filter_projections(jnp.array([0.0, 1.0, 0.0]))]
        [-0.1013, 0.25, -0.1013]
    """
    n = sinogram.shape[-1]
    length = max(64, 2 ** int(np.ceil(np.log2(2 * n))))
    k = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.where(k % 2, -1 / (np.pi * np.maximum(k, 1)) ** 2, 0)
    kernel[0] = 0.25
    response = jnp.asarray(np.fft.rfft(kernel).real, sinogram.dtype)
    response = response * window(jnp.arange(len(response), dtype=sinogram.dtype) / length)
    return jnp.fft.irfft(jnp.fft.rfft(sinogram, length) * response, length)[..., :n].astype(sinogram.dtype)


def filtered_backprojection(
    sinogram: Array, angles: ArrayLike, size: int, *, geometry: Geometry = PARALLEL, window: Window = ramp
) -> Array:
    """Filtered back-projection: an image from its line integrals.

    ``f(x, y) = sum_a step_a q_a(u(x, y))``, q the filtered projections, interpolated linearly. For a fan,
    ``f = sum_a step_a q_a(u) / (1 + t / R)^2``, q filtered after a weight ``w / sqrt(1 + (u / R)^2)``, R the distance
    of the source, t along the view, and w how much of each ray counts (`jaxgen.imaging.views.ray_weights`): a short
    scan is as right as a full circle. What no ray of any view measures is left at 0.

    Args:
        sinogram: ``[b, views, detectors]``, integrals in pixels; slices of a volume are a batch.
        angles: ``[views]``, radians: half a circle or more for parallel rays, and the angle of the fan more for a fan.
        size: side of the images in pixels.
        geometry: of the rays; parallel unless told otherwise, see `jaxgen.imaging.fan_beam.fan_beam_geometry`.
        window: one of `ramp`, `shepp_logan`, `cosine`, `hann`, or your own.

    Returns:
        ``[b, size, size, 1]``.

    Raises:
        ValueError: if the sinogram does not fit the angles or is not real and floating.

    Reference:
        Kak and Slaney 1988, "Principles of computerized tomographic imaging", sections 3.3 and 3.4.

    Example:
        >>> from jaxgen.imaging.radon import radon_operator
        >>> angles = jnp.arange(60) * jnp.pi / 60
        >>> sinogram = radon_operator(16, angles).forward(jnp.ones((1, 16, 16, 1)))
        >>> round(float(filtered_backprojection(sinogram, angles, 16)[0, 8, 8, 0]), 1)
        1.0
    """
    check_source(geometry, size)
    found = checked_angles(angles)
    sinogram = checked_sinogram(jnp.asarray(sinogram), found)
    return _filtered_backprojection(sinogram, found.astype(sinogram.dtype), size, geometry, window)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))  # else each call outside a jit would compile the loop anew
def _filtered_backprojection(sinogram: Array, angles: Array, size: int, geometry: Geometry, window: Window) -> Array:
    detectors, curvature = sinogram.shape[2], geometry.curvature
    middle = (detectors - 1) / 2
    steps = angular_steps(angles, 2 * np.pi if curvature else np.pi) / geometry.spacing
    if curvature:
        u = (jnp.arange(detectors, dtype=sinogram.dtype) - middle) * geometry.spacing
        weights = ray_weights(angles, jnp.arctan(curvature * u))
        sinogram = sinogram * (weights / jnp.sqrt(1 + (curvature * u) ** 2))
    filtered = jnp.moveaxis(filter_projections(sinogram, window) * steps[:, None], 0, -1)
    coordinate = jnp.arange(size, dtype=sinogram.dtype) - (size - 1) / 2
    x, y = coordinate[None, :], coordinate[:, None]

    def add(total: Array, view: tuple[Array, Array]) -> tuple[Array, None]:
        values, angle = view
        place = passing(geometry, angle, x, y) / geometry.spacing + middle
        left = lax.optimization_barrier(jnp.clip(jnp.floor(place), -1, detectors - 1).astype(jnp.int32))
        weight = jnp.clip(place - left, 0, 1)[..., None]
        a, c = (values.at[left + 1 + k].get(mode="promise_in_bounds") for k in (0, 1))
        found = a + weight * (c - a)
        if curvature:
            found = found / jnp.square(1 + curvature * (x * jnp.sin(angle) + y * jnp.cos(angle)))[..., None]
        return total + found, None

    padded = jnp.pad(filtered, ((0, 0), (1, 1), (0, 0)))
    start = jnp.zeros((size, size, sinogram.shape[0]), sinogram.dtype)
    total, _ = jax.lax.scan(add, start, (padded, angles))
    return jnp.moveaxis(total, -1, 0)[..., None]
