"""The log-density of data under a diffusion or flow model, through its probability-flow equation."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.paths import Path, change_path
from jaxgen.paths import log_snr as path_log_snr
from jaxgen.samplers.continuous_flow import carry, draw_probes, normal_log_prob
from jaxgen.types import Array, Denoise, Key

# The variance-preserving path whose time is the logarithm of its noise-to-signal ratio sigma / alpha.
_LEVELS = Path(
    lambda u: jnp.sqrt(jax.nn.sigmoid(-2 * u)), lambda u: jnp.sqrt(jax.nn.sigmoid(2 * u)), -math.inf, math.inf
)


def log_prob(
    denoise: Denoise,
    path: Path,
    key: Key | None,
    x: Array,
    *,
    trace: str = "exact",
    probes: int = 1,
    gaussian: bool = False,
    ratios: tuple[float, float] = (1e-3, 1e4),
    **options: Any,
) -> Array:
    """The log-density of the model that starts from ``sigma(t_noise) * normal`` and follows the probability flow.

    Whatever the path, the flow is solved for the scaled state ``y = x_t / sqrt(alpha^2 + sigma^2)`` along
    ``u = log(sigma / alpha)``: with ``c = 1 / sqrt(1 + exp(2 u))``

    ``dy/du = c (c y - x0_hat)`` and ``log p(x) = log N(y_1; 0, 1 - c_1^2) + integral of div(dy/du) du + d log c_0``,

    from ``y_0 = c_0 x`` at the data end. Nothing is singular where sigma or alpha is 0; there the range of u is cut to
    `ratios`. Data is thus taken for a state with a little noise of its own: the density found is that of
    ``x + ratios[0] * normal``, or of ``x + sigma / alpha * normal`` where the path itself ends with more noise.

    Wrap the call in `jax.jit`. Gradients flow to x and to what the denoiser closes over.

    Args:
        denoise: ``(x_t, t) -> x0_hat``, example by example.
        path: the path that it answers on.
        key: one key, or keys ``[b]``, for the probes; unused, and may be None, where the trace is exact.
        x: data ``[b, *shape]``.
        trace: ``"exact"``, at as many derivatives as an example has dimensions, or ``"hutchinson"``, unbiased from
            random probes that are held fixed along the flow.
        probes: how many probes an example.
        gaussian: normal probes instead of signs.
        ratios: the least and the greatest ``sigma / alpha`` to integrate between.
        **options: of `jaxgen.samplers.ode.solve_ode`: solver, steps (in u) or rtol and atol, adjoint.

    Returns:
        ``[b]`` nats, float32 (float64 for x in float64).

    Raises:
        ValueError: if the trace is an unknown word, or random probes have no key.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 39 and appendix D.2; Grathwohl et al.
        2019, "FFJORD", eq. 8, for the estimate.

    Example:
        >>> from jaxgen.paths import rectified
        >>> def denoise(x, t):  # data that is standard normal
        ...     return t * x / (t**2 + (1 - t) ** 2)
        >>> value = log_prob(denoise, rectified(), None, jnp.zeros((1, 2)))
        >>> round(float(value[0]), 3), round(-math.log(2 * math.pi), 3)
        (-1.838, -1.838)
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    ends = -0.5 * path_log_snr(path, jnp.asarray([path.t_data, path.t_noise], dtype))
    first, last = jnp.clip(ends, math.log(ratios[0]), math.log(ratios[1]))
    on_levels = change_path(denoise, path, _LEVELS)

    def velocity(y: Array, u: Array) -> Array:
        c = _LEVELS.alpha(u)
        return c * (c * y - on_levels(y.astype(x.dtype), u).astype(dtype))

    start = _LEVELS.alpha(first) * x.astype(dtype)
    drawn = draw_probes(key, x, trace, probes, gaussian)
    carried = carry(velocity, start, first, last, probes=drawn, **options)
    shrunk = x[0].size * jnp.log(_LEVELS.alpha(first))
    return normal_log_prob(carried.x, _LEVELS.sigma(last)) + carried.gained + shrunk
