"""Baselines of a set of images or points: principal components, and the Gaussian with their mean and covariance."""

import math
from typing import NamedTuple

import numpy as np


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
        """Images reconstructed from their codes, within [-1, 1]."""
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


class Gaussian(NamedTuple):
    """A Gaussian in few dimensions.

    Attributes:
        mean: ``[d]``.
        covariance: ``[d, d]``, of full rank.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """The log-density ``[n]`` of points ``[n, d]``, in nats.

        Example:
            >>> Gaussian(np.zeros(2), np.eye(2) / (2 * np.pi)).log_prob(np.zeros((1, 2))).round(6) + 0.0
            array([0.])
        """
        off = x - self.mean
        square = np.einsum("ni,ij,nj->n", off, np.linalg.inv(self.covariance), off)
        return -0.5 * (square + np.linalg.slogdet(self.covariance)[1]) - len(self.mean) / 2 * np.log(2 * np.pi)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Points ``[n, d]``, float32.

        Example:
            >>> Gaussian(np.zeros(2), np.eye(2)).draw(3, seed=0).shape
            (3, 2)
        """
        return np.random.default_rng(seed).multivariate_normal(self.mean, self.covariance, n).astype(np.float32)


def gaussian_images(train: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The baseline: images drawn from the Gaussian with the mean and the covariance of the training images."""
    flat = train.reshape(len(train), -1).astype(np.float64)
    mean = flat.mean(0)
    weights_ = np.random.default_rng(seed).standard_normal((n, len(flat))) / np.sqrt(max(1, len(flat) - 1))
    return np.clip(mean + weights_ @ (flat - mean), -1, 1).reshape(n, *train.shape[1:]).astype(np.float32)


def gaussian_log_prob(train: np.ndarray, validation: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The log-density ``[b]`` under a Gaussian with a few principal directions and equal variance in all others.

    The number of directions is the one under which the validation images are most likely. Tipping & Bishop 1999,
    "Probabilistic principal component analysis", eq. 7 and 8.
    """
    flat = [a.reshape(len(a), -1).astype(np.float64) for a in (train, validation, x)]
    mean, d = flat[0].mean(0), flat[0].shape[1]
    _, singular, directions = np.linalg.svd(flat[0] - mean, full_matrices=False)
    variance = singular**2 / len(train)

    def log_density(a: np.ndarray, q: int) -> np.ndarray:
        rest = max(variance[q:].sum() / (d - q), 1e-8)
        off = a - mean
        along = off @ directions[:q].T
        square = (along**2 / variance[:q]).sum(1) + ((off**2).sum(1) - (along**2).sum(1)) / rest
        return -0.5 * (square + np.log(variance[:q]).sum() + (d - q) * math.log(rest) + d * math.log(2 * math.pi))

    most = int((variance > 1e-8).sum()) - 1
    candidates = np.unique(np.clip([1, 2, 4, 8, 16, 32, 64, 128, 256], 1, max(1, min(most, d - 1))))
    best = max(candidates, key=lambda q: log_density(flat[1], q).mean())
    return log_density(flat[2], best)
