"""Features without a trained network: how much edge there is of each orientation and width, and where in the image."""

import itertools

import jax
import jax.numpy as jnp

from jaxgen.metrics.features import Extractor
from jaxgen.types import Array, Params

GRID, LEVELS, COARSE = 4, 4, 8
"""Cells along each side whose energies are told apart, octaves, and pixels along each side of the coarse image."""
LEAST_SIDE = 8
"""Pixels: a level that is smaller is left out."""
DARK = 0.01
"""Amplitude below which edges count as none, of values in [-1, 1]."""


def oriented_energy() -> Extractor:
    """Energies of oriented filters at several scales in the cells of a grid, and a coarse image.

    At each octave filters answer: derivatives along every axis and every diagonal of two axes, and the Laplacian. A
    feature is ``log(a + 0.01)`` with a the root mean square of an answer in one of 4 cells along each axis. Blur lowers
    the energies of fine octaves, noise raises them, and what is out of place moves them from cell to cell. Fixed, hence
    the same in every run.

    Returns:
        An `Extractor` for images ``[b, h, w, c]`` or volumes ``[b, x, y, z, c]`` in [-1, 1] of at least 8 pixels along
        each axis; its width for images is ``(80 * octaves + 64) * c``.

    Reference:
        Oliva and Torralba 2001, "Modeling the shape of the scene"; the filters are those of Heeger and Bergen 1995,
        "Pyramid-based texture analysis/synthesis", in their simplest form.

    Example:
        >>> stripes = jnp.tile(jnp.array([-1.0, -1.0, 1.0, 1.0]), (1, 16, 4))[..., None]
        >>> down, right = oriented_energy().apply((), stripes)[0, :32].reshape(2, 16).mean(1).tolist()
        >>> round(down, 1), round(right, 1)
        (-4.6, -0.0)
    """
    return Extractor("oriented-energy", _apply)


def _apply(params: Params, images: Array) -> Array:
    found, x, rank = [], images, images.ndim - 2
    for level in range(LEVELS):
        if level:
            x = _shrunk(x, tuple(side // 2 for side in x.shape[1:-1]))
        if min(x.shape[1:-1]) < LEAST_SIDE:
            break
        energies = [_shrunk(jnp.square(answer), (GRID,) * rank) for answer in _filtered(x)]
        found += [jnp.log(jnp.sqrt(jnp.maximum(energy, 0)) + DARK) for energy in energies]
    found.append(_shrunk(images, (COARSE,) * rank))
    return jnp.concatenate([part.reshape(len(images), -1) for part in found], axis=-1)


def _filtered(x: Array) -> list[Array]:
    """Derivatives along each axis, by Sobel's filters, and along each diagonal of two axes, and the Laplacian."""
    axes = range(1, x.ndim - 1)
    along = []
    for axis in axes:
        before, _, after = _neighbours(x, axis)
        slope = (after - before) / 2
        for other in axes:
            if other != axis:
                low, middle, high = _neighbours(slope, other)
                slope = (low + 2 * middle + high) / 4
        along.append(slope)
    diagonals = [(a + sign * b) / 2**0.5 for a, b in itertools.combinations(along, 2) for sign in (1, -1)]
    sides = sum(before + after for before, _, after in (_neighbours(x, axis) for axis in axes))
    return [*along, *diagonals, sides / (2 * len(axes)) - x]


def _neighbours(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """The value before each place along an axis, that there, and that after it; the border repeats itself."""
    wide = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)], mode="edge")
    n = x.shape[axis]
    before, after = (jax.lax.slice_in_dim(wide, start, start + n, axis=axis) for start in (0, 2))
    return before, x, after


def _shrunk(x: Array, size: tuple[int, ...]) -> Array:
    shape = (len(x), *size, x.shape[-1])
    return jax.image.resize(x, shape, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST)
