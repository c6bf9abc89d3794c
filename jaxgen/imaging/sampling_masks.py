"""Which samples of k-space are measured: Cartesian masks, 1 where measured.

Masks are float32 ``[h, w]``, k-space centred. A *line* is a column ``[:, j]``: the readout runs along h, the phase
encoding along w. All draw from a key, keep the number of samples that the acceleration asks for (nearly; see
`true_acceleration`), and can be jitted and vmapped over keys with the other arguments fixed.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array, Key

_GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2


def true_acceleration(mask: Array) -> Array:
    """How many times fewer samples a mask keeps than there are: ``h w / sum(mask)``.

    Args:
        mask: ``[..., h, w]`` of 0 and 1.

    Returns:
        ``[...]``; infinite for a mask that keeps nothing.

    Example:
        >>> float(true_acceleration(jnp.eye(4)))
        4.0
    """
    return mask.shape[-2] * mask.shape[-1] / jnp.sum(mask, (-2, -1))


def calibration_lines(width: int, acceleration: float) -> int:
    """How many central lines to measure where nothing else is said: 8 % of them at 4x, 4 % at 8x.

    Args:
        width: lines in all.
        acceleration: of the whole mask.

    Returns:
        At least one.

    Reference:
        Zbontar et al. 2018, "fastMRI: an open dataset and benchmarks for accelerated MRI", for the two fractions.

    Example:
        >>> calibration_lines(320, 4), calibration_lines(320, 8)
        (26, 13)
    """
    return max(1, round(0.32 * width / acceleration))


def _budget(width: int, acceleration: float, calibration: int | None) -> tuple[int, int]:
    """Lines in all, and calibration lines among them."""
    if not 1 <= acceleration <= width:
        raise ValueError(f"an acceleration of {acceleration} does not fit {width} lines: 1 to {width}")
    lines = round(width / acceleration)
    centre = min(calibration_lines(width, acceleration), lines) if calibration is None else calibration
    if not 0 <= centre <= lines:
        raise ValueError(f"{centre} calibration lines do not fit the {lines} lines that {acceleration}x leaves")
    return lines, centre


def _central(n: int, count: int) -> np.ndarray:
    """The `count` entries of n about ``n // 2``, as 0 and 1."""
    first = n // 2 - count // 2
    return ((np.arange(n) >= first) & (np.arange(n) < first + count)).astype(np.float32)


def _repeated(lines: Array, height: int) -> Array:
    return jnp.broadcast_to(jnp.asarray(lines, jnp.float32), (height, lines.shape[0]))


def _draw_lines(
    key: Key, shape: tuple[int, int], acceleration: float, calibration: int | None, log_density: Array | float
) -> Array:
    """The calibration lines, and others without replacement: the largest of log density plus Gumbel noise."""
    height, width = shape
    lines, centre = _budget(width, acceleration, calibration)
    always = _central(width, centre)
    score = jnp.where(always > 0, jnp.inf, log_density + jax.random.gumbel(key, (width,)))
    _, chosen = jax.lax.top_k(score, lines)
    return _repeated(jnp.zeros(width).at[chosen].set(1.0), height)


def random_mask(key: Key, shape: tuple[int, int], acceleration: float, *, calibration: int | None = None) -> Array:
    """Lines drawn uniformly, without replacement, and the calibration lines.

    Args:
        key: a key.
        shape: ``(h, w)``.
        acceleration: ``round(w / acceleration)`` lines are kept in all.
        calibration: central lines that are always kept; `calibration_lines` if left out.

    Returns:
        ``[h, w]``.

    Raises:
        ValueError: if the acceleration or the calibration lines do not fit.

    Reference:
        Zbontar et al. 2018, "fastMRI: an open dataset and benchmarks for accelerated MRI"; there the number of lines
        is random.

    Example:
        >>> float(true_acceleration(random_mask(jax.random.key(0), (32, 64), 4)))
        4.0
    """
    return _draw_lines(key, shape, acceleration, calibration, 0.0)


def gaussian_mask(
    key: Key,
    shape: tuple[int, int],
    acceleration: float,
    *,
    calibration: int | None = None,
    deviation: float = 15 / 128,
) -> Array:
    """Lines drawn about the centre with a normal density, without replacement, and the calibration lines.

    Args:
        key: a key.
        shape: ``(h, w)``.
        acceleration: ``round(w / acceleration)`` lines are kept in all.
        calibration: central lines that are always kept; `calibration_lines` if left out.
        deviation: of the density, as a fraction of w.

    Returns:
        ``[h, w]``.

    Raises:
        ValueError: if the acceleration or the calibration lines do not fit.

    Reference:
        Chung and Ye 2022, "Score-based diffusion models for accelerated MRI", for the density; there lines are drawn
        with replacement and the true acceleration is higher than the nominal one.

    Example:
        >>> float(true_acceleration(gaussian_mask(jax.random.key(0), (32, 64), 8)))
        8.0
    """
    offset = (np.arange(shape[1]) - shape[1] // 2) / (deviation * shape[1])
    return _draw_lines(key, shape, acceleration, calibration, jnp.asarray(-(offset**2) / 2, jnp.float32))


def equispaced_mask(key: Key, shape: tuple[int, int], acceleration: float, *, calibration: int | None = None) -> Array:
    """Lines at equal distances from a random first one, and the calibration lines.

    With n calibration lines among w the distance is ``a = R (n - w) / (n R - w)``, so that the lines in all are w / R.

    Args:
        key: a key, for the first line.
        shape: ``(h, w)``.
        acceleration: R, of the whole mask; the number of lines varies a little with the first one.
        calibration: n, central lines that are always kept; `calibration_lines` if left out. Fewer than ``w / R``.

    Returns:
        ``[h, w]``.

    Raises:
        ValueError: if the acceleration or the calibration lines do not fit.

    Reference:
        Zbontar et al. 2018, "fastMRI: an open dataset and benchmarks for accelerated MRI", for the adjusted distance.

    Example:
        >>> equispaced_mask(jax.random.key(0), (1, 8), 2, calibration=0).sum()
        Array(4., dtype=float32)
    """
    height, width = shape
    _, centre = _budget(width, acceleration, calibration)
    if centre * acceleration >= width and acceleration > 1:
        raise ValueError(f"{centre} calibration lines of {width} leave no others at {acceleration}x")
    distance = acceleration * (centre - width) / (centre * acceleration - width) if acceleration > 1 else 1.0
    first = jax.random.uniform(key, (), maxval=distance)
    at = jnp.floor(first + distance * jnp.arange(math.ceil(width / distance) + 1)).astype(jnp.int32)
    return _repeated(jnp.asarray(_central(width, centre)).at[at].set(1.0, mode="drop"), height)


def radial_mask(key: Key, shape: tuple[int, int], acceleration: float) -> Array:
    """Straight lines through the centre, each the golden angle further on, at the nearest samples of the grid.

    Lines are added until ``h w / acceleration`` samples are reached. The first has a random angle.

    Args:
        key: a key.
        shape: ``(h, w)``.
        acceleration: above 1; samples that lines share count once.

    Returns:
        ``[h, w]``.

    Raises:
        ValueError: if the acceleration is not above 1, or leaves less than the centre.

    Reference:
        Winkelmann et al. 2007, "An optimal radial profile order based on the golden ratio for time-resolved MRI", for
        the angle.

    Example:
        >>> 3.8 < float(true_acceleration(radial_mask(jax.random.key(0), (64, 64), 4))) <= 4.0
        True
    """
    height, width = shape
    if not 1 < acceleration <= height * width:
        raise ValueError(f"an acceleration of {acceleration} does not fit a grid of {shape}: above 1")
    reach = math.ceil(math.hypot(height, width))
    most = math.ceil(math.pi * max(shape) / min(acceleration, 3.0))
    angle = jax.random.uniform(key, (), maxval=math.pi) + _GOLDEN_ANGLE * jnp.arange(most)
    radius = jnp.arange(-reach, reach + 1) / 2
    row = jnp.round(height // 2 + jnp.sin(angle)[:, None] * radius).astype(jnp.int32)
    column = jnp.round(width // 2 + jnp.cos(angle)[:, None] * radius).astype(jnp.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = jnp.where(inside, row * width + column, height * width)
    # The first line through each sample; how many samples the first n lines reach; the least n that is enough.
    line = jnp.broadcast_to(jnp.arange(most)[:, None], place.shape)
    first = jnp.full(height * width, most).at[place.ravel()].min(line.ravel(), mode="drop")
    reached = jnp.cumsum(jnp.zeros(most).at[first].add(1.0, mode="drop"))
    last = jnp.sum(reached < height * width / acceleration)
    return (first <= jnp.minimum(last, most - 1)).astype(jnp.float32).reshape(height, width)


def poisson_disc_mask(
    key: Key, shape: tuple[int, int], acceleration: float, *, calibration: int | None = None, slope: float = 2.0
) -> Array:
    """Samples no two of which are near, further apart outside than in the middle, and a central square.

    A sample at distance d from the centre (1 at the nearer border) has a disc of radius ``r (1 + slope d)``, and any
    two samples are at least the smaller of their radii apart. Candidates come in a random order; the largest r that
    still leaves enough samples is found by bisection, and what is too much is dropped at random.

    Args:
        key: a key.
        shape: ``(h, w)``.
        acceleration: ``round(h w / acceleration)`` samples are kept in all, those of the square included.
        calibration: side of the central square, always kept; `calibration_lines` of the shorter side if left out.
        slope: how fast the samples thin out; 0 for the same density everywhere.

    Returns:
        ``[h, w]``. It takes about ``10 h w`` short steps one after the other: a second or so for 256 x 256.

    Raises:
        ValueError: if the acceleration or the square do not fit.

    Reference:
        Bridson 2007, "Fast Poisson disk sampling in arbitrary dimensions", for the discs; Vasanawala et al. 2011,
        "Practical parallel imaging compressed sensing MRI", for MRI.

    Example:
        >>> float(true_acceleration(poisson_disc_mask(jax.random.key(0), (32, 32), 4)))
        4.0
    """
    height, width = shape
    if not 1 <= acceleration <= height * width:
        raise ValueError(f"an acceleration of {acceleration} does not fit a grid of {shape}")
    wanted = round(height * width / acceleration)
    side = calibration_lines(min(shape), acceleration) if calibration is None else calibration
    if not 0 <= side <= min(shape) or side**2 > wanted:
        raise ValueError(
            f"a calibration square of {side} does not fit the {wanted} samples that {acceleration}x leaves"
        )
    square = np.outer(_central(height, side), _central(width, side)) > 0
    away = np.hypot(
        2 * (np.arange(height)[:, None] - height // 2) / min(shape), 2 * (np.arange(width) - width // 2) / min(shape)
    )
    spread = jnp.asarray(1 + slope * away, jnp.float32)
    # As many discs of radius r as fit leave about 0.7 samples in an area of r^2: no larger radius can be needed.
    largest = 2 * math.sqrt(acceleration)
    reach = math.ceil(largest * float(np.max(1 + slope * away)))
    reach = min(reach, max(shape))
    offset = np.arange(-reach, reach + 1)
    from_centre = jnp.asarray(np.hypot(offset[:, None], offset), jnp.float32)
    order_key, drop_key = jax.random.split(key)
    order = jax.random.permutation(order_key, height * width)

    def throw(radius: Array) -> Array:
        """The samples that a radius lets in, the central square apart."""

        def candidate(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            blocked, taken = state
            row, column = order[i] // width, order[i] % width
            free = ~blocked[row + reach, column + reach]
            window = jax.lax.dynamic_slice(blocked, (row, column), from_centre.shape)
            window = window | (free & (from_centre < radius * spread[row, column]))
            blocked = jax.lax.dynamic_update_slice(blocked, window, (row, column))
            return blocked, taken.at[row, column].set(free)

        blocked = jnp.pad(jnp.asarray(square), reach)
        return jax.lax.fori_loop(0, height * width, candidate, (blocked, jnp.zeros(shape, bool)))[1]

    needed = wanted - int(square.sum())

    def halve(_: Array, interval: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        low, high, best = interval
        middle = (low + high) / 2
        taken = throw(middle)
        enough = jnp.sum(taken) >= needed
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle), jnp.where(enough, taken, best)

    everything = jnp.asarray(~square)
    _, _, taken = jax.lax.fori_loop(0, 10, halve, (jnp.zeros(()), jnp.float32(largest), everything))
    score = jnp.where(taken, jax.random.uniform(drop_key, shape), -1.0).ravel()
    _, kept = jax.lax.top_k(score, needed)
    return jnp.asarray(square, jnp.float32).ravel().at[kept].set(1.0).reshape(shape)


def mixed_mask(key: Key, shape: tuple[int, int], accelerations: Sequence[float]) -> Array:
    """A `random_mask` at one of several accelerations, all equally likely: for training on all of them.

    Args:
        key: a key.
        shape: ``(h, w)``.
        accelerations: to choose from.

    Returns:
        ``[h, w]``.

    Raises:
        ValueError: if an acceleration does not fit.

    Example:
        >>> float(true_acceleration(mixed_mask(jax.random.key(0), (32, 64), (4, 8)))) in (4.0, 8.0)
        True
    """
    branches = [functools.partial(random_mask, shape=shape, acceleration=a) for a in accelerations]
    which_key, mask_key = jax.random.split(key)
    which = jax.random.randint(which_key, (), 0, len(branches))
    return jnp.stack([branch(mask_key) for branch in branches])[which]


MASKS: dict[str, Callable[[Key, tuple[int, int], float], Array]] = {
    "random": random_mask,
    "equispaced": equispaced_mask,
    "gaussian": gaussian_mask,
    "poisson": poisson_disc_mask,
    "radial": radial_mask,
}
"""The families of masks by name: ``(key, shape, acceleration) -> [h, w]``."""
POINTS = ("poisson", "radial")
"""Families that measure a square in the middle, and not whole lines."""
