"""What a method must beat: brightness, z-scores and principal components, each a function from images to maps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgen.medical.anomaly.scoring import absolute_residual

Detector = Callable[[np.ndarray], np.ndarray]
"""``images [b, *spatial, c] -> map [b, *spatial]``, higher where more anomalous."""
Residual = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(images [b, *spatial, c], what a model makes of them) -> map [b, *spatial]``."""


class Principal(NamedTuple):
    """Principal components: the linear autoencoder of least squared error.

    Attributes:
        mean: ``[d]``.
        axes: ``[d, code]``, orthonormal columns.
    """

    mean: np.ndarray
    axes: np.ndarray

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Codes ``[n, code]`` of images ``[n, *shape]``."""
        return (x.reshape(len(x), -1) - self.mean) @ self.axes

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images had back from their codes, within [-1, 1]."""
        flat = self.mean + self.encode(x) @ self.axes.T
        return np.clip(flat, -1, 1).reshape(x.shape).astype(np.float32)


def principal_components(train: np.ndarray, code: int) -> Principal:
    """The first principal components of a set of images; at most one fewer than there are images.

    Args:
        train: images ``[n, *shape]``.
        code: how many components.

    Returns:
        The `Principal`.

    Example:
        >>> line = np.outer(np.linspace(-0.5, 0.5, 5), [0.6, 0.8])
        >>> bool(np.allclose(principal_components(line, 1).reconstruct(line), line))
        True
    """
    flat = train.reshape(len(train), -1).astype(np.float64)
    mean = flat.mean(0)
    flat = flat - mean
    # From the smaller of the two Gram matrices: images have more pixels than there are images.
    values, vectors = np.linalg.eigh(flat @ flat.T if len(flat) <= flat.shape[1] else flat.T @ flat)
    kept = np.argsort(values)[::-1][: min(code, len(flat) - 1, flat.shape[1])]
    axes = vectors[:, kept]
    if len(flat) <= flat.shape[1]:
        axes = flat.T @ axes / np.sqrt(np.maximum(values[kept], 1e-12))
    return Principal(mean, axes)


def intensity(x: np.ndarray) -> np.ndarray:
    """Brightness itself, ``mean_c x``: a lesion that is the brightest thing in the image needs no model.

    Args:
        x: images ``[b, *spatial, c]``.

    Returns:
        ``[b, *spatial]``.

    Example:
        >>> intensity(np.array([[[1.0, 3.0]]])).tolist()
        [[2.0]]
    """
    return x.mean(-1)


def z_map(train: np.ndarray, *, least_deviation: float = 0.04, residual: Residual = absolute_residual) -> Detector:
    """How far each pixel lies from the mean of the healthy images there: ``mean_c |x - mean| / (deviation + least)``.

    Args:
        train: healthy images, aligned, ``[n, *spatial, c]``.
        least_deviation: added to the deviation, so that the background counts little; in the unit of the images. Its
            default is 2 % of a range of 2.
        residual: of x and of the mean, both over that deviation; `jaxgen.medical.anomaly.brighter_residual` counts what
            is above the mean alone.

    Returns:
        A detector.

    Example:
        >>> z_map(np.zeros((3, 2, 1)))(np.array([[[0.04], [0.08]]])).tolist()
        [[1.0, 2.0]]
    """
    mean, deviation = train.mean(0), train.std(0) + least_deviation
    return lambda x: residual(x / deviation, mean / deviation)


def principal_residual(train: np.ndarray, code: int, *, residual: Residual = absolute_residual) -> Detector:
    """What the principal components of healthy images cannot give back: ``mean_c |x - reconstruction|``.

    Args:
        train: healthy images, aligned, ``[n, *spatial, c]``, in [-1, 1].
        code: how many components; cut to one fewer than there are images.
        residual: of x and of what is given back, ``mean_c |x - reconstruction|`` unless told otherwise.

    Returns:
        A detector.

    Example:
        >>> line = np.outer(np.linspace(-0.5, 0.5, 5), [0.6, 0.8])[..., None]
        >>> bool(np.allclose(principal_residual(line, 1)(line), 0, atol=1e-6))
        True
    """
    principal = principal_components(train, min(code, len(train) - 1))
    return lambda x: residual(x, principal.reconstruct(x))
