"""Exact denoisers of laws known in closed form, on any path: a sampler that errs with these errs by itself.

`mixture` is the general law, `gaussian` a special case. `GAUSSIAN` and `MIXTURE` are the two of the tables.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key


class Oracle(NamedTuple):
    """A mixture of k normals in d dimensions: a tree of arrays, so that one compiled program serves several laws.

    Attributes: weights ``[k]``, means ``[k, d]``, variances ``[k, d]`` along the axes, the columns of ``[k, d, d]``.
    """

    weights: Array
    means: Array
    variances: Array
    axes: Array

    def denoiser(self, path: Path) -> Denoise:
        """The posterior mean ``(x_t [..., d], t) -> E[x0 | x_t]``.

        Component k of x_t has covariance ``alpha^2 C_k + sigma^2``, diagonal in the axes of ``C_k``. With ``p_k`` its
        probability given x_t, ``x0_hat = sum_k p_k (m_k + alpha C_k (alpha^2 C_k + sigma^2)^-1 (x_t - alpha m_k))``.
        """

        def denoise(x: Array, t: Array) -> Array:
            # As arrays of the precision of the day: programs made with and without float64 do not mix then.
            weights, means, variances, axes = (jnp.asarray(a) for a in self)
            a, s = path.alpha(t), path.sigma(t)
            spread = a**2 * variances + s**2
            along = jnp.einsum("...kd,kde->...ke", x[..., None, :] - a * means, axes, precision="highest")
            share = jax.nn.softmax(jnp.log(weights) - 0.5 * jnp.sum(along**2 / spread + jnp.log(spread), -1), -1)
            shrunk = jnp.einsum("...ke,kde->...kd", a * variances / spread * along, axes, precision="highest")
            return jnp.sum(share[..., None] * (means + shrunk), -2).astype(x.dtype)

        return denoise

    def draw(self, key: Key, n: int) -> Array:
        """Draws of x0, ``[n, d]``."""
        which, noise = jax.random.split(key)
        component = jax.random.choice(which, len(self.weights), (n,), p=jnp.asarray(self.weights))
        roots = jnp.asarray(self.axes * np.sqrt(self.variances)[:, None, :])
        standard = jax.random.normal(noise, (n, self.means.shape[1]))
        return jnp.asarray(self.means)[component] + jnp.einsum("nde,ne->nd", roots[component], standard)

    @property
    def mean(self) -> np.ndarray:
        """The mean of x0 ``[d]``."""
        return self.weights @ self.means

    @property
    def covariance(self) -> np.ndarray:
        """The covariance of x0 ``[d, d]``."""
        off = self.means - self.mean
        within = np.einsum("kde,ke,kfe->kdf", self.axes, self.variances, self.axes)
        return np.einsum("k,kde->de", self.weights, within + off[:, :, None] * off[:, None, :])


def mixture(weights, means, covariances) -> Oracle:
    """A mixture of k normals: weights ``[k]``, means ``[k, d]``, covariances ``[k, d, d]``."""
    weights, means, covariances = (np.asarray(a, np.float64) for a in (weights, means, covariances))
    return Oracle(weights, means, *np.linalg.eigh(covariances))


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
