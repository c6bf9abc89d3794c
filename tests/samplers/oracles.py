"""Exact denoisers of laws known in closed form, on any path: a sampler that errs with these errs by itself.

`mixture` is the general law, `gaussian` a special case. `GAUSSIAN` and `MIXTURE` are the two of the tables.
"""

import jax
import numpy as np

from jaxgen import mixtures
from jaxgen.mixtures import Mixture
from jaxgen.paths import Path
from jaxgen.types import Array, Key


class Oracle(Mixture):
    """A mixture of k normals in d dimensions."""

    draw = Mixture.sample


def mixture(weights, means, covariances) -> Oracle:
    """A mixture of k normals: weights ``[k]``, means ``[k, d]``, covariances ``[k, d, d]``."""
    return Oracle(*mixtures.mixture(weights, means, covariances))


def gaussian(mean, covariance) -> Oracle:
    """A normal law, mean ``[d]`` and covariance ``[d, d]``, as two equal halves: the shapes of a mixture of two."""
    return mixture([0.5, 0.5], [mean, mean], [covariance, covariance])


GAUSSIAN = gaussian([1.0, -0.5], [[1.032, 0.624], [0.624, 0.668]])  # standard deviations 1.22 and 0.45 along its axes
MIXTURE = mixture([0.6, 0.4], [[-1.0, 0.5], [1.5, 0.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.4]]])


def start(path: Path, oracle: Oracle, key: Key, n: int, t=None) -> Array:
    """Draws ``[n, d]`` of x_t, at the noise end unless told: what is left in a law is then the sampler's own error."""
    t = path.t_noise if t is None else t
    clean, noise = jax.random.split(key)
    x0 = oracle.draw(clean, n)
    return path.alpha(t) * x0 + path.sigma(t) * jax.random.normal(noise, x0.shape)


def flow(path: Path, oracle: Oracle, x, start=None, end=None) -> np.ndarray:
    """Where the probability flow of a `gaussian` carries x ``[..., d]``, from end to end unless told, in float64."""
    variances, axes = np.linalg.eigh(oracle.covariance)
    start, end = path.t_noise if start is None else start, path.t_data if end is None else end
    (a, s), (b, r) = ((np.float64(path.alpha(t)), np.float64(path.sigma(t))) for t in (start, end))
    along = (np.asarray(x, np.float64) - a * oracle.mean) @ axes
    return b * oracle.mean + (along * np.sqrt((b**2 * variances + r**2) / (a**2 * variances + s**2))) @ axes.T


def misfit(samples, mean, covariance) -> float:
    """The largest error of the samples' mean and covariance entries, in standard errors estimated from the samples."""
    off = np.asarray(samples, np.float64) - mean
    products = np.concatenate([off, (off[:, :, None] * off[:, None, :]).reshape(len(off), -1)], 1)
    errors = products.mean(0) - np.concatenate([np.zeros(off.shape[1]), np.ravel(covariance)])
    return float(np.max(np.abs(errors) / (products.std(0) / np.sqrt(len(off)))))


def law(path: Path, oracle: Oracle, t=None) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of x_t, at the data end unless told."""
    t = path.t_data if t is None else t
    a, s = np.float64(path.alpha(t)), np.float64(path.sigma(t))
    return a * oracle.mean, a**2 * oracle.covariance + s**2 * np.eye(len(oracle.mean))
