"""What a scheduler describes: a path, a grid, what the network is told, and a method."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Step

Predict = Callable[[Array, Array], Array]
"""``predict(x, number) -> prediction``: a network, told the numbers that it was trained with."""


class Scheduler(NamedTuple):
    """What a scheduler describes.

    Sample with ``sample(s.step(predict), s.denoiser(predict), key, s.start * noise, s.grid)``. The grid of an inverse
    scheduler rises from data to noise: ``sample(s.step(predict), s.denoiser(predict), key, image, s.grid)``.

    Attributes:
        path: the path.
        prediction: what the network predicts, one of `jaxgen.paths.PREDICTIONS`.
        grid: the times ``[steps + 1]``, from noise to data.
        start: the standard deviation of the noise to start from.
        number: ``t -> the number the network is told``: straight between the times of the grid.
        denoiser: ``predict -> denoise``: with the network's scaling, its prediction turned into x0, and clipping.
        step: ``predict -> Step``: the method. Only learned variances need the network; otherwise None will do.
    """

    path: Path
    prediction: str
    grid: Array
    start: float
    number: Callable[[Array], Array]
    denoiser: Callable[[Predict], Denoise]
    step: Callable[[Predict | None], Step]


def regardless(step: Step) -> Callable[[Predict | None], Step]:
    """A step that is the same whatever the network."""
    return lambda predict: step


def interpolated(times: np.ndarray, numbers: np.ndarray) -> Callable[[Array], Array]:
    """``t -> number``, straight between the given times and constant beyond them."""
    # Of equal times the later one is asked first, and the grid of an inverse scheduler rises.
    order = len(times) - 1 - np.argsort(times[::-1], kind="stable")
    times, numbers = times[order], numbers[order].astype(float)

    def number(t: Array) -> Array:
        t = jnp.asarray(t)
        return jnp.interp(t, jnp.asarray(times, t.dtype), jnp.asarray(numbers, t.dtype))

    return number
