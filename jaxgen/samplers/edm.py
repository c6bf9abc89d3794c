"""The stochastic second-order sampler of EDM, on any path."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path, log_snr, time_of_log_snr
from jaxgen.types import Array, Denoise, Key, Step


class Churned(NamedTuple):
    """The sample, the times at which steps begin ``[steps]``, and the noisier ones that each first goes up to."""

    x: Array
    times: Array
    noisier: Array


def edm(
    path: Path,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = float("inf"),
    noise: float = 1.003,
) -> Step:
    """Heun's method in the coordinates ``y = x / alpha``, ``r = sigma / alpha``, after a short way back up in noise.

    With ``gamma = min(churn / steps, sqrt(2) - 1)`` where r_t lies in [churn_min, churn_max], else 0:

    - up: ``r_u = (1 + gamma) r_t`` and ``y_u = y + sqrt(r_u^2 - r_t^2) noise z``;
    - down by Euler: ``d = (y_u - x0(y_u)) / r_u``, ``y_e = y_u + (r_s - r_u) d``;
    - down by Heun: ``y_s = y_u + (r_s - r_u) (d + d_e) / 2`` with ``d_e = (y_e - x0(y_e)) / r_s``.

    Two evaluations per step, order 2 without churn. One evaluation, Euler's, where a step ends at sigma = 0 or begins
    at alpha = 0 (where r is infinite). No step goes up beyond the noise end of the path, where no network was trained.

    Args:
        path: the path; on `jaxgen.paths.edm` y is x and r is the time.
        churn: how much noise is renewed over all the steps together (S_churn); 0 for none.
        churn_min: the smallest noise-to-signal ratio to renew at (S_tmin).
        churn_max: the largest (S_tmax).
        noise: the standard deviation of what is added (S_noise); a little above 1 makes up for lost detail.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", algorithm 2.

    Example:
        >>> import jax
        >>> from jaxgen import paths
        >>> from jaxgen.samplers import sample
        >>> grid = jnp.array([80.0, 5.0, 0.5, 0.0])
        >>> sample(edm(paths.edm()), lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(1), grid).tolist()
        [3.0]
    """

    def init(x: Array, grid: Array) -> Churned:
        times = grid[:-1]
        if not churn:
            return Churned(x, times, times)
        level = log_snr(path, times)
        ratio = jnp.exp(-0.5 * level)
        gamma = jnp.where((ratio >= churn_min) & (ratio <= churn_max), min(churn / len(times), 2**0.5 - 1), 0.0)
        noisier = time_of_log_snr(path, level - 2 * jnp.log1p(gamma))
        return Churned(x, times, jnp.where(gamma > 0, noisier, times).astype(times.dtype))

    def step(denoise: Denoise, key: Key, state: Churned, t: Array, s: Array) -> Churned:
        x, u = state.x, t
        if churn:
            u = state.noisier[jnp.argmin(jnp.abs(state.times - t))]
            scale = jnp.where(u == t, 1, path.alpha(u) / path.alpha(t))
            added = jnp.sqrt(jnp.maximum(path.sigma(u) ** 2 - (scale * path.sigma(t)) ** 2, 0))
            x = (scale * x + noise * added * draws.normal(key, x.shape)).astype(x.dtype)

        alpha_s, sigma_s, dtype = path.alpha(s), path.sigma(s), x.dtype
        # The noise found at s from x0 loses the digits that sigma has lost: half of them is where to stop asking.
        once = (sigma_s <= jnp.sqrt(jnp.finfo(dtype).eps) * path.sigma(u)) | (path.alpha(u) == 0)
        # alpha_s (r_s - r_u) / 2, the weight of the correction to Euler's step.
        half = jnp.where(once, 0, 0.5 * (sigma_s - alpha_s * path.sigma(u) / path.alpha(u)))

        def evaluate(point: Array, time: Array) -> tuple[Array, Array]:
            x0 = denoise(point, time)
            found = (point - path.alpha(time) * x0) / path.sigma(time)
            return x0.astype(dtype), found.astype(dtype)

        def stage(i: Array, carry: Any) -> Any:
            point, time, slope = carry
            zeros = jnp.zeros_like(x)
            x0, found = lax.cond((i == 0) | ~once, evaluate, lambda *_: (zeros, zeros), point, time)
            first, second = alpha_s * x0 + sigma_s * found, point + half * (found - slope)
            return jnp.where(i == 0, first, second).astype(dtype), s, found

        # One traced copy of the network for both evaluations: large networks compile slowly.
        return state._replace(x=lax.fori_loop(0, 2, stage, (x, u, jnp.zeros_like(x)))[0])

    return Step(init, step)
