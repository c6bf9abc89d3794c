"""Comparing images with their references: PSNR, SSIM and multi-scale SSIM, in 2-D and 3-D. Safe under `jax.jit`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.types import Array

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of `ms_ssim`, the finest first."""


def psnr(x: Array, reference: Array, *, data_range: float) -> Array:
    """Peak signal-to-noise ratio: ``10 log10(data_range^2 / mean (x - reference)^2)``.

    Args:
        x: ``[b, *spatial, c]``.
        reference: the same shape.
        data_range: the largest minus the least value an image can have: 2 for images in [-1, 1].

    Returns:
        float32 ``[b]`` in decibels; infinite for equal images.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> psnr(jnp.zeros((1, 4, 4, 1)), jnp.full((1, 4, 4, 1), 0.1), data_range=1).round(3).tolist()
        [20.0]
    """
    x, reference = _pair(x, reference)
    error = jnp.mean(jnp.square(x - reference), axis=tuple(range(1, x.ndim)))
    return 10 * jnp.log10(data_range**2 / error)


def ssim(x: Array, reference: Array, *, data_range: float, window: int = 11, deviation: float = 1.5) -> Array:
    """Structural similarity: local means, variances and covariances under a Gaussian window.

    ``(2 mu_x mu_y + c1) (2 s_xy + c2) / ((mu_x^2 + mu_y^2 + c1) (s_x^2 + s_y^2 + c2))`` with ``c1 = (0.01 L)^2`` and
    ``c2 = (0.03 L)^2``, averaged over the places where the whole window lies in the image, and over channels.

    Args:
        x: ``[b, *spatial, c]``.
        reference: the same shape.
        data_range: L, the largest minus the least value an image can have: 2 for images in [-1, 1].
        window: its width in pixels, odd.
        deviation: of the Gaussian, in pixels.

    Returns:
        float32 ``[b]``, at most 1.

    Raises:
        ValueError: if the shapes differ, or an image is smaller than the window.

    Reference:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004, equation 13.

    Example:
        >>> x = jnp.linspace(-1, 1, 256).reshape(1, 16, 16, 1)
        >>> ssim(x, x, data_range=2).tolist()
        [1.0]
    """
    x, reference = _pair(x, reference)
    luminance, structure = _similarity(x, reference, data_range, window, deviation)
    return jnp.mean(luminance * structure, axis=tuple(range(1, x.ndim)))


def ms_ssim(
    x: Array,
    reference: Array,
    *,
    data_range: float,
    window: int = 11,
    deviation: float = 1.5,
    weights: tuple[float, ...] | None = None,
) -> Array:
    """Multi-scale structural similarity: ``l_M^w_M prod_j (cs_j)^w_j`` over scales that halve the image.

    Contrast and structure cs are averaged at every scale, luminance l (times cs) at the coarsest; each scale is the
    mean over blocks of 2 pixels of the one before. A negative average counts as 0.

    Args:
        x: ``[b, *spatial, c]``.
        reference: the same shape.
        data_range: see `ssim`.
        window: see `ssim`.
        deviation: see `ssim`.
        weights: an exponent for each scale, the finest first. None takes as many of `WEIGHTS` as the image has scales
            at least as wide as the window (five from 176 pixels, three from 44), made to add up to 1: values of
            different numbers of scales cannot be compared.

    Returns:
        float32 ``[b]`` in [0, 1]; the mean over channels.

    Raises:
        ValueError: if the shapes differ, or an image is smaller than the window at some scale.

    Reference:
        Wang, Simoncelli and Bovik, "Multi-Scale Structural Similarity for Image Quality Assessment", 2003, equation 7.

    Example:
        >>> x = jnp.linspace(-1, 1, 48 * 48).reshape(1, 48, 48, 1)
        >>> ms_ssim(x, x, data_range=2).round(6).tolist()
        [1.0]
    """
    x, reference = _pair(x, reference)
    if weights is None:
        smallest, most = min(x.shape[1:-1]), 1
        while most < len(WEIGHTS) and smallest >= window * 2**most:
            most += 1
        weights = tuple(w / sum(WEIGHTS[:most]) for w in WEIGHTS[:most])
    axes, result = tuple(range(1, x.ndim - 1)), jnp.ones((), jnp.float32)
    for j, weight in enumerate(weights):
        if j:
            x, reference = _halved(x), _halved(reference)
        luminance, structure = _similarity(x, reference, data_range, window, deviation)
        term = structure if j < len(weights) - 1 else luminance * structure
        result = result * jnp.maximum(jnp.mean(term, axis=axes), 0) ** weight
    return jnp.mean(result, axis=-1)


def clipped_psnr(x: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of images cut to [-1, 1], the mean over images; NaN if any diverged.

    ``10 log10(4 / mean squared error)``.

    Args:
        x: ``[n, h, w, c]``, cut to [-1, 1].
        truth: of the same shape.
        where: 1 where pixels count, broadcastable to x; None for everywhere.

    Returns:
        The mean in dB, at most 106.

    Example:
        >>> round(clipped_psnr(np.full((1, 4, 4, 1), 0.2), np.zeros((1, 4, 4, 1))), 3)
        20.0
    """
    error = (np.where(np.isfinite(x), np.clip(x, -1, 1), np.nan) - truth) ** 2
    weight = np.ones_like(error) if where is None else np.broadcast_to(where, error.shape)
    axes = tuple(range(1, error.ndim))
    mean = np.maximum((error * weight).sum(axes) / weight.sum(axes), 1e-10)
    return float(np.mean(10 * np.log10(4 / mean)))


def likeness(reconstructed: np.ndarray, x: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of reconstructions ``[n, h, w, c]``, means over the images.

    Args:
        reconstructed: the reconstructions, in [-1, 1].
        x: what was to be reconstructed, of the same shape.

    Returns:
        ``psnr`` in dB, and ``ssim``.
    """
    peak, similarity = _likeness(jnp.asarray(reconstructed, jnp.float32), jnp.asarray(x, jnp.float32))
    return {"psnr": float(peak), "ssim": float(similarity)}


@jax.jit
def _likeness(reconstructed: Array, x: Array) -> tuple[Array, Array]:
    return jnp.mean(psnr(reconstructed, x, data_range=2.0)), jnp.mean(ssim(reconstructed, x, data_range=2.0))


def slice_jumps(x: Array | np.ndarray, reference: Array | np.ndarray, axis: int) -> Array:
    """How much neighbouring slices differ, relative to a reference: ``sum |x[i + 1] - x[i]| / sum |r[i + 1] - r[i]|``.

    Slices that know nothing of each other give more than 1, blurred ones less.

    Args:
        x: ``[b, *spatial, c]``.
        reference: the same shape.
        axis: the spatial axis that the slices lie across, from 0.

    Returns:
        float32 ``[b]``; infinite or NaN where the reference is constant along the axis.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> x = jnp.array([0.0, 1.0, 3.0]).reshape(1, 3, 1, 1)
        >>> slice_jumps(2 * x, x, 0).tolist()
        [2.0]
    """
    x, reference = _pair(x, reference)

    def total(volumes: Array) -> Array:
        return jnp.sum(jnp.abs(jnp.diff(volumes, axis=1 + axis)), axis=tuple(range(1, volumes.ndim)))

    return total(x) / total(reference)


def _pair(x: Array | np.ndarray, reference: Array | np.ndarray) -> tuple[Array, Array]:
    if x.shape != reference.shape or x.ndim < 3:
        raise ValueError(f"images [b, *spatial, c] of one shape are needed, not {x.shape} and {reference.shape}")
    return jnp.asarray(x, jnp.float32), jnp.asarray(reference, jnp.float32)


def _similarity(x: Array, y: Array, data_range: float, window: int, deviation: float) -> tuple[Array, Array]:
    """Luminance, and contrast with structure, at every place of the window."""
    if min(x.shape[1:-1]) < window:
        raise ValueError(f"an image of {x.shape[1:-1]} is smaller than the window of {window}")
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    middle = jnp.mean(y, axis=tuple(range(1, y.ndim)), keepdims=True)  # variances lose no digits to a large mean
    u, v = x - middle, y - middle
    mean_u, mean_v, uu, vv, uv = _blur(jnp.stack([u, v, u * u, v * v, u * v]), window, deviation)
    mean_x, mean_y = mean_u + middle, mean_v + middle
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (uv - mean_u * mean_v) + c2) / (uu - mean_u**2 + vv - mean_v**2 + c2)
    return luminance, structure


def _blur(x: Array, window: int, deviation: float) -> Array:
    """``[k, b, *spatial, c]`` blurred where the window fits: a banded matrix along each axis, quick to compile."""
    weights = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / deviation) ** 2)
    weights /= weights.sum()
    for axis in range(2, x.ndim - 1):
        n = x.shape[axis]
        band = np.zeros((n, n - window + 1), np.float32)
        for i, weight in enumerate(weights):
            band[np.arange(i, i + band.shape[1]), np.arange(band.shape[1])] = weight
        mixed = jnp.tensordot(x, band, axes=(axis, 0), precision=lax.Precision.HIGHEST)
        x = jnp.moveaxis(mixed, -1, axis)
    return x


def _halved(x: Array) -> Array:
    """Means over blocks of 2 pixels along every spatial axis; an odd last pixel is left out."""
    for axis in range(1, x.ndim - 1):
        half = x.shape[axis] // 2
        x = lax.slice_in_dim(x, 0, 2 * half, axis=axis)
        x = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :]).mean(axis + 1)
    return x
