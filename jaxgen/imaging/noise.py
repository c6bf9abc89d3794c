"""Noise to corrupt images with, in 2-D and 3-D: white, coarse, simplex; and blocks left out.

A network that learns to take noise away restores what is about as large as the noise is coarse: white noise teaches it
fine detail, coarse noise whole structures. Every function draws example by example from keys ``[b]`` (`jaxgen.draws`).
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.types import Array, Key


def _each(draw: Callable[[Key], Array], key: Key, n: int) -> Array:
    """One image a key; of one key, n images."""
    keys = jax.random.split(key, n) if key.ndim == 0 else key
    if keys.shape != (n,):
        raise ValueError(f"keys of shape {keys.shape} cannot draw {n} images: one key an image")
    return jax.vmap(draw)(keys)


def coarse_noise(key: Key, shape: Sequence[int], cells: int | Sequence[int]) -> Array:
    """Normal numbers on a small grid, enlarged by linear interpolation and rolled by a random shift.

    The standard deviation is 1 at the nodes of the grid and less between them: in the mean over a large image the
    variance comes near ``(2/3)^rank``. Where the roll joins two borders there is a seam.

    Args:
        key: one key, or keys ``[b]``.
        shape: of the result, ``[b, *spatial, c]``; the channels are independent.
        cells: nodes of the grid along each spatial axis, one number or one an axis.

    Returns:
        Float32 of `shape`.

    Raises:
        ValueError: if there are not as many numbers of cells as axes, or more cells than pixels.

    Reference:
        Kascenas et al. 2022, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", section 2.

    Example:
        >>> coarse_noise(jax.random.key(0), (2, 32, 32, 1), 8).shape
        (2, 32, 32, 1)
    """
    b, *spatial, channels = shape
    counts = [cells] * len(spatial) if isinstance(cells, int) else list(cells)
    if len(counts) != len(spatial) or any(not 1 <= m <= n for m, n in zip(counts, spatial, strict=True)):
        raise ValueError(f"cells {cells} do not fit images of {tuple(spatial)}: 1 to as many as pixels along each axis")

    def draw(key: Key) -> Array:
        grid_key, shift_key = jax.random.split(key)
        grid = jax.random.normal(grid_key, (*counts, channels))
        large = jax.image.resize(grid, (*spatial, channels), "linear")
        shift = jax.random.randint(shift_key, (len(spatial),), 0, jnp.asarray(spatial))
        return jnp.roll(large, tuple(shift), tuple(range(len(spatial))))

    return _each(draw, key, b)


def _mix(h: Array) -> Array:
    """Scatter the bits of 32-bit numbers (the finishing steps of MurmurHash3)."""
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def _direction(corner: Array, seed: Array) -> Array:
    """A unit vector for each point of the lattice ``[..., n]``, n 2 or 3, the same whenever it is asked for."""
    h = jnp.broadcast_to(seed, corner.shape[:-1])
    for axis in range(corner.shape[-1]):
        h = _mix(h + jnp.uint32(0x9E3779B9) + corner[..., axis].astype(jnp.uint32))
    angle = 2 * jnp.pi * h.astype(jnp.float32) / 2.0**32
    around = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    if corner.shape[-1] == 2:
        return around
    height = 2 * _mix(h ^ jnp.uint32(0x27D4EB2F)).astype(jnp.float32)[..., None] / 2.0**32 - 1
    return jnp.concatenate([jnp.sqrt(jnp.maximum(1 - height**2, 0)) * around, height], -1)


_REACH = 0.5
"""Squared distance at which a corner's part ends: the height of the simplex, so that the noise has no jumps."""


def _unskew(n: int) -> float:
    return (1 - 1 / math.sqrt(n + 1)) / n


def _variance(n: int) -> float:
    """Of one octave, over places and directions: each corner's part squared, integrated over space, by the cell.

    ``(1 / (1 - n G)) integral (R - r^2)^8 r^2 / n dx = S / (2 n (1 - n G)) R^(9 + n/2) B(n/2 + 1, 9)``, S the surface
    of the unit sphere.
    """
    surface = 2 * math.pi ** (n / 2) / math.gamma(n / 2)
    beta = math.gamma(n / 2 + 1) * math.gamma(9) / math.gamma(n / 2 + 10)
    return surface * _REACH ** (9 + n / 2) * beta / (2 * n * (1 - n * _unskew(n)))


def _octave(points: Array, seed: Array) -> Array:
    """Simplex noise of unit variance at points ``[..., n]``, in the unit of the lattice's edges before skewing."""
    n = points.shape[-1]
    skew = (math.sqrt(n + 1) - 1) / n
    cell = jnp.floor(points + skew * jnp.sum(points, -1, keepdims=True))
    inside = points - cell + _unskew(n) * jnp.sum(cell, -1, keepdims=True)
    # The corners of the simplex that a point lies in: from the cell's origin along its axes, the largest offset first.
    above = inside[..., None, :] > inside[..., :, None]
    tied = (inside[..., None, :] == inside[..., :, None]) & np.tri(n, k=-1, dtype=bool)
    rank = jnp.sum(above | tied, -1)
    total = jnp.zeros(points.shape[:-1])
    for corner in range(n + 1):
        taken = (rank < corner).astype(jnp.float32)
        offset = inside - taken + corner * _unskew(n)
        weight = jnp.maximum(_REACH - jnp.sum(offset**2, -1), 0) ** 4
        gradient = _direction((cell + taken).astype(jnp.int32), seed)
        total += weight * jnp.sum(gradient * offset, -1)
    return total / math.sqrt(_variance(n))


def simplex_noise(
    key: Key, shape: Sequence[int], *, octaves: int = 6, persistence: float = 0.8, wavelength: float = 64.0
) -> Array:
    """Fractal simplex noise: gradient noise on a lattice of simplices, octave upon octave, of variance 1.

    ``sum_i p^i S_i(x 2^i / wavelength) / sqrt(sum_i p^(2 i))``, each octave S_i with directions and a place of its own,
    so that no pixel is special. At a corner k of the simplex round a point, an octave adds
    ``max(1/2 - |d_k|^2, 0)^4 (g_k . d_k)``, d_k the way from the corner and g_k its random unit vector.

    Args:
        key: one key, or keys ``[b]``.
        shape: of the result, ``[b, *spatial, c]`` with two or three spatial axes; the channels are independent.
        octaves: how many; each has half the wavelength of the one before.
        persistence: p, the amplitude of an octave relative to the one before.
        wavelength: of the first octave, in pixels.

    Returns:
        Float32 of `shape`. With its defaults the noise of AnoDDPM has about 0.5 times this one's standard deviation.

    Raises:
        ValueError: if there are not two or three spatial axes, or no octave.

    Reference:
        Perlin 2001, "Noise hardware"; Gustavson 2005, "Simplex noise demystified"; Wyatt et al. 2022, "AnoDDPM", for
        octaves and persistence.

    Example:
        >>> simplex_noise(jax.random.key(0), (2, 16, 16, 1)).shape
        (2, 16, 16, 1)
    """
    b, *spatial, channels = shape
    if len(spatial) not in (2, 3) or octaves < 1:
        raise ValueError(f"simplex noise needs [b, *spatial, c] of rank 2 or 3 and an octave, not {tuple(shape)}")
    pixels = jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in spatial), indexing="ij"), -1)
    amplitude = persistence ** np.arange(octaves)
    amplitude = (amplitude / np.sqrt(np.sum(amplitude**2))).astype(np.float32)
    frequency = jnp.asarray(2.0 ** np.arange(octaves), jnp.float32) / wavelength

    def channel(key: Key) -> Array:
        seed_key, place_key = jax.random.split(key)
        seeds = jax.random.bits(seed_key, (octaves,), jnp.uint32)
        places = jax.random.uniform(place_key, (octaves, len(spatial)), maxval=256.0)

        def add(total: Array, octave: tuple[Array, ...]) -> tuple[Array, None]:
            seed, place, size, rate = octave
            return total + size * _octave(rate * pixels + place, seed), None

        start = jnp.zeros(tuple(spatial))
        return jax.lax.scan(add, start, (seeds, places, jnp.asarray(amplitude), frequency))[0]

    return _each(lambda k: jnp.moveaxis(jax.vmap(channel)(jax.random.split(k, channels)), 0, -1), key, b)


def mask_blocks(key: Key, x: Array, probability: float, *, block: int = 1, value: float = 0.0) -> Array:
    """Leave blocks of an image out at random.

    Args:
        key: one key, or keys ``[b]``.
        x: ``[b, *spatial, c]``.
        probability: that a block is left out.
        block: its side in pixels; 1 leaves out single pixels. All channels of a pixel go together.
        value: what stands in its place.

    Returns:
        An array of the shape and dtype of `x`.

    Reference:
        Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders", section 2.3.

    Example:
        >>> float(mask_blocks(jax.random.key(0), jnp.ones((1, 4, 4, 1)), 1.0, value=-1.0).sum())
        -16.0
    """
    b, *spatial, _ = x.shape
    drop = draws.bernoulli(key, probability, (b, *(-(-n // block) for n in spatial)))
    for axis, n in enumerate(spatial, 1):
        drop = jax.lax.slice_in_dim(jnp.repeat(drop, block, axis), 0, n, axis=axis)
    return jnp.where(drop[..., None], jnp.asarray(value, x.dtype), x)
