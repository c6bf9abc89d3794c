"""Ancestral sampling: each step draws from the forward chain's posterior, with x0 in the place of the data."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.samplers.steps import Sample, ddim, remaining_noise, start
from jaxgen.types import Array, Denoise, Key, NoiseDistribution, Step


def ddpm(
    path: Path, variance: str | Callable[[Array, Array], Array] = "small", *, noise: NoiseDistribution = draws.normal
) -> Step:
    """DDPM ancestral sampling, between any two times of any path.

    ``x_s = alpha_s (1 - q^2) x0 + q (sigma_s / sigma_t) x_t + spread z`` with ``q = r_s / r_t`` and
    ``r = sigma / alpha``. The variance lies between two bounds:

    - small, ``sigma_s^2 (1 - q^2)``: the posterior's, right for data without spread (beta-tilde in the paper);
    - large, ``sigma_t^2 (1 - q^2)``: that of the forward step, right on a variance-preserving path for standard normal
      data (beta in the paper);
    - learned, with a fraction v of the way between: ``log spread^2 = v log large + (1 - v) log small``.

    A step to sigma = 0 adds no noise.

    Args:
        path: the path.
        variance: ``"small"``, ``"large"``, or ``(x_t, t) -> v`` with values in [0, 1], of a shape that broadcasts
            against x_t. A network that answers x0 and v together is traced twice; the compiler merges what is equal.
        noise: distribution of z, for networks that were trained on another than white noise.

    Raises:
        ValueError: if the variance is an unknown word.

    Reference:
        Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", eq. 6, 7 and section 3.2; Nichol & Dhariwal
        2021, "Improved denoising diffusion probabilistic models", eq. 15.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> state, t, s = Sample(jnp.zeros(1)), jnp.array(1.0), jnp.array(0.0)
        >>> ddpm(variance_preserving()).step(lambda x, t: 3.0 + 0 * x, jax.random.key(0), state, t, s).x.tolist()
        [3.0]
    """
    if not callable(variance) and variance not in ("small", "large"):
        raise ValueError(f"unknown variance {variance!r}: choose from small, large, or give a function of (x_t, t)")

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x, x0 = state.x, denoise(state.x, t)
        q, sigma_t, sigma_s = remaining_noise(path, t, s), path.sigma(t), path.sigma(s)
        if callable(variance):
            fraction = variance(x, t).astype(q.dtype)
            bound = jnp.exp(fraction * jnp.log(sigma_t) + (1 - fraction) * jnp.log(sigma_s))
        else:
            bound = {"small": sigma_s, "large": sigma_t}[variance]
        spread = jnp.where(sigma_s > 0, bound * jnp.sqrt(1 - q**2), 0)
        mean = path.alpha(s) * (1 - q**2) * x0 + q * sigma_s / sigma_t * x
        return Sample((mean + spread * noise(key, x.shape)).astype(x.dtype))

    return Step(start, step)


def euler_ancestral(path: Path, eta: float = 1.0) -> Step:
    """Euler's method with ancestral noise, in the coordinates ``y = x / alpha`` and ``r = sigma / alpha``.

    From r_t down to r_down, then noise up to r_s: ``y_s = y + (r_down - r_t) (y - x0) / r_t + r_up z`` with
    ``r_up = min(r_s, eta sqrt(r_s^2 (r_t^2 - r_s^2) / r_t^2))`` and ``r_down^2 = r_s^2 - r_up^2``.

    Euler's method in these coordinates is DDIM, and r_up is DDIM's noise: the two are the same method. The name is here
    for those who look for it.

    Args:
        path: the path.
        eta: how much of the noise is new; 0 for none.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", section 2, for the
        coordinates; Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 16, for the noise.

    Example:
        >>> from jaxgen.paths import edm
        >>> state, t, s = Sample(jnp.ones(1)), jnp.array(2.0), jnp.array(1.0)
        >>> euler_ancestral(edm(), eta=0.0).step(lambda x, t: 0 * x, None, state, t, s).x.tolist()
        [0.5]
    """
    return ddim(path, eta)
