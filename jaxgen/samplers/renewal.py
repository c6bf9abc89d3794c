"""A step that renews a fixed share of the noise: the sampler of DiffPIR and DDNM."""

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.samplers.steps import Sample, start
from jaxgen.types import Array, Denoise, Key, Step


def renewal(path: Path, share: float = 1.0) -> Step:
    """Hold x0 over the step and renew a fixed share of the noise, whatever the length of the step.

    ``x_s = alpha_s x0 + sigma_s (sqrt(1 - share) (x_t - alpha_t x0) / sigma_t + sqrt(share) z)``. `ddim` renews a share
    ``eta^2 (1 - (r_s / r_t)^2)`` instead, little in a short step.

    Args:
        path: the path.
        share: from 0 to 1: zeta of the paper, the square of DDNM's eta. 0 is DDIM.

    Returns:
        The step.

    Reference:
        Zhu et al. 2023, "Denoising diffusion models for plug-and-play image restoration", eq. 15.

    Example:
        >>> from jaxgen.paths import rectified
        >>> state, t, s = Sample(jnp.zeros(1)), jnp.array(0.5), jnp.array(1.0)
        >>> renewal(rectified(), 0.0).step(lambda x, t: 3.0 + 0 * x, None, state, t, s).x.tolist()
        [3.0]
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x0 = denoise(state.x, t)
        noise = (state.x - path.alpha(t) * x0) / path.sigma(t)
        if share:
            noise = jnp.sqrt(1 - share) * noise + jnp.sqrt(share) * draws.normal(key, state.x.shape)
        return Sample((path.alpha(s) * x0 + path.sigma(s) * noise).astype(state.x.dtype))

    return Step(start, step)
