"""The probability flow of a denoiser, by any ordinary solver of diffrax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.paths import Path, convert, time_of_log_snr
from jaxgen.samplers.ode import explicit, solve_ode
from jaxgen.samplers.steps import Sample, ddim
from jaxgen.types import Array, Denoise


def probability_flow(
    path: Path,
    denoise: Denoise,
    x: Array,
    *,
    solver: Any = "tsit5",
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    start: float | None = None,
    stop: float = 1e-3,
    **options: Any,
) -> Array:
    """Sample by solving ``dx/dt = velocity`` from noise to data, with fixed or adaptive steps of any solver.

    Where sigma is 0 a denoiser no longer tells the velocity, and near there the velocity may grow without bound. So the
    solver stops where the noise-to-signal ratio is `stop`, and one step of DDIM goes the rest of the way. The error
    of that step is of the order of ``stop^2``, in units in which the data have spread 1.

    Wrap the call in `jax.jit`; gradients flow to what the denoiser closes over.

    Args:
        path: the path.
        denoise: ``(x_t, t) -> x0_hat``.
        x: where to start ``[b, *spatial, c]``, ``path.sigma(path.t_noise) * noise``.
        solver: one of `ode.SOLVERS`, or a diffrax solver.
        steps: the number of equal steps in time; None for steps that adapt to the error.
        rtol: relative tolerance of adaptive steps, 1e-5 if None.
        atol: absolute tolerance of adaptive steps, 1e-5 if None.
        start: the time of x; None for the noise end.
        stop: the noise-to-signal ratio at which to stop, above 0; a path that keeps more noise than that at its data
            end is solved up to there.
        **options: further arguments of `solve_ode`; not `statistics`.

    Returns:
        The sample at the data end, of the shape and type of x.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 13.

    Example:
        >>> from jaxgen.paths import rectified
        >>> x = probability_flow(rectified(), lambda x, t: 3.0 + 0 * x, jnp.zeros(2), solver="heun", steps=4)
        >>> [round(float(v), 4) for v in x]
        [3.0, 3.0]
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    begin = jnp.asarray(path.t_noise if start is None else start, dtype)
    end = time_of_log_snr(path, jnp.asarray(-2 * np.log(stop), dtype))

    def velocity(y: Array, t: Array) -> Array:
        return convert(path, y, t, denoise(y.astype(x.dtype), t), "x0", "velocity").astype(dtype)

    pure, held = explicit(velocity, x.astype(dtype), begin)
    near = solve_ode(
        pure, held, x.astype(dtype), begin, end, solver=solver, steps=steps, rtol=rtol, atol=atol, **options
    )
    last, unused = Sample(near.astype(x.dtype)), jax.random.key(0)
    return ddim(path).step(denoise, unused, last, end, jnp.asarray(path.t_data, dtype)).x
