"""DEIS: the noise integrated as a polynomial in ``log rho``, with ``rho = sigma / alpha``."""

import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.samplers.multistep import (
    Levels,
    Weights,
    earlier,
    from_noises,
    interpolation,
    linear_multistep,
    phi,
    usable_order,
)
from jaxgen.types import Step


def deis(path: Path, order: int = 3, *, lower_order_final: bool = True) -> Step:
    """DEIS of any order, multistep, one evaluation per step.

    ``x_s / alpha_s = x_t / alpha_t + int_{rho_t}^{rho_s} noise(log rho) d rho``, where ``noise(log rho)`` is the
    polynomial through the last noises; the integral is exact. With ``h = log(rho_t / rho_s)`` it is
    ``-rho_s h sum_m c_m m! phi_{m+1}(h)`` for the polynomial ``sum_m c_m v^m``, ``v = log(rho_t / rho) / h``.

    Args:
        path: the path.
        order: how many noises are in use.
        lower_order_final: let the last steps have falling orders, as the very last always has order 1 if it ends
            without noise.

    Raises:
        ValueError: if the order is below 1.

    Reference:
        Zhang & Chen 2023, "Fast sampling of diffusion models with exponential integrator", arXiv 2204.13902, the
        multistep method in ``log rho`` (rhoAB with t replaced by log rho).

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import grids, sample
        >>> path = rectified()
        >>> sample(deis(path), lambda x, t: 0 * x + 3, jax.random.key(0), jnp.ones(1), grids.uniform(path, 4)).round(4)
        Array([3.], dtype=float32)
    """

    def weigh(level: Levels) -> Weights:
        alpha, sigma, log_ratio = level
        usable = usable_order(log_ratio, order, lower_order_final)
        by_order = []
        for p in range(1, order + 1):
            taken = (usable == p) & (usable > 1)
            h = jnp.where(taken, log_ratio[1:] - log_ratio[:-1], 1)
            nodes = [jnp.where(taken, (earlier(log_ratio, j) - log_ratio[:-1]) / h, -j) for j in range(p)]
            moments, factorial = [], 1
            for m in range(p):
                factorial *= max(m, 1)
                moments.append(-h * factorial * phi(m + 1, h) * (sigma[1:] / jnp.where(taken, alpha[1:], 1)))
            by_order.append(interpolation(nodes, moments))
        return from_noises(level, usable, by_order)

    return linear_multistep(path, order, weigh, noises=True)
