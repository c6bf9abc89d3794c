"""Volumes, compared slice by slice in three planes with the features of images.

Features of whole volumes need nothing of this: an extractor of volumes, such as `jaxgen.interop.resnet.medicalnet`,
goes with `jaxgen.metrics.features.extract` as it is.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from jaxgen.metrics.features import Extractor, Features, extract

PLANES = ("yz", "xz", "xy")
"""The planes of slices across the first, second and third spatial axis."""


class ByPlane(NamedTuple):
    """A metric of slices in three planes.

    Attributes:
        mean: over the planes.
        planes: the value of each, by the axes in it: ``"yz"``, ``"xz"`` and ``"xy"``.
    """

    mean: float
    planes: dict[str, float]


def slices(volumes: np.ndarray, axis: int, *, share: float = 0.5, step: int = 1) -> np.ndarray:
    """The slices across an axis, of the middle part of volumes.

    Args:
        volumes: ``[n, x, y, z, c]``.
        axis: across which, 0 to 2.
        share: of the axis that is taken, about its middle; slices at the ends are mostly empty.
        step: take every `step`-th slice; neighbouring ones are much alike.

    Returns:
        ``[n * k, ...]``: images of the other two axes, those of one volume one after the other.

    Raises:
        ValueError: if these are no volumes, or an option is out of range.

    Example:
        >>> volumes = np.arange(2 * 4).reshape(2, 4, 1, 1, 1)
        >>> slices(volumes, 0)[:, 0, 0, 0].tolist()
        [1, 2, 5, 6]
    """
    chosen = _chosen(volumes.shape, axis, share, step)
    taken = np.moveaxis(np.take(volumes, chosen, axis=axis + 1), axis + 1, 1)
    return taken.reshape(-1, *taken.shape[2:])


def _chosen(shape: tuple[int, ...], axis: int, share: float, step: int) -> np.ndarray:
    if len(shape) != 5 or not 0 <= axis < 3 or not 0 < share <= 1 or step < 1:
        raise ValueError(
            f"needs volumes [n, x, y, z, c], axis 0 to 2 and share in (0, 1], got {shape}, {axis}, {share}"
        )
    length = shape[axis + 1]
    count = max(1, round(share * length))
    return np.arange((length - count) // 2, (length - count) // 2 + count, step)


class _Slices:
    """The slices of volumes as a sequence that makes them when they are asked for."""

    def __init__(self, volumes: np.ndarray, axis: int, share: float, step: int) -> None:
        self._volumes, self._axis = volumes, axis
        self._chosen = _chosen(volumes.shape, axis, share, step)

    def __len__(self) -> int:
        return len(self._volumes) * len(self._chosen)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.stack(list(self._some(part)))

    def _some(self, part: slice) -> Iterator[np.ndarray]:
        for i in range(*part.indices(len(self))):
            volume, place = divmod(i, len(self._chosen))
            yield np.take(self._volumes[volume], self._chosen[place], axis=self._axis)


def extract_slices(
    extractor: Extractor, volumes: np.ndarray, axis: int, *, share: float = 0.5, step: int = 1, batch: int = 32
) -> Features:
    """Features of the slices across an axis, without a copy of all of them.

    Args:
        extractor: of images.
        volumes: ``[n, x, y, z, c]`` in [-1, 1]; may be memory-mapped.
        axis: see `slices`.
        share: see `slices`.
        step: see `slices`.
        batch: slices at once.

    Returns:
        The `Features` of ``n * k`` slices.

    Raises:
        ValueError: see `slices`.
    """
    return extract(extractor, _Slices(volumes, axis, share, step), batch=batch)


def by_planes(
    metric: Callable[[Features, Features], float],
    extractor: Extractor,
    real: np.ndarray,
    generated: np.ndarray,
    *,
    share: float = 0.5,
    step: int = 1,
    batch: int = 32,
) -> ByPlane:
    """A metric of the slices of two sets of volumes, in each of the three planes, and its mean.

    Slices of one volume are not independent: intervals that count slices as examples are too narrow.

    Args:
        metric: ``metric(real features, generated features) -> number``, such as
            ``lambda a, b: frechet(a, b).value``.
        extractor: of images.
        real: ``[n, x, y, z, c]`` in [-1, 1].
        generated: ``[m, x, y, z, c]``.
        share: see `slices`.
        step: see `slices`.
        batch: slices at once.

    Returns:
        The value of each plane, and their mean.

    Raises:
        ValueError: see `slices`.

    Reference:
        Guo et al. 2025, "MAISI: medical AI for synthetic imaging", arXiv 2409.11169, whose Frechet distance is the
        mean over three planes.

    Example:
        >>> from jaxgen.metrics.features import frechet, pixels
        >>> real, generated = np.random.default_rng(0).uniform(-1, 1, (2, 6, 4, 4, 4, 1))
        >>> sorted(by_planes(lambda a, b: frechet(a, b).value, pixels(), real, generated).planes)
        ['xy', 'xz', 'yz']
    """
    found = {
        name: float(
            metric(
                *(extract_slices(extractor, v, axis, share=share, step=step, batch=batch) for v in (real, generated))
            )
        )
        for axis, name in enumerate(PLANES)
    }
    return ByPlane(float(np.mean(list(found.values()))), found)
