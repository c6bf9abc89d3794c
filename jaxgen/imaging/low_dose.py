"""CT at a low dose: noise of counted photons in the projections, and their filtered back-projection."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.imaging.ct_scan import half_circle
from jaxgen.imaging.filtered_backprojection import filtered_backprojection
from jaxgen.imaging.hounsfield import to_attenuation, to_hounsfield
from jaxgen.imaging.radon import radon_operator
from jaxgen.types import Array, Key


def count_photons(key: Key, y: Array, photons: float) -> Array:
    """Integrals of attenuation as measured by counting photons: ``-log(max(1, Poisson(I e^-y)) / I)``.

    Args:
        key: one key, or keys ``[b]``.
        y: integrals ``[b, views, detectors]``.
        photons: I, sent along each ray; 0 for no noise.

    Returns:
        Of the shape of `y`.

    Reference:
        Buzug 2008, "Computed tomography", section 2.4; Yang et al. 2018, arXiv 1708.00961, section III-A.

    Example:
        >>> y = jnp.ones((1, 4, 4))
        >>> bool(jnp.abs(count_photons(jax.random.key(0), y, 1e8) - y).max() < 1e-2)
        True
    """
    if photons == 0:
        return y
    expected = photons * jnp.exp(-y)
    counts = jax.random.poisson(key, expected) if key.ndim == 0 else jax.vmap(jax.random.poisson)(key, expected)
    return -jnp.log(jnp.maximum(counts, 1) / photons)


@functools.partial(jax.jit, static_argnames=("photons", "views", "field"))
def _scans(keys: Key, hu: Array, photons: tuple[float, ...], views: int, field: float) -> tuple[Array, ...]:
    size = hu.shape[1]
    pixel, angles = field / size, half_circle(views)
    y = radon_operator(size, angles).forward(to_attenuation(hu, pixel=pixel))
    each = draws.split(keys, len(photons))
    measured = (count_photons(k, y, dose) for k, dose in zip(each, photons, strict=True))
    return tuple(to_hounsfield(filtered_backprojection(p, angles, size), pixel=pixel) for p in measured)


def scans_at_doses(
    key: Key, hu: np.ndarray, photons: tuple[float, ...], *, views: int = 180, field: float = 400.0
) -> tuple[np.ndarray, ...]:
    """Slices as a scanner with parallel rays sees them at several doses, each with noise of its own.

    Args:
        key: one key, or keys ``[b]``: a slice is then a function of its own.
        hu: slices ``[b, h, h, 1]`` in Hounsfield units.
        photons: per ray, of each dose; 0 for no noise.
        views: evenly over half a circle.
        field: width of the image in mm.

    Returns:
        Hounsfield units ``[b, h, h, 1]`` of each dose.

    Example:
        >>> low, exact = scans_at_doses(jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32), (1e4, 0.0))
        >>> bool(low.std() > exact.std())
        True
    """
    found = _scans(key, jnp.asarray(hu, jnp.float32), tuple(photons), views, field)
    return tuple(np.asarray(x) for x in found)
