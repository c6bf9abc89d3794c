"""Edits of images: what a denoiser does to them, ready to be compiled.

An `Edit` is ``edit(denoise, keys [b], x [b, *spatial, c])``, each example with a key of its own.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxgen import guidance
from jaxgen.paths import Path, time_at
from jaxgen.samplers import editing, grids
from jaxgen.samplers.driver import from_noise, sample
from jaxgen.samplers.steps import ddim
from jaxgen.types import Array, Denoise, Key

Edit = Callable[[Denoise, Key, Array], Array]


def inversion(path: Path, steps: int, iterations: int = 0) -> Edit:
    """To the noise that DDIM would turn into the images.

    Args:
        path: the path.
        steps: how many, evenly in time.
        iterations: fixed-point iterations per step, which make it more nearly exact.

    Returns:
        The edit.
    """
    grid, step = grids.uniform(path, steps)[::-1], editing.invert(path, iterations)
    return lambda denoise, keys, x: sample(step, denoise, keys, x, grid)


def drawing(path: Path, steps: int) -> Edit:
    """From noise to the images that DDIM turns it into.

    Args:
        path: the path.
        steps: how many, evenly in time.

    Returns:
        The edit.
    """
    grid, step = grids.uniform(path, steps), ddim(path)
    return lambda denoise, keys, noise: sample(step, denoise, keys, noise, grid)


def stroke(path: Path, steps: int, begin: float) -> Edit:
    """SDEdit of a guide.

    Args:
        path: the path.
        steps: how many from noise to data; SDEdit makes the share `begin` of them.
        begin: how far the guide is noised, from 0 at the data to 1 at the noise.

    Returns:
        The edit.
    """
    start = time_at(path, begin)
    grid = grids.uniform(path, max(2, round(begin * steps)), start=start)
    step = ddim(path, eta=1.0)
    return lambda denoise, keys, guide: editing.sdedit(step, path, denoise, keys, guide, grid)


def filling(path: Path, steps: int, method: str, mask: np.ndarray, *, jump: int = 10, resamples: int = 10) -> Edit:
    """What known images may be where the mask is 0.

    Args:
        path: the path.
        steps: how many, evenly in time.
        method: ``"projection"`` (`jaxgen.guidance.inpaint`), ``"replacement"`` or ``"RePaint"``.
        mask: 1 where known, 0 where not, broadcastable to the images.
        jump: steps that RePaint jumps back.
        resamples: how often it draws each stretch.

    Returns:
        The edit.
    """
    seen, step, grid = jnp.asarray(mask), ddim(path, eta=1.0), grids.uniform(path, steps)
    if method == "RePaint":
        grid = grids.repaint(grid, jump, resamples)

    def fill(denoise: Denoise, keys: Key, known: Array) -> Array:
        shape = known.shape[1:]
        if method == "projection":
            return from_noise(path, guidance.inpaint(denoise, known, seen), step, grid, keys, shape)
        wrap = editing.repaint if method == "RePaint" else editing.replacement
        return from_noise(path, denoise, wrap(step, path, known, seen), grid, keys, shape)

    return fill
