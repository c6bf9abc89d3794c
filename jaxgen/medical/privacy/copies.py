"""Copies among generated images: by correlation of embeddings, and by the known codes of computed people."""

import numpy as np
from numpy.typing import ArrayLike


def correlations(samples: ArrayLike, train: ArrayLike) -> np.ndarray:
    """The highest correlation of each sample's embedding with those of the training set.

    Args:
        samples: ``[n, d]``.
        train: ``[m, d]``.

    Returns:
        ``[n]`` in [-1, 1].

    Example:
        >>> correlations([[0.0, 1.0, 2.0]], [[5.0, 4.0, 3.0], [1.0, 2.0, 3.0]]).round(6).tolist()
        [1.0]
    """
    a, b = (np.asarray(x, np.float64) for x in (samples, train))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    return np.max(a @ b.T, axis=1)


def correlated_copies(samples: ArrayLike, train: ArrayLike, held_out: ArrayLike, quantile: float = 0.95) -> float:
    """The share of samples that correlate more with a training image than most held-out images do.

    Args:
        samples: embeddings ``[n, d]``.
        train: ``[m, d]``.
        held_out: of real images of other people, ``[k, d]``.
        quantile: the share of held-out images that stay below the threshold.

    Returns:
        The share; for samples of the true distribution ``1 - quantile``.

    Reference:
        Dar et al. 2023, "Investigating data memorization in 3D latent diffusion models for medical image synthesis",
        arXiv 2307.01148, section 2.3.

    Example:
        >>> train = np.array([[0.0, 1.0, 0.0, -1.0]])
        >>> correlated_copies(train, train, [[1.0, 0.0, -1.0, 0.0], [1.0, 1.0, -1.0, -1.0]])
        1.0
    """
    return float(np.mean(correlations(samples, train) > np.quantile(correlations(held_out, train), quantile)))


def code_distance(measured: ArrayLike, code: ArrayLike, spread: ArrayLike) -> np.ndarray:
    """How far codes that were measured lie from each known code, in standard errors of the measurement.

    ``d(m, c) = sqrt(mean_j ((m_j - c_j) / s_j)^2)``, about 1 for images of the person whose code it is.

    Args:
        measured: codes measured in images, ``[n, d]``.
        code: the known codes, ``[m, d]``.
        spread: the standard error of each entry, ``[d]``.

    Returns:
        ``[n, m]``.

    Example:
        >>> code_distance([[0.0, 0.0]], [[0.1, 0.2], [1.0, 0.0]], [0.1, 0.2]).round(3).tolist()
        [[1.0, 7.071]]
    """
    a, b = (np.asarray(x, np.float64) / np.asarray(spread) for x in (measured, code))
    square = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return np.sqrt(np.maximum(square, 0) / a.shape[1])
