"""Multistep sampling of consistency models: to the data in one evaluation, and back up in noise."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key, NoiseDistribution, Step


class Landed(NamedTuple):
    """The sample, and the last time of the grid, which the network was taught to land on."""

    x: Array
    end: Array


def noise_between(path: Path, t: Array, s: Array) -> Array:
    """The standard deviation of the noise that leads from t back up to s, exactly 0 where the two are the same.

    Args:
        path: the path.
        t: a time.
        s: the same, or one nearer to the noise.

    Returns:
        ``sqrt(sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2)``.

    Example:
        >>> from jaxgen.paths import edm
        >>> float(noise_between(edm(), 3.0, 5.0))
        4.0
    """
    sigma_s = path.sigma(s)
    # The difference of two squares would leave the rounding of one of them.
    kept = jnp.where(
        sigma_s > 0, path.alpha(s) * path.sigma(t) / (path.alpha(t) * jnp.where(sigma_s > 0, sigma_s, 1)), 1
    )
    return sigma_s * jnp.sqrt(jnp.maximum(1 - kept**2, 0))


def consistency(path: Path, *, noise: NoiseDistribution = draws.normal) -> Step:
    """Land on the end of the grid in one evaluation, then add noise up to the next level.

    With ``f(x_t, t)`` the consistency function, e the last time of the grid and ``q = alpha_s / alpha_e``:
    ``x_s = q f(x_t, t) + sqrt(sigma_s^2 - q^2 sigma_e^2) z``. The last step returns f itself.

    It is for networks that were distilled to answer with a sample (consistency models, latent consistency models). With
    the posterior mean of an ordinary denoiser the samples have too little variance, however many the steps.

    Args:
        path: the path.
        noise: distribution of z.

    Reference:
        Song et al. 2023, "Consistency models", algorithm 1; Luo et al. 2023, "Latent consistency models", algorithm 3,
        where no noise is left at the end.

    Example:
        >>> import jax
        >>> from jaxgen.paths import edm
        >>> from jaxgen.samplers import sample
        >>> grid = jnp.array([80.0, 5.0, 0.0])
        >>> sample(consistency(edm()), lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(1), grid).tolist()
        [3.0]
    """

    def init(x: Array, grid: Array) -> Landed:
        return Landed(x, grid[-1])

    def step(denoise: Denoise, key: Key, state: Landed, t: Array, s: Array) -> Landed:
        x, end = state
        moved = path.alpha(s) / path.alpha(end) * denoise(x, t) + noise_between(path, end, s) * noise(key, x.shape)
        return Landed(moved.astype(x.dtype), end)

    return Step(init, step)
