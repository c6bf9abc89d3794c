"""Monotonic rational-quadratic splines: flexible, and inverted by a formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.bijections.bijection import lift
from jaxgen.bijections.monotonic import MonotonicTransform
from jaxgen.types import Array


def rational_quadratic(
    bins: int = 8, bound: float = 5.0, *, min_size: float = 1e-3, min_slope: float = 1e-3
) -> MonotonicTransform:
    """A spline of `bins` rational-quadratic pieces on ``[-bound, bound]``, and the identity outside.

    In a bin of width w and height h, with ``s = h / w``, slopes ``d0, d1`` at its ends and ``t = (x - x0) / w``::

        y = y0 + h (s t^2 + d0 t (1 - t)) / (s + (d1 + d0 - 2 s) t (1 - t))

    Of the ``3 bins - 1`` parameters of a number the first `bins` make the widths and the next the heights (by softmax),
    the rest the slopes at the inner knots (by softplus); at the two ends the slope is 1.

    Args:
        bins: how many pieces, at least 2.
        bound: half the width of the square in which the spline lives.
        min_size: the least width and height of a bin, as a share of the square.
        min_slope: the least slope at a knot.

    Returns:
        A `MonotonicTransform`.

    Raises:
        ValueError: if there are fewer than 2 bins, or too many for `min_size`.

    Reference:
        Durkan, Bekasov, Murray & Papamakarios 2019, "Neural spline flows", arXiv 1906.04032, eq. 4 to 8; Gregory &
        Delbourgo 1982, "Piecewise rational quadratic interpolation to monotonic data".

    Example:
        >>> spline = rational_quadratic(bins=4)
        >>> y, log_slope = spline.forward(jnp.zeros((1, spline.parameters, 1)), jnp.array([[0.3]]))
        >>> bool(jnp.allclose(y, 0.3)), bool(jnp.allclose(log_slope, 0, atol=1e-6))
        (True, True)
    """
    if bins < 2 or bins * min_size >= 1:
        raise ValueError(f"{bins} bins of at least {min_size:g} of the whole each: use at least 2 and fewer")
    zero_slope = math.log(math.expm1(1 - min_slope))  # the softplus of this and min_slope make 1

    before = np.tril(np.ones((bins, bins), np.float32), -1)

    def bin_of(theta: Array, at: Array, *, of_values: bool) -> tuple[Array, ...]:
        """The bin that each number lies in: its corner, width, height and slopes.

        Sums over masked bins take the place of a search and a gather: they fuse, and have cheap gradients.
        """
        raw = jnp.moveaxis(lift(theta), -2, 0)
        sizes = 2 * bound * (min_size + (1 - bins * min_size) * jax.nn.softmax(raw[: 2 * bins].reshape(2, bins, -1), 1))
        # On an accelerator the default precision of a product would misplace the knots.
        corners = jnp.einsum("kj,pjn->pkn", before.astype(raw.dtype), sizes, precision=jax.lax.Precision.HIGHEST)
        sizes, corners = (a.reshape(2, bins, *raw.shape[1:]) for a in (sizes, corners - bound))
        one = jnp.ones_like(raw[:1])
        slopes = jnp.concatenate([one, min_slope + jax.nn.softplus(raw[2 * bins :] + zero_slope), one])
        reached = at >= corners[int(of_values)][1:]
        first = jnp.ones_like(reached[:1])
        here = jnp.concatenate([first, reached]) & ~jnp.concatenate([reached, ~first])
        values = (*corners, *sizes, slopes[:-1], slopes[1:])
        return tuple(jnp.sum(jnp.where(here, value, 0), 0) for value in values)

    def log_slope(t: Array, s: Array, d0: Array, d1: Array) -> Array:
        both = t * (1 - t)
        bottom = s + (d1 + d0 - 2 * s) * both
        top = s**2 * (d1 * t**2 + 2 * s * both + d0 * (1 - t) ** 2)
        return jnp.log(top) - 2 * jnp.log(bottom)

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) < bound
        clipped = jnp.clip(x, -bound, bound)  # so that the branch not taken has a finite gradient
        x0, y0, w, h, d0, d1 = bin_of(theta, clipped, of_values=False)
        s, t = h / w, jnp.clip((clipped - x0) / w, 0, 1)
        both = t * (1 - t)
        y = y0 + h * (s * t**2 + d0 * both) / (s + (d1 + d0 - 2 * s) * both)
        return jnp.where(inside, y, x), jnp.where(inside, log_slope(t, s, d0, d1), 0)

    def inverse(theta: Array, y: Array) -> tuple[Array, Array]:
        inside = jnp.abs(y) < bound
        clipped = jnp.clip(y, -bound, bound)
        x0, y0, w, h, d0, d1 = bin_of(theta, clipped, of_values=True)
        s, up = h / w, jnp.clip(clipped - y0, 0, h)
        bend = up * (d1 + d0 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * up
        root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 1e-30))
        t = jnp.clip(2 * c / (-b - root), 0, 1)
        return jnp.where(inside, x0 + t * w, y), jnp.where(inside, -log_slope(t, s, d0, d1), 0)

    return MonotonicTransform(3 * bins - 1, forward, inverse)
