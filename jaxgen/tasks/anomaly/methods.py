"""A method of anomaly detection: from images to maps of anomalies, and to healthy versions of the images."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxgen.experiment import Run, chosen_number
from jaxgen.medical import anomaly
from jaxgen.tasks import images
from jaxgen.types import Array, Key, Params

FLOOR = -0.98
"""What is above it is foreground: a hundredth of the range [-1, 1]."""
RESIDUALS: Mapping[str, anomaly.Residual] = {
    "absolute": anomaly.absolute_residual,
    "brighter": anomaly.brighter_residual,
    "darker": lambda x, restored: anomaly.brighter_residual(restored, x),
}
"""What counts as a change, by the name of ``--residual``."""


class Found(NamedTuple):
    """What a method finds in images.

    Attributes:
        score: the map of anomalies ``[n, h, w]``, 0 or more; that of an image is the same in any set.
        restored: healthy versions of the images ``[n, h, w, c]``, or None.
    """

    score: np.ndarray
    restored: np.ndarray | None = None


class Method(NamedTuple):
    """One row of the table: a way to find anomalies.

    Attributes:
        name: the name of the row.
        run: ``run(key, images [n, h, w, c] in [-1, 1]) -> Found``; with settings ``run(key, images, setting)``.
        settings: those to choose from on validation images with artificial anomalies: numbers, or tuples with named
            fields; empty where there is nothing to choose.
        short: the name in ``chosen.json`` and in figures of settings, if that is another.
    """

    name: str
    run: Callable[..., Found]
    settings: tuple[Any, ...] = ()
    short: str = ""

    @property
    def short_name(self) -> str:
        """The name in ``chosen.json``."""
        return self.short or self.name

    def at(self, setting: Any) -> "Method":
        """The method with a setting that is fixed."""

        def run(key: Key, x: np.ndarray) -> Found:
            return self.run(key, x, setting)

        return self._replace(run=run, settings=())


def by_map(detect: anomaly.Detector, *, lowest: float = 0.0) -> Callable[..., Found]:
    """The run of a method that gives a map alone, counted from `lowest`, the least value that it can have."""
    return lambda key, x: Found(np.maximum(np.asarray(detect(x)) - lowest, 0))


def by_residual(residual: str, restore: Callable[..., np.ndarray]) -> Callable[..., Found]:
    """The run of a method that restores images: what it changes is the anomaly.

    Args:
        residual: what counts as a change, one of `RESIDUALS`.
        restore: ``restore(key, images) -> healthy versions``, with a setting as the third argument if there are any.
    """

    def run(key: Key, x: np.ndarray, *setting: Any) -> Found:
        restored = restore(key, x, *setting)
        return Found(RESIDUALS[residual](x, restored), restored)

    return run


def by_network(run: Run, restore: Callable[..., Array], params: Params) -> Callable[..., Found]:
    """The run of a method that restores images: ``restore(params, images [b, h, w, c])``, compiled, in chunks.

    With settings ``restore(params, images, setting)``, and the setting is an argument of one compiled program.
    """
    jitted = jax.jit(restore)

    def restored(key: Key, x: np.ndarray, *setting: Any) -> np.ndarray:
        return images.in_chunks(lambda x: jitted(params, x, *setting), len(x), run.config.chunk, x)

    return by_residual(run.config.residual, restored)


def in_chunks(run: Run, function: Callable[..., Array], params: Params) -> Callable[..., np.ndarray]:
    """``function(params, *arrays)`` compiled, of arrays of any number of examples, ``config.chunk`` at once."""
    jitted = functools.partial(jax.jit(function), params)
    return lambda *arrays: images.in_chunks(jitted, len(arrays[0]), run.config.chunk, *arrays)


def cleaned(score: np.ndarray, x: np.ndarray, *, erosion: int = 0, median: int = 3) -> np.ndarray:
    """The map of images x as it is evaluated and as ``jaxgen apply`` writes it: filtered, and 0 in the background.

    Args:
        score: ``[n, h, w]``.
        x: images ``[n, h, w, c]`` in [-1, 1].
        erosion: layers of pixels taken off the foreground.
        median: width of the median filter in pixels, odd.

    Returns:
        ``[n, h, w]``.
    """
    within = anomaly.erode(anomaly.foreground(x, FLOOR), erosion)
    return anomaly.clean(score, within, width=median)


def at_chosen(run: Run, method: Method) -> Method:
    """The method at the setting that the run's evaluation chose; before an evaluation, at the middle one."""
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
