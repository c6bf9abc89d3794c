"""Anomalies as codes that a diffusion model of healthy codes finds unlikely, and their healing (Pinaya et al. 2022).

An autoencoder makes a code ``[b, *spatial, c]`` of an image; a diffusion model knows the codes of healthy images. Where
its reverse steps disagree with the code (`latent_divergence`), more than they do for healthy images (`calibrate`), the
code is drawn anew (`heal`) and decoded; the residual counts only there (`gated_residual`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import ndimage

from jaxgen import draws
from jaxgen.paths import Path, perturb
from jaxgen.samplers import replacement, sample
from jaxgen.types import Array, Denoise, Key, Step


def latent_divergence(
    path: Path, denoise: Denoise, key: Key, z: Array, times: Array, *, spacing: float = 1e-3, at_once: int | None = None
) -> Array:
    """How far the model's reverse steps lie from those that know the code, at each place and time, in nats.

    ``KL(q(z_s | z_t, z) | p(z_s | z_t)) = alpha_s^2 (1 - q^2) / (2 sigma_s^2) sum_c (z - z_hat(z_t))^2`` with
    ``q = r_s / r_t`` and ``r = sigma / alpha``, s the time `spacing` before t, both distributions with the small
    variance ``sigma_s^2 (1 - q^2)``. For a table of noise rates it is
    ``beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) sum_c (noise - noise_hat)^2``.

    Args:
        path: the path.
        denoise: of healthy codes.
        key: one key, or keys ``[b]``; each time has noise of its own.
        z: codes ``[b, *spatial, c]``.
        times: ``[T]``, of the middle of the path: near the data the model copies, near the noise it guesses.
        spacing: of the steps, as a share of the path: one over the length of the table.
        at_once: how many times to evaluate as one batch; None for all.

    Returns:
        Float32 ``[T, b, *spatial]``.

    Reference:
        Pinaya et al. 2022, "Fast unsupervised brain anomaly detection and segmentation with diffusion models", arXiv
        2206.03461; Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 6 to 8.

    Example:
        >>> from jaxgen.paths import cosine
        >>> z, times = jnp.ones((2, 4, 4, 3)), jnp.array([0.4, 0.5])
        >>> latent_divergence(cosine(), lambda x, t: 0 * x, jax.random.key(0), z, times).shape
        (2, 2, 4, 4)
    """
    keys = draws.split(key, len(times))
    towards = 1.0 if path.t_data > path.t_noise else -1.0
    step = towards * spacing * abs(path.t_data - path.t_noise)

    def at(drawn: tuple[Key, Array]) -> Array:
        noise_key, t = drawn
        s = t + step
        z_t = perturb(path, z, draws.normal(noise_key, z.shape), t).astype(z.dtype)
        error = jnp.sum((z - denoise(z_t, t)).astype(jnp.float32) ** 2, -1)
        q = path.sigma(s) * path.alpha(t) / (path.sigma(t) * path.alpha(s))
        return path.alpha(s) ** 2 * (1 - q**2) / (2 * path.sigma(s) ** 2) * error

    return lax.map(at, (keys, jnp.asarray(times, jnp.float32)), batch_size=at_once or len(times))


class Healthy(NamedTuple):
    """What divergences are like for healthy images.

    Attributes:
        mean: at each time ``[T]``.
        deviation: at each time ``[T]``.
        threshold: at each place of the code ``[*spatial]``, of the standardised divergence.
    """

    mean: np.ndarray
    deviation: np.ndarray
    threshold: np.ndarray


def _standardised(divergence: np.ndarray | Array, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    divergence = np.asarray(divergence)
    ones = (1,) * (divergence.ndim - 1)
    return ((divergence - mean.reshape(-1, *ones)) / deviation.reshape(-1, *ones)).mean(0)


def calibrate(divergence: np.ndarray | Array, *, percentile: float = 97.5) -> Healthy:
    """Learn from healthy validation images what is usual, time by time and place by place.

    The divergence changes by orders of magnitude with time: each time is brought to mean 0 and standard deviation 1
    before the average over times.

    Args:
        divergence: ``[T, n, *spatial]`` of `latent_divergence` on healthy images that the model was not trained on.
        percentile: of the images, that the threshold of each place is put at.

    Returns:
        The `Healthy`.

    Reference:
        Pinaya et al. 2022, arXiv 2206.03461.

    Example:
        >>> calibrate(np.arange(6.0).reshape(1, 6, 1), percentile=100).threshold.round(3).tolist()
        [1.464]
    """
    divergence = np.asarray(divergence)
    rest = tuple(range(1, divergence.ndim))
    mean, deviation = divergence.mean(rest), np.maximum(divergence.std(rest), 1e-12)
    usual = _standardised(divergence, mean, deviation)
    return Healthy(mean, deviation, np.percentile(usual, percentile, axis=0))


def unlikely(divergence: np.ndarray | Array, healthy: Healthy) -> tuple[np.ndarray, np.ndarray]:
    """Which places of a code are unlikely.

    Args:
        divergence: ``[T, b, *spatial]`` of `latent_divergence`, at the times of the calibration.
        healthy: of `calibrate`.

    Returns:
        The pair (map, mask), ``[b, *spatial]``: the standardised divergence averaged over times, whose mean is a score
        of the image, and where it exceeds the threshold.

    Example:
        >>> usual = np.arange(6.0).reshape(1, 6, 1)
        >>> unlikely(np.array([[[9.0]]]), calibrate(usual))[1].tolist()
        [[True]]
    """
    score = _standardised(divergence, healthy.mean, healthy.deviation)
    return score, score > healthy.threshold


def heal(step: Step, path: Path, denoise: Denoise, key: Key, z: Array, mask: Array, grid: Array) -> Array:
    """Draw the masked places of codes anew, given the others: inpainting from the grid's first time.

    With no place masked the codes come back, to the bit; with all of them it is partial diffusion.

    Args:
        step: a sampler step, such as ``ddpm(path)``.
        path: the path.
        denoise: of healthy codes.
        key: one key, or keys ``[b]``.
        z: codes ``[b, *spatial, c]``.
        mask: nonzero where to draw anew, ``[b, *spatial]``.
        grid: times ``[steps + 1]`` from the level to start at to the data end.

    Returns:
        ``[b, *spatial, c]``.

    Reference:
        Pinaya et al. 2022, arXiv 2206.03461; Lugmayr et al. 2022, "RePaint", eq. 8.

    Example:
        >>> from jaxgen.paths import cosine
        >>> from jaxgen.samplers import ddpm, grids
        >>> path, z, mask = cosine(), jnp.ones((1, 2, 1)), jnp.array([[1, 0]])
        >>> grid = grids.uniform(path, 3, start=0.5)
        >>> heal(ddpm(path), path, lambda x, t: 0 * x, jax.random.key(0), z, mask, grid).ravel().tolist()
        [0.0, 1.0]
    """
    noise_key, step_key = draws.split(key, 2)
    kept = 1 - (jnp.asarray(mask)[..., None] != 0).astype(z.dtype)
    noised = perturb(path, z, draws.normal(noise_key, z.shape), grid[0]).astype(z.dtype)
    return sample(replacement(step, path, z, kept), denoise, step_key, noised, grid)


def gated_residual(residual: np.ndarray | Array, mask: np.ndarray | Array, *, std: float = 1.0) -> np.ndarray:
    """A residual that counts only round the places of the code that were healed.

    The mask is enlarged to the image linearly, smoothed, and multiplied: what the autoencoder blurs elsewhere is left
    out.

    Args:
        residual: ``[b, *spatial]``.
        mask: ``[b, *code's spatial]``, nonzero where healed.
        std: standard deviation of the Gaussian that smooths the mask, in pixels of the image.

    Returns:
        ``[b, *spatial]``.

    Reference:
        Pinaya et al. 2022, arXiv 2206.03461.

    Example:
        >>> gated_residual(np.ones((1, 4)), np.array([[0, 1]]), std=0.0).tolist()
        [[0.0, 0.25, 0.75, 1.0]]
    """
    residual = np.asarray(residual)
    gate = np.asarray(jax.image.resize(jnp.asarray(mask, jnp.float32), residual.shape, "linear"))
    return residual * ndimage.gaussian_filter(gate, (0,) + (std,) * (residual.ndim - 1))
