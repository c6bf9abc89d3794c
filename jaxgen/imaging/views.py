"""What the views of a scan, and the rays of a fan, count for in filtered back-projection."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array

_WEDGES = 3
"""How many gaps may be unmeasured at most: no more than that are ever left out, however wide."""


class _Circle(NamedTuple):
    """The views in their order round the circle; repeated ones stand together, with one gap behind them all.

    Attributes:
        angles: from 0 to the period, ascending from wherever the widest gap ends, then from 0 ``[views]``.
        order: which view each is.
        place: which of the distinct angles each is, from 0 up.
        measured: of the gap from each to the next, what the two stand for.
        unmeasured: the rest of it, between the halves.
    """

    angles: Array
    order: Array
    place: Array
    measured: Array
    unmeasured: Array


def _round_the_circle(angles: Array, period: float) -> _Circle:
    turned = jnp.mod(angles, period)
    turned = jnp.where(turned >= period, 0, turned)  # a tiny angle below 0 is rounded up to the period
    order = jnp.argsort(turned)
    gaps = jnp.diff(turned[order], append=turned[order[:1]] + period)
    # The widest gap comes last, so that no group of repeated angles is cut in two.
    widest = -1 - jnp.argmax(gaps)
    order, gaps = jnp.roll(order, widest), jnp.roll(gaps, widest)
    # Angles of several turns are rounded before they are taken back to one.
    eps = 16 * float(jnp.finfo(jnp.float32).eps)
    distinct = gaps > jnp.minimum(eps * jnp.maximum(period, jnp.max(jnp.abs(angles))), period / (2 * len(angles)))
    gaps = jnp.where(distinct, gaps, 0)
    gaps = gaps * (period / jnp.sum(gaps))
    # The usual gap is one of the widest, not of the most: turns that interleave leave many narrow ones.
    wedges = jnp.clip((jnp.sum(distinct) - 1) // 2, 0, _WEDGES)
    usual = jnp.sort(gaps)[len(gaps) - 1 - wedges]
    measured = jnp.where(gaps > 3 * usual, usual, gaps)
    place = jnp.cumsum(distinct) - distinct
    return _Circle(turned[order], order, place, measured, gaps - measured)


def angular_steps(angles: Array, period: float = np.pi) -> Array:
    """The share of the circle that each view stands for: half the way to either neighbour.

    Views at one angle, to rounding, share what it stands for. A gap more than three times as wide as the fourth widest
    has not been measured, and counts as that (the third or second widest where there are fewer than seven or five).

    Args:
        angles: ``[views]``, radians, in any order; several turns are taken together.
        period: after which views repeat: pi for parallel rays.

    Returns:
        ``[views]``, radians.

    Example:
        >>> angular_steps(jnp.array([0.0, 1.0, 2.0]), 4.0).tolist()
        [1.5, 1.0, 1.5]
        >>> angular_steps(jnp.array([0.0, 1.0, 2.0, 5.0]), 4.0).tolist()  # 5 is 1 again
        [1.5, 0.5, 1.5, 0.5]
    """
    circle, n = _round_the_circle(angles, period), len(angles)
    halves = (circle.measured + jnp.roll(circle.measured, 1)) / 2
    total, count = (jax.ops.segment_sum(x, circle.place, n) for x in (halves, jnp.ones_like(halves)))
    return jnp.zeros_like(angles).at[circle.order].set((total / jnp.maximum(count, 1))[circle.place])


def ray_weights(angles: Array, gamma: Array, *, margin: float = np.pi / 9) -> Array:
    """How much each ray of a fan counts, so that rays that were measured from both sides do not count twice.

    The ray at gamma of view a runs back as the ray at ``-gamma`` of view ``a + pi + 2 gamma``. With c(a) 1 where views
    were measured, falling to 0 over `margin` towards a gap (see `angular_steps`) as a squared sine,

    ``w(a, gamma) = c(a) / (c(a) + c(a + pi + 2 gamma))``:

    1/2 over a full circle, 1 where only one side was measured, and smooth between.

    Args:
        angles: ``[views]``, radians, in any order.
        gamma: ``[detectors]``, from the ray through the middle, radians.
        margin: radians; several views wide, even where views are few.

    Returns:
        ``[views, detectors]``.

    Reference:
        Noo et al. 2002, "Image reconstruction from fan-beam projections on less than a short scan"; Parker 1982,
        "Optimal short scan convolution reconstruction for fan-beam CT", for what it replaces.

    Example:
        >>> half = jnp.linspace(0.0, jnp.pi, 90)
        >>> ray_weights(half, jnp.array([-0.3, 0.0, 0.3]))[45].round(2).tolist()
        [1.0, 1.0, 1.0]
        >>> ray_weights(2 * half, jnp.array([0.0]))[45].tolist()
        [0.5]
    """
    circle = _round_the_circle(angles, 2 * np.pi)
    begin = circle.angles + circle.measured / 2
    edges = jnp.concatenate([begin, begin + circle.unmeasured])
    past = jnp.mod(edges[:, None] - begin, 2 * np.pi)
    away = jnp.minimum(jnp.maximum(past - circle.unmeasured, 0), 2 * np.pi - past)
    nearest = jnp.min(jnp.where(circle.unmeasured > 0, away, 2 * np.pi), -1)

    def trust(a: Array) -> Array:
        """From the way to the nearest gap, which is linear between `edges`."""
        return jnp.sin(jnp.pi / 2 * jnp.minimum(jnp.interp(a, edges, nearest, period=2 * np.pi) / margin, 1)) ** 2

    own = trust(angles)[:, None]
    return own / (own + trust(angles[:, None] + np.pi + 2 * gamma))
