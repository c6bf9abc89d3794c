"""Time grids: the times that a sampler visits, ``[steps + 1]`` from exactly ``t_noise`` to exactly ``t_data``."""

import jax.numpy as jnp
from jax import lax

from jaxgen import paths
from jaxgen.paths import Path
from jaxgen.types import Array


def uniform(path: Path, steps: int) -> Array:
    """Equal steps in time.

    Args:
        path: the path.
        steps: the number of steps, at least 1.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step.

    Example:
        >>> uniform(paths.rectified(), 4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    return jnp.linspace(path.t_noise, path.t_data, steps + 1)


def log_snr(path: Path, steps: int, *, low: float = -10.0, high: float = 10.0) -> Array:
    """Equal steps in the log signal-to-noise ratio: shorter steps in time near both ends.

    The ratio is infinite where alpha or sigma is 0, so the steps divide its range cut to [low, high]; the first and the
    last time are then put at the ends of the path.

    Args:
        path: the path; its log-SNR must increase from noise to data.
        steps: the number of steps, at least 1.
        low: the smallest log-SNR to divide from.
        high: the largest.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step.

    Reference:
        Lu et al. 2022, "DPM-Solver", section 3.3 (uniform in the half log-SNR).

    Example:
        >>> log_snr(paths.rectified(), 2).round(3).tolist()
        [0.0, 0.5, 1.0]
    """
    ends = uniform(path, steps)[jnp.array([0, -1])]
    first, last = jnp.clip(paths.log_snr(path, ends), low, high)
    levels = jnp.linspace(first, last, steps + 1)

    def halve(_, bracket):
        noisy, clean = bracket
        middle = 0.5 * (noisy + clean)
        below = paths.log_snr(path, middle) < levels
        return jnp.where(below, middle, noisy), jnp.where(below, clean, middle)

    bracket = (jnp.full_like(levels, path.t_noise), jnp.full_like(levels, path.t_data))
    times = lax.fori_loop(0, 60, halve, bracket)[0]
    return times.at[0].set(path.t_noise).at[-1].set(path.t_data)
