"""A method of anomaly detection: from images to maps of anomalies, and to healthy versions of the images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.errors import UserError
from jaxgen.medical.anomaly.baselines import Detector, Residual, intensity, principal_residual, z_map
from jaxgen.medical.anomaly.scoring import absolute_residual, brighter_residual, clean, erode, foreground
from jaxgen.types import Key

FLOOR = -0.98
"""What is above it is foreground: a hundredth of the range [-1, 1]."""
RESIDUALS: Mapping[str, Residual] = {
    "absolute": absolute_residual,
    "brighter": brighter_residual,
    "darker": lambda x, restored: brighter_residual(restored, x),
}
"""What counts as a change, by the name of ``--residual``."""
COMPONENTS = (32, 128)
"""Principal components of the baselines."""


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


def by_map(detect: Detector, *, lowest: float = 0.0) -> Callable[..., Found]:
    """The run of a method that gives a map alone, counted from the least value that it can have.

    Args:
        detect: ``images [n, h, w, c] -> map [n, h, w]``.
        lowest: the least value.

    Example:
        >>> by_map(lambda x: x.mean(-1), lowest=-1.0)(None, np.array([[[[-1.0], [0.5]]]])).score.tolist()
        [[[0.0, 1.5]]]
    """
    return lambda key, x: Found(np.maximum(np.asarray(detect(x)) - lowest, 0))


def residual_of(name: str, channels: Sequence[int] | None = None) -> Residual:
    """What counts as a change, by its name; the map is the mean over some channels of the images, or over all.

    Args:
        name: one of `RESIDUALS`.
        channels: those that count, 0 the first; None for all.

    Example:
        >>> x = np.array([[[1.0, 3.0]]])
        >>> residual_of("absolute")(x, 0 * x).tolist(), residual_of("absolute", (1,))(x, 0 * x).tolist()
        ([[2.0]], [[3.0]])
    """
    change = RESIDUALS[name]
    if channels is None:
        return change
    chosen = list(channels)
    return lambda x, restored: change(x[..., chosen], restored[..., chosen])


def by_residual(
    residual: str, restore: Callable[..., np.ndarray], channels: Sequence[int] | None = None
) -> Callable[..., Found]:
    """The run of a method that restores images: what it changes is the anomaly.

    Args:
        residual: what counts as a change, one of `RESIDUALS`.
        restore: ``restore(key, images) -> healthy versions``, with a setting as the third argument if there are any.
        channels: those whose changes count; None for all.

    Example:
        >>> by_residual("brighter", lambda key, x: 0 * x)(None, np.array([[[[-1.0], [0.5]]]])).score.tolist()
        [[[0.0, 0.5]]]
    """
    change = residual_of(residual, channels)

    def run(key: Key, x: np.ndarray, *setting: Any) -> Found:
        restored = restore(key, x, *setting)
        return Found(change(x, restored), restored)

    return run


def cleaned(score: np.ndarray, x: np.ndarray, *, erosion: int = 0, median: int = 3) -> np.ndarray:
    """The map of images x as it is evaluated and as ``jaxgen apply`` writes it: filtered, and 0 in the background.

    Args:
        score: ``[n, h, w]``.
        x: images ``[n, h, w, c]`` in [-1, 1].
        erosion: layers of pixels taken off the foreground.
        median: width of the median filter in pixels, odd.

    Returns:
        ``[n, h, w]``.

    Example:
        >>> cleaned(np.array([[[3.0, 4.0]]]), np.array([[[[-1.0], [0.5]]]]), median=1).tolist()
        [[[0.0, 4.0]]]
    """
    within = erode(foreground(x, FLOOR), erosion)
    return clean(score, within, width=median)


def simple_methods(
    train: np.ndarray, residual: str = "absolute", channels: Sequence[int] | None = None
) -> list[Method]:
    """The baselines that need no network: brightness, z-scores and principal components.

    Args:
        train: healthy images ``[n, h, w, c]`` in [-1, 1].
        residual: what counts as a change, one of `RESIDUALS`.
        channels: those that count; None for all. Where several do, the brightness of each is a baseline of its own.

    Returns:
        The methods, which have no settings.

    Raises:
        UserError: without training images.

    Example:
        >>> [method.name for method in simple_methods(np.random.default_rng(0).normal(size=(130, 4, 4, 1)))]
        ['intensity', 'z-scores', 'pca-32', 'pca-128']
    """
    if not len(train):
        raise UserError(
            "the baselines are fitted to the images that the run was trained on, and these are others; "
            "evaluate other data with `jaxgen eval RUN --data OTHER`"
        )
    change, counted = residual_of(residual, channels), list(channels or range(train.shape[-1]))
    sign = -1.0 if residual == "darker" else 1.0

    def brightness(chosen: list[int]) -> Callable[..., Found]:
        return by_map(lambda x: sign * intensity(x[..., chosen]), lowest=-1.0)

    return [
        Method("intensity", brightness(counted)),
        *(Method(f"intensity, channel {k}", brightness([k])) for k in counted if len(counted) > 1),
        Method("z-scores", by_map(z_map(train, residual=change))),
        *(Method(f"pca-{n}", by_map(principal_residual(train, n, residual=change))) for n in COMPONENTS),
    ]
