"""What a method must beat: brightness, z-scores and principal components, each a function from images to maps."""

from collections.abc import Callable

import numpy as np

from jaxgen.baselines import principal_components
from jaxgen.medical.anomaly.scoring import absolute_residual

Detector = Callable[[np.ndarray], np.ndarray]
"""``images [b, *spatial, c] -> map [b, *spatial]``, higher where more anomalous."""
Residual = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(images [b, *spatial, c], what a model makes of them) -> map [b, *spatial]``."""


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


def z_map(train: np.ndarray, *, least_std: float = 0.04, residual: Residual = absolute_residual) -> Detector:
    """How far each pixel lies from the mean of the healthy images there: ``mean_c |x - mean| / (deviation + least)``.

    Args:
        train: healthy images, aligned, ``[n, *spatial, c]``.
        least_std: added to the standard deviation, so that the background counts little; in the unit of the images. Its
            default is 2 % of a range of 2.
        residual: of x and of the mean, both over that standard deviation; `jaxgen.medical.anomaly.brighter_residual`
            counts what is above the mean alone.

    Returns:
        A detector.

    Example:
        >>> z_map(np.zeros((3, 2, 1)))(np.array([[[0.04], [0.08]]])).tolist()
        [[1.0, 2.0]]
    """
    mean, deviation = train.mean(0), train.std(0) + least_std
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
