"""What a trained velocity says: its samples, their log-density, and the way from noise to data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxgen.paths import rectified
from jaxgen.samplers.continuous_flow import log_prob
from jaxgen.samplers.driver import sample
from jaxgen.samplers.ode import solve_ode_counted
from jaxgen.samplers.steps import euler, from_velocity
from jaxgen.types import Array, Params


class Velocity(NamedTuple):
    """A velocity from noise (t=0) to data (t=1), compiled once for all parameters that it may have.

    Attributes:
        draw: ``draw(params, noise [n, *shape]) -> (x [n, *shape], cost)``, solved to the tolerance; the dict of the
            cost has the number of ``evaluations``.
        log_prob: ``log_prob(params, x [n, *shape]) -> [n]`` nats, with the exact divergence.
        trajectory: ``trajectory(params, noise [n, *shape]) -> [steps + 1, n, *shape]`` by Euler's method.
    """

    draw: Callable[[Params, Array], tuple[Array, dict[str, Array]]]
    log_prob: Callable[[Params, Array], Array]
    trajectory: Callable[[Params, Array], Array]


def compiled_velocity(apply: Callable[[Params, Array, Array], Array], grid: Array, tolerance: float) -> Velocity:
    """Compile what evaluating a velocity takes, whether it was trained by likelihood or by flow matching.

    Args:
        apply: ``(params, x [n, *shape], t) -> dx/dt``.
        grid: the times ``[steps + 1]`` of the trajectories.
        tolerance: absolute and relative, of Dopri5.

    Returns:
        The `Velocity`.

    Example:
        >>> import jax.numpy as jnp
        >>> doubled = compiled_velocity(lambda params, x, t: params * x, jnp.linspace(0, 1, 11), 1e-6)
        >>> x, cost = doubled.draw(jnp.log(2.0), jnp.ones((1, 2)))
        >>> x.round(4).tolist(), doubled.trajectory(0.0, x).shape
        ([[2.0, 2.0]], (11, 1, 2))
    """
    options: dict[str, Any] = {"solver": "dopri5", "rtol": tolerance, "atol": tolerance}
    path = rectified()

    def draw(params: Params, noise: Array) -> tuple[Array, dict[str, Array]]:
        return solve_ode_counted(apply, params, noise, 0.0, 1.0, **options)

    def density(params: Params, x: Array) -> Array:
        return log_prob(lambda x, t: apply(params, x, t), None, x, **options)

    def trajectory(params: Params, noise: Array) -> Array:
        denoise = from_velocity(lambda x, t: apply(params, x, t), path)
        return sample(euler(path), denoise, jax.random.key(0), noise, grid, keep=True)

    return Velocity(jax.jit(draw), jax.jit(density), jax.jit(trajectory))
