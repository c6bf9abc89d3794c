"""The Euler-Maruyama method on the reverse stochastic equation, and on those between it and the probability flow."""

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path, convert, squared_diffusion
from jaxgen.samplers.steps import Sample, start
from jaxgen.types import Array, Denoise, Key, Step


def noise_rate(path: Path, t: Array, noise: float) -> Array:
    """The squared diffusion of the reverse equation per unit of time, ``noise^2 g^2``.

    It is 0 where g is infinite (alpha = 0): x_t is noise alone there, and there is nothing that noise could renew.

    Args:
        path: the path.
        t: a time.
        noise: 1 for the reverse equation of the path, 0 for its probability flow.

    Returns:
        A number, at least 0.

    Example:
        >>> from jaxgen.paths import rectified
        >>> float(noise_rate(rectified(), 0.5, 1.0)), float(noise_rate(rectified(), 0.0, 1.0))
        (2.0, 0.0)
    """
    squared = squared_diffusion(path, t)
    return jnp.where(jnp.isfinite(squared), noise**2 * squared, 0)


def euler_maruyama(path: Path, noise: float = 1.0) -> Step:
    """The Euler-Maruyama method on the reverse equation, weak order 1, one evaluation per step.

    With u the velocity of the probability flow, ``h = s - t`` and g the path's diffusion,
    ``x_s = x_t + h u + |h| (noise g)^2 / 2 score + noise g sqrt(|h|) z``.

    Every value of `noise` gives the same distribution with exact steps: 1 is the reverse of the path's own diffusion, 0
    the probability flow (`euler`). More noise forgets errors made before, and needs shorter steps. A step to sigma = 0
    adds no noise.

    Args:
        path: the path.
        noise: the diffusion in units of the path's own.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 6 and 13; Karras et al. 2022, "Elucidating
        the design space of diffusion-based generative models", eq. 6, for what lies between.

    Example:
        >>> from jaxgen.paths import variance_preserving
        >>> euler_maruyama(variance_preserving()).init(jnp.zeros(2), jnp.array([1.0, 0.0])).x.tolist()
        [0.0, 0.0]
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x, x0 = state.x, denoise(state.x, t)
        moved = x + (s - t) * convert(path, x, t, x0, "x0", "velocity")
        if noise:
            gained = jnp.abs(s - t) * noise_rate(path, t, noise)
            spread = jnp.where(path.sigma(s) > 0, jnp.sqrt(gained), 0)
            score = (path.alpha(t) * x0 - x) / path.sigma(t) ** 2
            moved = moved + 0.5 * gained * score + spread * draws.normal(key, x.shape)
        return Sample(moved.astype(x.dtype))

    return Step(start, step)
