"""Time grids: the times that a sampler visits, ``[steps + 1]`` from the noise end to exactly ``t_data``.

They begin at the path's ``t_noise``, or at `start` where one is given (to begin from a half noised image, see
`jaxgen.samplers.editing.sdedit`).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen import paths
from jaxgen.paths import Path
from jaxgen.types import Array


def _begin(path: Path, steps: int, start: float | None) -> float:
    if steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    return path.t_noise if start is None else start


def uniform(path: Path, steps: int, *, start: float | None = None) -> Array:
    """Equal steps in time.

    Args:
        path: the path.
        steps: the number of steps, at least 1.
        start: the time to begin at; None for the noise end.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step.

    Example:
        >>> uniform(paths.rectified(), 4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return jnp.linspace(_begin(path, steps, start), path.t_data, steps + 1)


def log_snr(path: Path, steps: int, *, low: float = -10.0, high: float = 10.0, start: float | None = None) -> Array:
    """Equal steps in the log signal-to-noise ratio: shorter steps in time near both ends.

    The ratio is infinite where alpha or sigma is 0, so the steps divide its range cut to [low, high]; the first and the
    last time are then put at the ends.

    Args:
        path: the path; its log-SNR must increase from noise to data.
        steps: the number of steps, at least 1.
        low: the smallest log-SNR to divide from.
        high: the largest.
        start: the time to begin at; None for the noise end.

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
    begin = _begin(path, steps, start)
    first, last = jnp.clip(paths.log_snr(path, jnp.array([begin, path.t_data])), low, high)
    times = paths.time_of_log_snr(path, jnp.linspace(first, last, steps + 1))
    return times.at[0].set(begin).at[-1].set(path.t_data)


def _table(path: Path, steps: int, timesteps: int, start: float | None) -> int:
    """How many entries of a table of `timesteps` there are up to `start`."""
    fraction = (_begin(path, steps, start) - path.t_data) / (path.t_noise - path.t_data)
    entries = round(fraction * timesteps)
    if steps > entries:
        raise ValueError(f"steps is {steps}: the table has {entries} entries up to where the grid begins")
    return entries


def _at(path: Path, entries: np.ndarray, timesteps: int) -> Array:
    """The times of the entries of a table, then the data."""
    times = path.t_data + (path.t_noise - path.t_data) * (np.asarray(entries, np.float64) + 1) / timesteps
    return jnp.asarray(np.append(times, path.t_data), jnp.result_type(float))


def linspace(path: Path, steps: int, *, timesteps: int = 1000, start: float | None = None) -> Array:
    """Entries of a table equally spaced from its last to its first, both included, rounded to whole entries.

    Entry i of the table has the time ``(i + 1) / timesteps`` of `jaxgen.paths.discrete`.

    Args:
        path: the path.
        steps: the number of steps, at most `timesteps`.
        timesteps: the length of the table.
        start: the time to begin at, the time of an entry; None for the last one.

    Returns:
        Times ``[steps + 1]``; the last step goes from the first entry to the data.

    Raises:
        ValueError: if there is no step, or there are more steps than entries.

    Reference:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", section 4; Lin et al. 2024, "Common
        diffusion noise schedules and sample steps are flawed", table 2.

    Example:
        >>> linspace(paths.cosine(), 3, timesteps=8).tolist()
        [1.0, 0.625, 0.125, 0.0]
    """
    return _at(path, np.linspace(_table(path, steps, timesteps, start) - 1, 0, steps).round(), timesteps)


def leading(path: Path, steps: int, *, timesteps: int = 1000, offset: int = 0, start: float | None = None) -> Array:
    """Every k-th entry of a table from its first: ``i k + offset`` with ``k = timesteps // steps``.

    It begins below the noise end of the path.

    Args:
        path: the path.
        steps: the number of steps, at most `timesteps`.
        timesteps: the length of the table.
        offset: added to every entry, below ``k``.
        start: the time to begin below, the time of an entry; None for the last one.

    Returns:
        Times ``[steps + 1]``; the last step goes from entry `offset` to the data.

    Raises:
        ValueError: if there is no step, there are more steps than entries, or the offset leads out of the table.

    Reference:
        Song, Meng & Ermon 2021, "Denoising diffusion implicit models", appendix D.2 (linear); Lin et al. 2024, "Common
        diffusion noise schedules and sample steps are flawed", table 2.

    Example:
        >>> leading(paths.cosine(), 2, timesteps=8).tolist()
        [0.625, 0.125, 0.0]
    """
    entries = _table(path, steps, timesteps, start)
    stride = entries // steps
    if not 0 <= offset <= entries - 1 - (steps - 1) * stride:
        raise ValueError(f"offset is {offset}: entry {(steps - 1) * stride + offset} is out of a table of {entries}")
    return _at(path, np.arange(steps)[::-1] * stride + offset, timesteps)


def trailing(path: Path, steps: int, *, timesteps: int = 1000, start: float | None = None) -> Array:
    """Every k-th entry of a table from its last: ``timesteps - i k - 1`` with ``k = timesteps / steps``, rounded.

    Args:
        path: the path.
        steps: the number of steps, at most `timesteps`.
        timesteps: the length of the table.
        start: the time to begin at, the time of an entry; None for the last one.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step, or there are more steps than entries.

    Reference:
        Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", table 2.

    Example:
        >>> trailing(paths.cosine(), 2, timesteps=8).tolist()
        [1.0, 0.5, 0.0]
    """
    entries = _table(path, steps, timesteps, start)
    return _at(path, np.round(entries * np.arange(steps, 0, -1) / steps) - 1, timesteps)


def _noise_levels(
    path: Path,
    steps: int,
    spread: Callable[..., Any],
    unspread: Callable[..., Any],
    r_min: float | None,
    r_max: float | None,
    start: float | None,
) -> Array:
    """Times equally spaced in ``spread(r)``, ``r = sigma / alpha``, from r_max to r_min, then the data."""
    if start is not None and r_max is not None:
        raise ValueError("give either start or the largest noise, not both")
    ends = jnp.array([_begin(path, steps, start), path.t_data])
    begin, end = jnp.exp(-0.5 * paths.log_snr(path, ends))
    high = jnp.minimum(begin, 200.0) if r_max is None else jnp.asarray(r_max, ends.dtype)
    low = jnp.maximum(end, 0.002 if r_min is None else r_min)
    # On a path that keeps noise at its end, the end is the last level; else r_min comes before it.
    count = jnp.maximum(jnp.where(end >= low, steps, steps - 1), 1)
    fraction = jnp.minimum(jnp.arange(steps + 1) / count, 1)
    levels = unspread(spread(high) + fraction * (spread(low) - spread(high)))
    times = paths.time_of_log_snr(path, -2 * jnp.log(levels)).at[-1].set(path.t_data)
    return times.at[0].set(ends[0]) if r_max is None else times


def karras(
    path: Path,
    steps: int,
    rho: float = 7.0,
    r_min: float | None = None,
    r_max: float | None = None,
    *,
    start: float | None = None,
) -> Array:
    """Times equally spaced in ``r^(1/rho)``, with r the noise-to-signal ratio ``sigma / alpha``, then the data.

    ``r_i = (r_max^(1/rho) + i/(steps - 1) (r_min^(1/rho) - r_max^(1/rho)))^rho``, and the last step goes from r_min to
    the data. On a path that keeps noise at its data end, that noise is the last of `steps` + 1 levels.

    Args:
        path: the path; its log-SNR must increase from noise to data.
        steps: the number of steps, at least 1.
        rho: the larger, the shorter the steps near the data.
        r_min: the smallest ratio above the data, None for 0.002; never less than what the path keeps at its end.
        r_max: the largest ratio, where to begin; None for where the path, or `start`, begins, with the steps dividing
            from a ratio of at most 200.
        start: the time to begin at; None for the noise end.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step, or both `start` and `r_max` are given.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", eq. 5.

    Example:
        >>> karras(paths.edm(), 3, 1.0, 1.0, 9.0).round(4).tolist()
        [9.0, 5.0, 1.0, 0.0]
    """
    return _noise_levels(path, steps, lambda r: r ** (1 / rho), lambda u: u**rho, r_min, r_max, start)


def exponential(
    path: Path, steps: int, r_min: float | None = None, r_max: float | None = None, *, start: float | None = None
) -> Array:
    """Times equally spaced in ``log r``, with r the noise-to-signal ratio ``sigma / alpha``, then the data.

    The limit of `karras` at infinite rho; the arguments are the same.

    Args:
        path: the path; its log-SNR must increase from noise to data.
        steps: the number of steps, at least 1.
        r_min: the smallest ratio above the data, None for 0.002; never less than what the path keeps at its end.
        r_max: the largest ratio, where to begin; None for where the path, or `start`, begins, with the steps dividing
            from a ratio of at most 200.
        start: the time to begin at; None for the noise end.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step, or both `start` and `r_max` are given.

    Example:
        >>> exponential(paths.edm(), 3, 1.0, 9.0).round(4).tolist()
        [9.0, 3.0, 1.0, 0.0]
    """
    return _noise_levels(path, steps, jnp.log, jnp.exp, r_min, r_max, start)


def edm(
    path: Path,
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    *,
    start: float | None = None,
) -> Array:
    """The times of EDM, by default those of its experiments: `karras` from ratio `sigma_max` to `sigma_min`, then data.

    Args:
        path: the path; on `jaxgen.paths.edm` times are noise levels.
        steps: the number of steps, at least 1.
        sigma_min: the smallest noise-to-signal ratio above the data.
        sigma_max: the largest, where to begin.
        rho: the larger, the shorter the steps near the data.
        start: the time to begin at instead.

    Returns:
        Times ``[steps + 1]``.

    Raises:
        ValueError: if there is no step.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", eq. 5 and table 1.

    Example:
        >>> [round(float(t), 3) for t in edm(paths.edm(), 3)]
        [80.0, 2.515, 0.002, 0.0]
    """
    return karras(path, steps, rho, sigma_min, sigma_max if start is None else None, start=start)


def repaint(grid: Array, jump: int = 10, resamples: int = 10) -> Array:
    """A grid for `jaxgen.samplers.editing.repaint`: it jumps back towards the noise and comes down again.

    Wherever a multiple of `jump` steps is left (but none of the last `jump`, nor before the first `jump` are done), it
    goes back up `jump` steps at once, ``resamples - 1`` times. 250 steps with the default jumps call the denoiser 2410
    times.

    Args:
        grid: times ``[steps + 1]`` from noise to data.
        jump: the number of steps to jump back, at least 1.
        resamples: how often to come down each stretch, at least 1; 1 gives the grid itself.

    Returns:
        Times; those that rise towards the noise need no denoiser.

    Raises:
        ValueError: if `jump` or `resamples` is below 1.

    Reference:
        Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models", section 4.2.

    Example:
        >>> repaint(jnp.array([4.0, 3.0, 2.0, 1.0, 0.0]), jump=2, resamples=2).tolist()
        [4.0, 3.0, 2.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    """
    if jump < 1 or resamples < 1:
        raise ValueError(f"jump is {jump} and resamples {resamples}: at least 1 is needed")
    steps = len(grid) - 1
    left = [steps]
    for stretch in range(steps - 1, -1, -1):
        left.append(stretch)
        if stretch % jump == 0 and 0 < stretch <= steps - jump:
            left += (resamples - 1) * list(range(stretch + jump, stretch - 1, -1))
    return grid[steps - np.array(left)]


def from_share(path: Path, share: Any, steps: int) -> Array:
    """Times from a share of the way to the noise, which may be traced, evenly to the data.

    Args:
        path: the path.
        share: 0 at the data, 1 at the noise.
        steps: how many.

    Returns:
        ``[steps + 1]``.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from_share(rectified(), 0.5, 2).tolist()
        [0.5, 0.75, 1.0]
    """
    start = paths.time_at(path, share)
    return start + (path.t_data - start) * jnp.linspace(0, 1, steps + 1)
