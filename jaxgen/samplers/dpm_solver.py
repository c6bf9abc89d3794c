"""DPM-Solver++: exponential integrators in ``lambda = log(alpha / sigma)``, deterministic and stochastic.

With ``h = lambda_s - lambda_t`` and the rate ``k = 1 + eta``, the equation integrates exactly to

``x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s int_0^h k e^(-k (h - u)) x0(u) du + c z``

with z standard normal and ``c = sigma_s sqrt(1 - e^(-2 eta h))``. The methods put a polynomial
through what the denoiser said for x0(u). `eta` = 0 is the ordinary equation, `eta` = 1 the reverse diffusion; the
marginals are the same for all of them.

Every step evaluates the denoiser once. A last step to sigma = 0 has order 1 and lands on x0.
"""

import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.samplers.multistep import (
    Levels,
    Weights,
    earlier,
    interpolation,
    linear_multistep,
    phi,
    select,
    usable_order,
)
from jaxgen.types import Array, Step


def exponential_moments(h: Array, count: int, rate: float = 1.0) -> list[Array]:
    """The integrals ``k h int_0^1 e^(-k h (1 - v)) v^m dv = k h m! phi_{m+1}(-k h)`` for m = 0, ..., count - 1.

    Args:
        h: the steps in lambda; they may be infinite in the first of the integrals.
        count: how many.
        rate: the rate k.

    Example:
        >>> [round(float(m), 4) for m in exponential_moments(jnp.array(1.0), 2)]
        [0.6321, 0.3679]
    """
    moments, factorial = [-jnp.expm1(-rate * h)], 1
    for m in range(1, count):
        factorial *= m
        moments.append(rate * h * factorial * phi(m + 1, -rate * h))
    return moments


def exponential_weights(
    level: Levels,
    order: int,
    eta: float,
    midpoint: bool,
    lower_order_final: bool,
    singlestep: bool = False,
    inverse: bool = False,
) -> Weights:
    """The weights of DPM-Solver++; see the module. With `inverse` the levels fall from data to noise."""
    alpha, sigma, log_ratio = level
    advancing = -log_ratio if inverse else log_ratio
    usable = usable_order(advancing, order, lower_order_final and not singlestep, again=singlestep)
    if singlestep:
        steps = len(log_ratio) - 1
        usable = jnp.minimum(usable, jnp.array(_block_orders(steps, order, lower_order_final), int))
    rate = 1 + eta
    by_order, scales, noises = [], [], []
    for p in range(1, order + 1):
        back = p - 1 if singlestep else 0
        start = earlier(log_ratio, back)
        single = p == 1
        # Rows that are not taken must not divide infinity by infinity.
        h = jnp.where(usable == p, log_ratio[1:] - start, 1)
        nodes = [jnp.where(usable == p, (earlier(log_ratio, j) - start) / h, j) for j in range(p)]
        moments = exponential_moments(h, p, rate)
        if p == 2 and midpoint:
            moments[1] = moments[0] / 2
        if single:
            weights = [moments[0]]
        elif p == 3 and midpoint and singlestep:
            weights = interpolation(nodes[::2], moments)
            weights.insert(1, jnp.zeros_like(h))
        else:
            weights = interpolation(nodes, moments)
        by_order.append([alpha[1:] * w for w in weights])
        scales.append([sigma[1:] / earlier(sigma, back) * (1 if eta == 0 else jnp.exp(-eta * h))])
        noises.append([sigma[1:] * jnp.sqrt(-jnp.expm1(-2 * eta * h))] if eta else [jnp.zeros_like(h)])
    return Weights(
        select(usable, scales, 1)[:, 0],
        select(usable, by_order, order),
        select(usable, noises, 1)[:, 0] if eta else None,
        usable == 1 if singlestep and order > 1 else None,
    )


def _block_orders(steps: int, order: int, lower_order_final: bool) -> list[int]:
    """1, 2, ..., order, 1, 2, ...; with `lower_order_final` a last block that is whole gives up its last step."""
    orders = [i % order + 1 for i in range(steps)]
    if lower_order_final and steps and orders[-1] == order > 1:
        orders[-1] = 1
    return orders


def _dpm_solver(
    path: Path, order: int, eta: float, midpoint: bool, lower_order_final: bool, singlestep: bool = False
) -> Step:
    if eta < 0:
        raise ValueError(f"eta is {eta}: at least 0 is needed")
    return linear_multistep(
        path, order, lambda level: exponential_weights(level, order, eta, midpoint, lower_order_final, singlestep)
    )


def dpm_solver_1s(path: Path, *, eta: float = 0.0) -> Step:
    """DPM-Solver++ of order 1: ``x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s (1 - e^(-(1 + eta) h)) x0 + c z``.

    Without noise it is DDIM; with `eta` = 1 it is ancestral sampling.

    Args:
        path: the path.
        eta: how much noise is exchanged, 0 for the ordinary equation and 1 for the reverse diffusion.

    Raises:
        ValueError: if eta is negative.

    Reference:
        Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, section 5 for the stochastic form.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import grids, sample
        >>> path = rectified()
        >>> sample(dpm_solver_1s(path), lambda x, t: 0 * x + 3, jax.random.key(0), jnp.ones(1), grids.uniform(path, 2))
        Array([3.], dtype=float32)
    """
    return _dpm_solver(path, 1, eta, True, True)


def dpm_solver_2s(path: Path, *, eta: float = 0.0, midpoint: bool = True, lower_order_final: bool = True) -> Step:
    """DPM-Solver++ of order 2, single-step: pairs of steps, the second made again from the start of the pair.

    The grid holds the inner times of the method as well, so N steps are N evaluations. From time t through m to s, with
    ``r = (lambda_m - lambda_t) / h``: x_m is made by order 1, then
    ``x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) ((1 - 1/(2r)) x0_t + 1/(2r) x0_m)``.

    Args:
        path: the path.
        eta: how much noise is exchanged, 0 for the ordinary equation and 1 for the reverse diffusion.
        midpoint: weigh the slope of x0 as in the paper, by its middle; if False, by the exact integral.
        lower_order_final: two steps of order 1 in place of a last pair.

    Raises:
        ValueError: if eta is negative.

    Reference:
        Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, algorithm 1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> dpm_solver_2s(rectified()).init(jnp.ones(1), jnp.array([0.0, 0.5, 1.0])).past.shape
        (1, 1)
    """
    return _dpm_solver(path, 2, eta, midpoint, lower_order_final, singlestep=True)


def dpm_solver_3s(path: Path, *, eta: float = 0.0, midpoint: bool = False, lower_order_final: bool = True) -> Step:
    """DPM-Solver++ of order 3, single-step: blocks of three steps, each made again from the start of the block.

    The grid holds the inner times of the method as well, so N steps are N evaluations. The last step of a block
    integrates exactly the parabola through the three x0 of the block.

    Args:
        path: the path.
        eta: how much noise is exchanged, 0 for the ordinary equation and 1 for the reverse diffusion.
        midpoint: leave out the middle of the three x0, and weigh slopes at order 2 by their middle, as in the first
            DPM-Solver; this has order 3 only if the third time lies at two thirds of the block in lambda.
        lower_order_final: let the last step have order 1.

    Raises:
        ValueError: if eta is negative.

    Reference:
        Lu et al. 2022, "DPM-Solver", arXiv 2206.00927, algorithm 2, here in the form that predicts x0.

    Example:
        >>> from jaxgen.paths import rectified
        >>> dpm_solver_3s(rectified()).init(jnp.ones(1), jnp.array([0.0, 0.5, 1.0])).past.shape
        (2, 1)
    """
    return _dpm_solver(path, 3, eta, midpoint, lower_order_final, singlestep=True)


def dpm_solver_2m(path: Path, *, eta: float = 0.0, midpoint: bool = True, lower_order_final: bool = True) -> Step:
    """DPM-Solver++ of order 2, multistep; with `eta` = 1, SDE-DPM-Solver++ (2M).

    With ``r = h_last / h`` and ``k = 1 + eta``:
    ``x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s (1 - e^(-k h)) ((1 + 1/(2r)) x0 - 1/(2r) x0_last)``, plus
    ``sigma_s sqrt(1 - e^(-2 eta h)) z`` with z standard normal.

    Args:
        path: the path.
        eta: how much noise is exchanged, 0 for the ordinary equation and 1 for the reverse diffusion.
        midpoint: weigh the slope of x0 as in the paper, by its middle; if False, by the exact integral.
        lower_order_final: let the last step have order 1, as it always has if it ends without noise.

    Raises:
        ValueError: if eta is negative.

    Reference:
        Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, algorithm 2, and section 5 for the stochastic form.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import grids, sample
        >>> path = rectified()
        >>> sample(dpm_solver_2m(path), lambda x, t: 0 * x + 3, jax.random.key(0), jnp.ones(1), grids.uniform(path, 4))
        Array([3.], dtype=float32)
    """
    return _dpm_solver(path, 2, eta, midpoint, lower_order_final)


def dpm_solver_3m(path: Path, *, eta: float = 0.0, midpoint: bool = True, lower_order_final: bool = True) -> Step:
    """DPM-Solver++ of order 3, multistep: the exact integral of the parabola through the last three x0.

    ``x_s = (sigma_s / sigma_t) e^(-eta h) x_t + alpha_s k h (phi_1 D_0 + phi_2 D_1 + 2 phi_3 D_2) + noise`` with
    ``phi_j = phi_j(-k h)``, ``k = 1 + eta`` and ``x0(v) = D_0 + D_1 v + D_2 v^2`` for ``v = (lambda - lambda_t) / h``.
    Other implementations leave out the 2, and with it the third order.

    Args:
        path: the path.
        eta: how much noise is exchanged, 0 for the ordinary equation and 1 for the reverse diffusion.
        midpoint: in steps of order 2, weigh the slope of x0 by its middle; if False, by the exact integral.
        lower_order_final: let the last two steps have orders 2 and 1.

    Raises:
        ValueError: if eta is negative.

    Reference:
        Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, section 4.

    Example:
        >>> from jaxgen.paths import rectified
        >>> dpm_solver_3m(rectified()).init(jnp.ones(1), jnp.array([0.0, 0.5, 1.0])).past.shape
        (2, 1)
    """
    return _dpm_solver(path, 3, eta, midpoint, lower_order_final)
