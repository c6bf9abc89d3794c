"""Mixtures of Gaussians, and single Gaussians: data of which everything is known.

The distribution of x_t on a Gaussian path is again a mixture (`Mixture.noised`), so density, score and posterior mean
are closed forms at every noise level. A sampler that errs with the exact denoiser errs by itself, not by its network.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key


class Mixture(NamedTuple):
    """A mixture of k Gaussians in d dimensions, ``sum_k w_k N(m_k, C_k)`` with ``C_k = U_k diag(v_k) U_k'``.

    It is a tree of arrays: one compiled program serves several mixtures of the same shape. `mixture` and `gaussian`
    make it from covariances.

    Attributes:
        weights: the probabilities w ``[k]``, which add up to 1.
        means: ``[k, d]``.
        variances: v ``[k, d]``, above 0, along the axes.
        axes: U ``[k, d, d]``, whose columns are orthonormal.
    """

    weights: Array | np.ndarray
    means: Array | np.ndarray
    variances: Array | np.ndarray
    axes: Array | np.ndarray

    @property
    def mean(self) -> Array | np.ndarray:
        """The mean ``[d]``: ``sum_k w_k m_k``.

        Example:
            >>> mixture([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]]).mean.tolist()
            [1.0]
        """
        return self.weights @ self.means

    @property
    def covariance(self) -> Array | np.ndarray:
        """The covariance ``[d, d]``: ``sum_k w_k (C_k + (m_k - m) (m_k - m)')``.

        Example:
            >>> mixture([0.5, 0.5], [[0.0], [2.0]], [[[1.0]], [[1.0]]]).covariance.tolist()
            [[2.0]]
        """
        off = self.means - self.mean
        within = (self.axes * self.variances[:, None, :]) @ self.axes.swapaxes(-1, -2)
        return (self.weights[:, None, None] * (within + off[:, :, None] * off[:, None, :])).sum(0)

    def noised(self, path: Path, t: Array | float) -> "Mixture":
        """The distribution of ``x_t = alpha x0 + sigma noise``: ``sum_k w_k N(alpha m_k, alpha^2 C_k + sigma^2)``.

        Args:
            path: the path.
            t: one time.

        Returns:
            A mixture with the same weights and axes.

        Example:
            >>> from jaxgen.paths import rectified
            >>> noised = gaussian([2.0], [[3.0]]).noised(rectified(), 0.5)
            >>> noised.mean.tolist(), noised.covariance.tolist()
            ([1.0], [[1.0]])
        """
        a, s = path.alpha(t), path.sigma(t)
        return Mixture(self.weights, a * self.means, a**2 * self.variances + s**2, self.axes)

    def sample(self, key: Key, n: int) -> Array:
        """Draws.

        Args:
            key: one key, or keys ``[n]``, one for each draw.
            n: how many.

        Returns:
            ``[n, d]``.

        Example:
            >>> gaussian([2.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]).sample(jax.random.key(0), 3).shape
            (3, 2)
        """
        which, noise = draws.split(key, 2)
        dtype = jnp.result_type(float)
        cumulative = jnp.cumsum(jnp.asarray(self.weights, dtype))
        component = jnp.searchsorted(cumulative, cumulative[-1] * (1 - draws.uniform(which, (n,), dtype)))
        roots = jnp.asarray(self.axes * self.variances[:, None, :] ** 0.5)
        standard = draws.normal(noise, (n, self.means.shape[1]), dtype)
        along = jnp.einsum("nde,ne->nd", roots[component], standard, precision="highest")
        return jnp.asarray(self.means)[component] + along

    def log_prob(self, x: Array) -> Array:
        """The log-density in nats: ``log sum_k w_k N(x; m_k, C_k)``.

        Args:
            x: points ``[..., d]``.

        Returns:
            ``[...]``.

        Example:
            >>> round(float(gaussian([0.0], [[1.0]]).log_prob(jnp.zeros(1))), 4)  # -log(2 pi) / 2
            -0.9189
        """
        return jax.nn.logsumexp(self._log_parts(self._along(x)), -1)

    def score(self, x: Array) -> Array:
        """The gradient of the log-density: ``-sum_k p_k C_k^-1 (x - m_k)``, with p_k the probability of part k given x.

        Args:
            x: points ``[..., d]``.

        Returns:
            ``[..., d]``, of the dtype of x.

        Example:
            >>> gaussian([1.0], [[2.0]]).score(jnp.array([3.0])).tolist()
            [-1.0]
        """
        along = self._along(x)
        share = jax.nn.softmax(self._log_parts(along), -1)
        return -self._across(share, along / self.variances).astype(x.dtype)

    def denoiser(self, path: Path) -> Denoise:
        """The exact denoiser on a path, the posterior mean of the data.

        ``x0_hat = sum_k p_k (m_k + alpha C_k (alpha^2 C_k + sigma^2)^-1 (x_t - alpha m_k))`` with p_k the probability
        of part k given x_t. By Tweedie's formula it is ``(x_t + sigma^2 score(x_t)) / alpha``, but finite at alpha = 0.

        Args:
            path: the path.

        Returns:
            ``(x_t [..., d], t) -> E[x0 | x_t]``, of the dtype of x_t.

        Reference:
            Efron 2011, "Tweedie's formula and selection bias", eq. 1.4, for the relation to the score.

        Example:
            >>> from jaxgen.paths import rectified
            >>> gaussian([0.0], [[1.0]]).denoiser(rectified())(jnp.array([1.0]), 0.5).tolist()
            [1.0]
        """
        clean = jax.tree.map(jnp.asarray, self)  # in the precision of now, whatever traces this later

        def denoise(x: Array, t: Array) -> Array:
            noised = clean.noised(path, t)
            along = noised._along(x)
            share = jax.nn.softmax(noised._log_parts(along), -1)
            shrunk = clean._across(share, path.alpha(t) * clean.variances / noised.variances * along)
            return (jnp.sum(share[..., None] * clean.means, -2) + shrunk).astype(x.dtype)

        return denoise

    def flow(self, path: Path, x: Array, start: float | None = None, end: float | None = None) -> Array:
        """Where the probability flow carries points, for a mixture of one part alone (a Gaussian).

        Along each axis of the covariance, with variances ``V_t = alpha_t^2 v + sigma_t^2``:
        ``x_s = alpha_s m + sqrt(V_s / V_t) (x_t - alpha_t m)``.

        Args:
            path: the path.
            x: points ``[..., d]`` at `start`.
            start: the time of x, None for the noise end.
            end: the time to carry them to, None for the data end.

        Returns:
            ``[..., d]``.

        Raises:
            ValueError: if there are several parts: then the flow has no closed form.

        Reference:
            Song et al. 2021, "Score-based generative modeling through SDEs", eq. 13, solved for a Gaussian.

        Example:
            >>> from jaxgen.paths import rectified
            >>> gaussian([1.0], [[4.0]]).flow(rectified(), jnp.array([1.0])).tolist()
            [3.0]
        """
        if len(self.weights) != 1:
            raise ValueError(f"a mixture of {len(self.weights)} parts: only a Gaussian has a flow in closed form")
        before = self.noised(path, path.t_noise if start is None else start)
        after = self.noised(path, path.t_data if end is None else end)
        stretched = before._along(x) * jnp.sqrt(after.variances / before.variances)
        return after.means[0] + self._across(jnp.ones((1,), stretched.dtype), stretched)

    def _along(self, x: Array) -> Array:
        """Coordinates of x in the axes of each part, from its mean: ``[..., k, d]``."""
        return jnp.einsum("...kd,kde->...ke", x[..., None, :] - self.means, self.axes, precision="highest")

    def _across(self, share: Array, along: Array) -> Array:
        """Back from the axes of each part, added up with their shares ``[..., k]``: ``[..., d]``."""
        return jnp.einsum("...k,...ke,kde->...d", share, along, self.axes, precision="highest")

    def _log_parts(self, along: Array) -> Array:
        """The logarithm of each part's share of the density, ``[..., k]``."""
        spread = jnp.asarray(2 * jnp.pi * self.variances)
        return jnp.log(self.weights) - 0.5 * jnp.sum(along**2 / self.variances + jnp.log(spread), -1)


def mixture(weights: Any, means: Any, covariances: Any) -> Mixture:
    """A mixture of k Gaussians.

    Args:
        weights: probabilities ``[k]``; they are made to add up to 1.
        means: ``[k, d]``.
        covariances: symmetric and positive definite, ``[k, d, d]``.

    Returns:
        The mixture, in float64 NumPy arrays: it computes in the precision that JAX is set to.

    Raises:
        ValueError: if shapes do not fit, or a weight or a variance is not above 0.

    Example:
        >>> mixed = mixture([1, 3], [[0.0, 0.0], [4.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]] * 2)
        >>> mixed.mean.tolist()
        [3.0, 0.0]
    """
    weights, means, covariances = (np.asarray(a, np.float64) for a in (weights, means, covariances))
    if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape != (*means.shape, means.shape[1]):
        shapes = f"{weights.shape}, {means.shape} and {covariances.shape}"
        raise ValueError(f"weights, means and covariances must be [k], [k, d] and [k, d, d], got {shapes}")
    variances, axes = map(np.asarray, np.linalg.eigh(covariances))
    if not (weights > 0).all() or not (variances > 0).all():
        raise ValueError("every weight, and every variance along an axis, must be above 0")
    return Mixture(weights / weights.sum(), means, variances, axes)


def gaussian(mean: Any, covariance: Any) -> Mixture:
    """A Gaussian, as a mixture of one part.

    Args:
        mean: ``[d]``.
        covariance: symmetric and positive definite, ``[d, d]``.

    Returns:
        The mixture.

    Raises:
        ValueError: if shapes do not fit, or a variance is not above 0.

    Example:
        >>> gaussian([0.0, 1.0], [[1.0, 0.0], [0.0, 4.0]]).covariance.tolist()
        [[1.0, 0.0], [0.0, 4.0]]
    """
    return mixture([1.0], [mean], [covariance])


def ideal_denoiser(path: Path, examples: Array | np.ndarray, bandwidth: float = 0.0) -> Denoise:
    """The exact denoiser of finitely many examples, each blurred by a Gaussian of standard deviation h: a perfect
    prior.

    ``x0_hat = sum_i w_i x_i + g (x_t - alpha sum_i w_i x_i)`` with ``w_i ~ exp(-|x_t - alpha x_i|^2 / 2 v)``,
    ``v = sigma^2 + alpha^2 h^2`` and ``g = alpha h^2 / v``. It is the `Mixture.denoiser` of one equal part an example,
    for images: nothing of size d squared is made.

    Args:
        path: the path.
        examples: ``[n, *shape]``.
        bandwidth: h, in units of the data; 0 for the examples alone, which a sampler then ends on exactly.

    Returns:
        ``(x_t [b, *shape], t) -> E[x0 | x_t]``, of the dtype of x_t, with t a scalar or one per example ``[b]``.

    Raises:
        ValueError: when it is called, if x_t has not the shape of the examples.

    Reference:
        Parzen 1962, "On estimation of a probability density function and mode", for the density; Karras et al. 2022,
        "Elucidating the design space of diffusion-based generative models", appendix B.3, for the denoiser of a finite
        set.

    Example:
        >>> from jaxgen.paths import edm
        >>> denoise = ideal_denoiser(edm(), np.array([[-1.0], [1.0]]))
        >>> denoise(jnp.array([[0.0], [0.9]]), 0.1).round(3).tolist()
        [[0.0], [1.0]]
    """
    kept = np.asarray(examples).reshape(len(examples), -1)
    # Distances are differences of large numbers: they are taken from the mean of the examples, where these are small.
    centre = kept.mean(0)
    offsets = kept - centre
    squares = np.sum(np.square(offsets, dtype=np.float64), -1)

    def denoise(x: Array, t: Array) -> Array:
        if x.shape[1:] != examples.shape[1:]:
            raise ValueError(f"x_t of shape {x.shape} and examples of shape {examples.shape}: they must be alike")
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        least = jnp.finfo(dtype).eps ** 2  # where there is neither noise nor bandwidth, the nearest example alone
        a, s = (jnp.reshape(jnp.asarray(part(t), dtype), (-1, 1)) for part in (path.alpha, path.sigma))
        offset = x.reshape(len(x), -1).astype(dtype) - a * jnp.asarray(centre, dtype)
        across = jnp.matmul(offset, jnp.asarray(offsets, dtype).T, precision="highest")
        variance = jnp.maximum(s**2 + (a * bandwidth) ** 2, least)
        share = jax.nn.softmax((a * across - 0.5 * a**2 * jnp.asarray(squares, dtype)) / variance, -1)
        mean = jnp.matmul(share, jnp.asarray(offsets, dtype), precision="highest")
        x0 = jnp.asarray(centre, dtype) + mean + a * bandwidth**2 / variance * (offset - a * mean)
        return x0.reshape(x.shape).astype(x.dtype)

    return denoise
