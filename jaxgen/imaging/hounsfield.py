"""Hounsfield units and attenuation."""

import jax.numpy as jnp

from jaxgen.types import Array

WATER = 0.2059
"""Linear attenuation of water at 60 keV, in 1/cm (XCOM)."""


def to_attenuation(hu: Array, *, water: float = WATER, pixel: float = 10.0) -> Array:
    """Attenuation a pixel from Hounsfield units: ``water (1 + hu / 1000) pixel / 10``, 0 at least.

    Args:
        hu: Hounsfield units: air -1000, water 0.
        water: attenuation of water, in 1/cm.
        pixel: width of a pixel in mm; the 10 mm it is by default gives 1/cm.

    Returns:
        Attenuation along one pixel's width.

    Example:
        >>> [round(float(mu), 4) for mu in to_attenuation(jnp.array([-1024.0, -1000.0, 0.0, 1000.0]))]
        [0.0, 0.0, 0.2059, 0.4118]
    """
    return jnp.maximum(water * (1 + hu / 1000), 0) * (pixel / 10)


def to_hounsfield(attenuation: Array, *, water: float = WATER, pixel: float = 10.0) -> Array:
    """Hounsfield units from attenuation a pixel, the inverse of `to_attenuation`: ``1000 (mu / mu_water - 1)``.

    Args:
        attenuation: along one pixel's width.
        water: attenuation of water, in 1/cm.
        pixel: width of a pixel in mm.

    Returns:
        Hounsfield units.

    Example:
        >>> float(to_hounsfield(to_attenuation(jnp.array(40.0), pixel=0.7), pixel=0.7).round())
        40.0
    """
    return 1000 * (attenuation / (water * pixel / 10) - 1)
