"""Maps of intensities, one number in and one out: matched histograms, and the best lookup table of paired images."""

from typing import NamedTuple

import numpy as np

LEVELS = 256
"""Of a lookup table: as many as a byte has, so that images held as bytes are mapped exactly."""
MOST_PIXELS = 2**21
"""A histogram is taken of at most this number of evenly spaced pixels."""


class Lookup(NamedTuple):
    """A map of intensities, linear between its knots and constant outside of them.

    Attributes:
        knots: ascending intensities ``[k]`` of the source.
        values: ``[k, c]``, what each becomes in every channel of the target.
    """

    knots: np.ndarray
    values: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Images ``[n, *spatial, c]`` from sources ``[n, *spatial, s]``, whose channels are averaged."""
        grey = np.asarray(x, np.float64).mean(-1)
        mapped = [np.interp(grey, self.knots, column) for column in self.values.T]
        return np.stack(mapped, -1).astype(np.float32)


def histogram_match(source: np.ndarray, target: np.ndarray) -> Lookup:
    """The increasing map that gives the intensities of `source` the distribution of those of `target`; no pairs needed.

    ``f(x) = F_target^-1(F_source(x))``, F the share of pixels at or below a value.

    Args:
        source: images ``[n, *spatial, s]``, their channels averaged.
        target: images ``[m, *spatial, c]``, each channel by itself.

    Returns:
        The `Lookup`, with a knot at every value of the source.

    Reference:
        Gonzalez and Woods 2008, "Digital image processing", section 3.3.2.

    Example:
        >>> x = np.array([[0.0], [0.5], [1.0]])
        >>> histogram_match(x, x**2 + 1)(x).ravel().tolist()
        [1.0, 1.25, 2.0]
    """
    knots, share = _shares(_some(np.asarray(source, np.float64).mean(-1)))
    columns = []
    for channel in np.moveaxis(np.asarray(target), -1, 0):
        values, reached = _shares(_some(channel.astype(np.float64)))
        columns.append(np.interp(share, reached, values))
    return Lookup(knots, np.stack(columns, -1))


def lookup_table(source: np.ndarray, target: np.ndarray, *, levels: int = LEVELS) -> Lookup:
    """The lookup table of least squared error on paired images: the mean of the target at each level of the source.

    Any map of single intensities, increasing or not, is among its answers; what it leaves of the error needs the place
    of a pixel and its neighbours. Levels that never occur are interpolated.

    Args:
        source: images ``[n, *spatial, s]`` in [-1, 1], their channels averaged.
        target: their counterparts ``[n, *spatial, c]``.
        levels: of the source, evenly from -1 to 1.

    Returns:
        The `Lookup`.

    Raises:
        ValueError: if the images are no pairs.

    Example:
        >>> x = np.linspace(-1, 1, 5).reshape(1, 5, 1)
        >>> lookup_table(x, np.abs(x), levels=5)(x).ravel().tolist()
        [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    source, target = np.asarray(source), np.asarray(target)
    if source.shape[:-1] != target.shape[:-1]:
        raise ValueError(f"images of {source.shape} and of {target.shape} are no pairs")
    grid = np.linspace(-1, 1, levels)
    level = np.clip(np.round((source.mean(-1).ravel() + 1) / 2 * (levels - 1)), 0, levels - 1).astype(int)
    count = np.bincount(level, minlength=levels)
    seen = count > 0
    columns = []
    for channel in np.moveaxis(target, -1, 0):
        total = np.bincount(level, channel.ravel().astype(np.float64), minlength=levels)
        columns.append(total[seen] / count[seen])
    return Lookup(grid[seen], np.stack(columns, -1))


def _some(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: max(1, len(flat) // MOST_PIXELS)]


def _shares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that occur, ascending, and the share of all that is at or below each."""
    found, count = np.unique(values, return_counts=True)
    return found, np.cumsum(count) / len(values)
