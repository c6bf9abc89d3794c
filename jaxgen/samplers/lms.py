"""LMS: the noise integrated as a polynomial in ``r = sigma / alpha``."""

import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.samplers.multistep import (
    Levels,
    Weights,
    earlier,
    from_noises,
    interpolation,
    linear_multistep,
    usable_order,
)
from jaxgen.types import Step


def lms(path: Path, order: int = 4) -> Step:
    """The linear multistep method (Adams and Bashforth's, with steps of any length), one evaluation per step.

    ``x_s / alpha_s = x_t / alpha_t + int_{r_t}^{r_s} noise(r) dr``, where ``noise(r)`` is the polynomial through the
    last noises; the integral is exact.

    Nothing is special about a last step to sigma = 0. The order is lower at the start.

    Args:
        path: the path.
        order: how many noises are in use.

    Raises:
        ValueError: if the order is below 1.

    Reference:
        Hairer, Norsett & Wanner 1993, "Solving ordinary differential equations I", section III.5 (variable steps);
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", for the coordinate.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import grids, sample
        >>> path = rectified()
        >>> sample(lms(path), lambda x, t: 0 * x + 3, jax.random.key(0), jnp.ones(1), grids.uniform(path, 4)).round(4)
        Array([3.], dtype=float32)
    """

    def weigh(level: Levels) -> Weights:
        ratio = level.sigma / level.alpha
        # The polynomial is in r, which may end at 0: only the start of that step has to be finite in lambda.
        usable = usable_order(jnp.where(ratio == 0, jnp.finfo(ratio.dtype).max, level.log_ratio), order)
        by_order = []
        for p in range(1, order + 1):
            taken = (usable == p) & (usable > 1)
            length = jnp.where(taken, ratio[1:] - ratio[:-1], 1)
            nodes = [jnp.where(taken, (earlier(ratio, j) - ratio[:-1]) / length, -j) for j in range(p)]
            by_order.append(interpolation(nodes, [length / (m + 1) for m in range(p)]))
        return from_noises(level, usable, by_order)

    return linear_multistep(path, order, weigh, noises=True)
