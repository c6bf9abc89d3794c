"""Metal in CT: where it is, its trace in the sinogram, the trace filled by interpolation, and simulated artifacts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.imaging.hounsfield import WATER, to_attenuation
from jaxgen.imaging.operators import LinearOperator
from jaxgen.types import Array, Key

ENERGIES = (40.0, 60.0, 80.0, 100.0)
"""Photon energies of the simulation, in keV. Integrals are referred to the second, 60 keV."""

SPECTRUM = (0.2, 0.4, 0.25, 0.15)
"""The share of photons of each energy: a coarse stand-in for a tube at 120 kV."""

REFERENCE = 1


class Material(NamedTuple):
    """What attenuates.

    Attributes:
        density: in g / cm^3.
        coefficients: mass attenuation at each of `ENERGIES`, in cm^2 / g.
    """

    density: float
    coefficients: tuple[float, ...]


# Elam, Ravel and Sieber 2002, "A new atomic database for X-ray spectroscopic calculations"; bone as of ICRU report 44.
WATER_LIKE = Material(1.0, (0.2683, 0.2059, 0.1837, 0.1707))
BONE = Material(1.92, (0.6655, 0.3148, 0.2229, 0.1855))
TITANIUM = Material(4.506, (2.213, 0.7660, 0.4053, 0.2721))
IRON = Material(7.874, (3.629, 1.205, 0.5952, 0.3717))


def dilate(mask: Array, pixels: int = 1) -> Array:
    """A mask grown by a number of pixels along rows, columns and diagonals.

    Args:
        mask: ``[b, h, w, c]`` bool.
        pixels: how far.

    Returns:
        bool, of the same shape.

    Example:
        >>> int(dilate(jnp.zeros((1, 5, 5, 1), bool).at[0, 2, 2].set(True)).sum())
        9
    """
    width = 2 * pixels + 1
    return lax.reduce_window(mask, False, lax.bitwise_or, (1, width, width, 1), (1, 1, 1, 1), "SAME")


def metal_mask(hu: Array, *, threshold: float = 2500.0, dilation: int = 0) -> Array:
    """Where there is metal: Hounsfield units above a threshold, grown by some pixels.

    Args:
        hu: ``[b, h, w, 1]``.
        threshold: in Hounsfield units; the densest bone stays below 2000, and most metals lie above 3000.
        dilation: in pixels.

    Returns:
        bool ``[b, h, w, 1]``.

    Example:
        >>> int(metal_mask(jnp.zeros((1, 5, 5, 1)).at[0, 2, 2].set(3000.0), dilation=1).sum())
        9
    """
    found = hu > threshold
    return dilate(found, dilation) if dilation else found


def random_implants(rng: np.random.Generator, x: np.ndarray, *, body: float = -0.4) -> np.ndarray:
    """Two round pieces of metal in each body, 3 to 6 % of the image wide.

    Args:
        rng: a generator.
        x: images ``[n, h, h, 1]``.
        body: values above it are a place for metal; in an image without any it goes to the middle.

    Returns:
        bool ``[n, h, h, 1]``, true in the metal.

    Example:
        >>> random_implants(np.random.default_rng(0), np.zeros((1, 32, 32, 1))).sum() > 0
        np.True_
    """
    size = x.shape[1]
    grid = np.indices((size, size))
    masks = np.zeros(x.shape, bool)
    for mask, image in zip(masks, x, strict=True):
        inside = np.argwhere(image[..., 0] > body)
        places = inside if len(inside) else np.array([[size // 2, size // 2]])
        for _ in range(2):
            centre = places[rng.integers(len(places))]
            radius = rng.uniform(1.0, 2.0) * size / 64
            mask[..., 0] |= np.hypot(*(grid - centre[:, None, None])) <= radius
    return masks


def metal_trace(operator: LinearOperator, mask: Array, *, threshold: float = 1e-3) -> Array:
    """Which rays pass through the metal.

    Args:
        operator: projection, as of `jaxgen.imaging.radon.radon_operator`.
        mask: ``[b, h, w, 1]``.
        threshold: the length within the metal, in pixels, from which on a ray counts.

    Returns:
        bool ``[b, views, detectors]``.

    Example:
        >>> from jaxgen.imaging.radon import radon_operator
        >>> mask = jnp.zeros((1, 4, 4, 1), bool).at[0, 1, 1].set(True)
        >>> metal_trace(radon_operator(4, jnp.zeros(1), 4), mask)[0, 0].tolist()
        [False, True, False, False]
    """
    return operator.forward(mask.astype(jnp.float32)) > threshold


def without_trace(operator: LinearOperator, trace: Array) -> LinearOperator:
    """The operator with the rays through metal left out: they measure 0 and say nothing.

    Args:
        operator: projection.
        trace: bool ``[b, views, detectors]``.

    Returns:
        The operator; hand it measurements that are 0 in the trace.

    Example:
        >>> from jaxgen.imaging.radon import radon_operator
        >>> operator = without_trace(radon_operator(4, jnp.zeros(1), 4), jnp.array([[[False, True, False, False]]]))
        >>> operator.forward(jnp.ones((1, 4, 4, 1)))[0, 0].tolist()
        [4.0, 0.0, 4.0, 4.0]
    """

    def kept(y: Array) -> Array:
        return jnp.where(trace, jnp.zeros((), y.dtype), y)

    return LinearOperator(lambda x: kept(operator.forward(x)), lambda y: operator.adjoint(kept(y)))


def interpolate_trace(sinogram: Array, trace: Array) -> Array:
    """What was measured through metal replaced by a straight line between its neighbours, view by view.

    Args:
        sinogram: ``[b, views, detectors]``.
        trace: bool, of the same shape. Where it reaches an end of the detector the one neighbour is repeated; a view
            with nothing else in it becomes 0.

    Returns:
        The sinogram, the same outside the trace.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Kalender, Hebel and Ebersberger 1987, "Reduction of CT artifacts caused by metallic implants".

    Example:
        >>> trace = jnp.array([[[False, True, True, False, True]]])
        >>> interpolate_trace(jnp.array([[[1.0, 9.0, 9.0, 4.0, 9.0]]]), trace)[0, 0].tolist()
        [1.0, 2.0, 3.0, 4.0, 4.0]
    """
    if sinogram.shape != trace.shape:
        raise ValueError(f"the trace must have the shape of the sinogram {sinogram.shape}, got {trace.shape}")
    n = sinogram.shape[-1]
    place = jnp.broadcast_to(jnp.arange(n), trace.shape)
    axis = sinogram.ndim - 1
    before = lax.cummax(jnp.where(trace, -1, place), axis)
    after = lax.cummin(jnp.where(trace, n, place), axis, reverse=True)
    first, last = jnp.where(before < 0, after, before), jnp.where(after == n, before, after)
    a, c = (jnp.take_along_axis(sinogram, jnp.clip(end, 0, n - 1), axis) for end in (first, last))
    share = (place - first) / jnp.maximum(last - first, 1)
    line = jnp.where(first == last, a, a + share * (c - a))
    line = jnp.where((before < 0) & (after == n), 0, line)
    return jnp.where(trace, line, sinogram).astype(sinogram.dtype)


def simulate_metal(
    key: Key,
    hu: Array,
    mask: Array,
    operator: LinearOperator,
    *,
    pixel: float = 1.0,
    metal: Material = TITANIUM,
    photons: float = 2e5,
    scatter: float = 20.0,
) -> Array:
    """What a scanner measures of a body with metal in it: beam hardening, partial volumes, few photons, scatter.

    Tissue is water, and between 100 and 1500 HU more and more bone; each is projected once, and attenuates every energy
    of `SPECTRUM` in its own way. The metal takes a quarter of the pixels at its border. Photons are counted with
    Poisson noise, and the counts turned into integrals as if all were water: the correction that scanners make, wrong
    for bone and metal.

    Args:
        key: one key, or keys ``[b]``.
        hu: the body without metal, ``[b, h, w, 1]`` in Hounsfield units.
        mask: where the metal is, ``[b, h, w, 1]``.
        operator: projection, with integrals in pixels.
        pixel: width of a pixel in mm.
        metal: of what it is.
        photons: sent along each ray.
        scatter: photons that reach each detector on other ways.

    Returns:
        ``[b, views, detectors]``: integrals of attenuation at 60 keV, those of ``to_attenuation(hu, pixel=pixel)``
        where rays meet water alone.

    Reference:
        Zhang and Yu 2018, "Convolutional neural network based metal artifact reduction in X-ray computed tomography",
        section III-A, for the chain of steps.

    Example:
        >>> from jaxgen.imaging.radon import radon_operator
        >>> operator, body = radon_operator(8, jnp.zeros(1), 8), jnp.zeros((1, 8, 8, 1))
        >>> exact = operator.forward(to_attenuation(body))
        >>> measured = simulate_metal(jax.random.key(0), body, body > 0, operator, pixel=10.0, photons=1e7)
        >>> bool(jnp.abs(measured - exact).max() < 0.02)
        True
    """
    border = mask & dilate(~mask)
    share = jnp.where(border, 0.25, jnp.where(mask, 1.0, 0.0))
    tissue = to_attenuation(hu, pixel=pixel) * (1 - share)
    bone = jnp.clip((hu - 100) / 1400, 0, 1)
    parts = {
        WATER_LIKE: operator.forward(tissue * (1 - bone)),
        BONE: operator.forward(tissue * bone),
        metal: operator.forward(share * (metal.density * metal.coefficients[REFERENCE] * pixel / 10)),
    }
    passed = jnp.zeros_like(parts[metal])
    for number, weight in enumerate(SPECTRUM):
        along = sum(y * (m.coefficients[number] / m.coefficients[REFERENCE]) for m, y in parts.items())
        passed = passed + weight * jnp.exp(-along)
    expected = photons * passed + scatter
    if key.ndim:
        counts = jax.vmap(jax.random.poisson)(key, expected)
    else:
        counts = jax.random.poisson(key, expected)
    measured = -jnp.log(jnp.maximum(counts, 1) / photons)
    return jnp.interp(measured, *_water_curve()).astype(expected.dtype)


def _water_curve() -> tuple[np.ndarray, np.ndarray]:
    """What is measured through water, and its integral at the reference energy; both from 0 on."""
    lengths = np.concatenate([np.linspace(0, 60, 601), np.linspace(61, 400, 340)])  # cm
    passed = sum(w * np.exp(-mu * lengths) for w, mu in zip(SPECTRUM, WATER_LIKE.coefficients, strict=True))
    return -np.log(passed), WATER * lengths
