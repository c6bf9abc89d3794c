"""DPM-Solver-2, known as KDPM2 or DPM2: the midpoint method in the noise-to-signal ratio, and its ancestral form."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path, log_snr, time_of_log_snr
from jaxgen.samplers.steps import remaining_noise
from jaxgen.types import Array, Denoise, Key, Step


class Halved(NamedTuple):
    """The sample, the number of steps made, and the time in the middle of every step ``[steps]``."""

    x: Array
    i: Array
    middle: Array


def kdpm2(path: Path, eta: float = 0.0) -> Step:
    """The midpoint method in ``y = x / alpha`` and ``r = sigma / alpha``, with the middle taken in ``log r``.

    With ``e(x_t, t) = (x_t - alpha_t x0) / sigma_t`` the noise that the denoiser finds:

    - to the middle ``r_m = sqrt(r_t r_d)``: ``y_m = y + (r_m - r_t) e(y, r_t)``;
    - over the step: ``y_d = y + (r_d - r_t) e(y_m, r_m)``;
    - with `eta`, noise back up to r_s: ``y_s = y_d + r_up z``, with ``r_d^2 + r_up^2 = r_s^2`` as in `ddim`.

    Two evaluations per step, order 2 without noise. One evaluation, DDIM's, where a step ends at sigma = 0 or begins at
    alpha = 0 (where r is infinite).

    Args:
        path: the path.
        eta: how much of the noise is new: 0 for none, 1 for the ancestral form.

    Reference:
        Lu et al. 2022, "DPM-Solver", arXiv 2206.00927, algorithm 1 with r_1 = 1/2; Karras et al. 2022, "Elucidating the
        design space of diffusion-based generative models", for the coordinates.

    Example:
        >>> from jaxgen.paths import edm
        >>> from jaxgen.samplers import sample
        >>> grid = jnp.array([80.0, 5.0, 0.5, 0.0])
        >>> sample(kdpm2(edm()), lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(1), grid).tolist()
        [3.0]
    """

    def renewed(t: Array, s: Array) -> Array:
        return jnp.minimum(eta**2 * (1 - remaining_noise(path, t, s) ** 2), 1)

    @jax.jit
    def middles(grid: Array) -> Array:
        t, s = grid[:-1], grid[1:]
        log_ratio = -0.5 * log_snr(path, grid)
        down = log_ratio[1:] + 0.5 * jnp.log1p(-renewed(t, s))
        found = time_of_log_snr(path, -(log_ratio[:-1] + down))
        # Where there is no middle it is not used.
        return jnp.where(jnp.isfinite(log_ratio[:-1]) & jnp.isfinite(down), found, t).astype(grid.dtype)

    def init(x: Array, grid: Array) -> Halved:
        return Halved(x, jnp.zeros((), jnp.int32), middles(grid))

    def step(denoise: Denoise, key: Key, state: Halved, t: Array, s: Array) -> Halved:
        x, dtype = state.x, state.x.dtype
        alpha_s, sigma_s, new = path.alpha(s), path.sigma(s), renewed(t, s)
        sigma_d = sigma_s * jnp.sqrt(1 - new)
        # The ratio r loses the digits that sigma has lost: half of them is where to stop halving it.
        once = (sigma_d <= jnp.sqrt(jnp.finfo(dtype).eps) * path.sigma(t)) | (path.alpha(t) == 0)
        # alpha_s (r_d - r_t), the weight of what the noise in the middle differs by.
        weight = jnp.where(once, 0, sigma_d - alpha_s * path.sigma(t) / path.alpha(t))
        middle = state.middle[state.i]

        def evaluate(point: Array, time: Array) -> tuple[Array, Array]:
            x0 = denoise(point, time)
            noise = (point - path.alpha(time) * x0) / path.sigma(time)
            return x0.astype(dtype), noise.astype(dtype)

        def stage(i: Array, carry: Any) -> Any:
            point, time, noise, end = carry
            zeros = jnp.zeros_like(x)
            x0, found = lax.cond((i == 0) | ~once, evaluate, lambda *_: (zeros, zeros), point, time)
            half = path.alpha(middle) * x0 + path.sigma(middle) * found
            end = jnp.where(i == 0, alpha_s * x0 + sigma_d * found, end + weight * (found - noise))
            return half.astype(dtype), middle, found, end.astype(dtype)

        # One traced copy of the network for both evaluations: large networks compile slowly.
        zeros = jnp.zeros_like(x)
        end = lax.fori_loop(0, 2, stage, (x, t, zeros, zeros))[3]
        if eta:
            end = (end + sigma_s * jnp.sqrt(new) * draws.normal(key, x.shape)).astype(dtype)
        return state._replace(x=end, i=state.i + 1)

    return Step(init, step)
