"""Strategic stochastic sampling, of trajectory consistency distillation (TCD)."""

from collections.abc import Callable

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.samplers.consistency import noise_between
from jaxgen.samplers.steps import Sample, start
from jaxgen.types import Array, Denoise, Key, Step


def tcd(path: Path, gamma: float | Callable[[Array], Array] = 0.3) -> Step:
    """DDIM to a time nearer to the data than the step's end, then noise back up to the end.

    With d the nearer time and ``q = alpha_s / alpha_d``:

    - down: ``x_d = alpha_d x0 + sigma_d (x_t - alpha_t x0) / sigma_t``;
    - up: ``x_s = q x_d + sqrt(sigma_s^2 - q^2 sigma_d^2) z``.

    It is for networks distilled to jump along the flow. With ``gamma = 0`` it is `ddim`, with ``gamma = 1``, where
    nothing of the noise is kept, multistep consistency sampling.

    Args:
        path: the path.
        gamma: the share of the way from the step's end to the data that d lies at, 0 to 1; or the function ``s -> d``.

    Raises:
        ValueError: if gamma is no share.

    Reference:
        Zheng et al. 2024, "Trajectory consistency distillation", algorithm 4.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxgen.paths import edm
        >>> from jaxgen.samplers import sample
        >>> grid = jnp.array([80.0, 5.0, 0.0])
        >>> sample(tcd(edm()), lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(1), grid).tolist()
        [3.0]
    """
    if not callable(gamma) and not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}: a number from 0 to 1 is needed")

    def nearer(s: Array) -> Array:
        return gamma(s) if callable(gamma) else s + gamma * (path.t_data - s)

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x, d = state.x, nearer(s)
        x0 = denoise(x, t)
        found = (x - path.alpha(t) * x0) / path.sigma(t)
        down = path.alpha(d) * x0 + path.sigma(d) * found
        up = noise_between(path, d, s) * draws.normal(key, x.shape)
        return Sample((path.alpha(s) / path.alpha(d) * down + up).astype(x.dtype))

    return Step(start, step)
