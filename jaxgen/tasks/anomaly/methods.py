"""The methods of a run: by its trained networks, in chunks, and at the settings that its evaluation chose."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxgen.experiment import Run, chosen_number
from jaxgen.medical.anomaly import Found, Method, by_residual
from jaxgen.tasks import images
from jaxgen.types import Array, Key, Params


def by_network(run: Run, restore: Callable[..., Array], params: Params) -> Callable[..., Found]:
    """What finds anomalies with a network that restores images: the error of ``restore(params, images [b, h, w, c])``.

    It is the second field of a `Method`. The function is compiled once and computed in chunks. If the method has
    settings it is ``restore(params, images, setting)``, compiled once for all of them.
    """
    jitted = jax.jit(restore)

    def restored(key: Key, x: np.ndarray, *setting: Any) -> np.ndarray:
        return images.in_chunks(lambda x: jitted(params, x, *setting), len(x), run.config.chunk, x)

    return by_residual(run.config.residual, restored, run.config.score_channels)


def in_chunks(run: Run, function: Callable[..., Array], params: Params) -> Callable[..., np.ndarray]:
    """``function(params, *arrays)`` compiled, of arrays of any number of examples, ``config.chunk`` at once."""
    jitted = functools.partial(jax.jit(function), params)
    return lambda *arrays: images.in_chunks(jitted, len(arrays[0]), run.config.chunk, *arrays)


def draw_in_chunks(run: Run, function: Callable[..., Array], params: Params) -> Callable[..., np.ndarray]:
    """``function(params, keys, *arrays)`` in the same way, as a function of one key and the arrays."""
    jitted = functools.partial(jax.jit(function), params)
    return lambda key, *arrays: images.draw_in_chunks(run, jitted, key, len(arrays[0]), *arrays)


def at_chosen(run: Run, method: Method) -> Method:
    """The method at the setting that the run's evaluation chose; before an evaluation, at the middle one.

    Example:
        >>> method = Method("blur", lambda key, images, width: width, settings=(1.0, 2.0, 4.0), short="blur")
        >>> [at_chosen(Run(None, None, {}, chosen=chosen), method).run(None, None) for chosen in ({}, {"blur": 4.0})]
        [2.0, 4.0]
    """
    if not method.settings:
        return method
    number = functools.partial(chosen_number, run, method.short_name)
    if not hasattr(method.settings[0], "_fields"):
        return method.at(number(default=_middle(method.settings)))
    names = method.settings[0]._fields
    values = {name: {getattr(setting, name) for setting in method.settings} for name in names}
    return method.at(type(method.settings[0])(*(number(name, default=_middle(values[name])) for name in names)))


def _middle(values: Any) -> float:
    return sorted(values)[len(values) // 2]
