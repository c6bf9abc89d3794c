"""How straight the trajectories of a flow are: how few steps can follow them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.paths import rectified
from jaxgen.samplers import euler, from_velocity, grids, sample
from jaxgen.types import Array, Key, Net, Params

FINE = 20
"""Euler steps that follow a trajectory closely enough to see its curvature."""


def straightness(trajectory: Array, grid: Array) -> Array:
    """How far the velocity departs from that of the straight line: ``mean_t |dx/dt - (x_1 - x_0) / T|^2``.

    0 if and only if the trajectory is a straight line run at constant speed, which one Euler step follows exactly. The
    velocity is that of the steps ``(x_{k+1} - x_k) / (t_{k+1} - t_k)``: take enough of them.

    Args:
        trajectory: points along the way ``[steps + 1, b, *shape]``, such as ``jaxgen.samplers.sample(..., keep=True)``.
        grid: their times ``[steps + 1]``, in either direction.

    Returns:
        Float32 ``[b]``, in squared units of the data over squared time.

    Raises:
        ValueError: if the times are not one a point.

    Reference:
        Liu, Gong & Liu 2023, "Flow straight and fast: learning to generate and transfer data with rectified flow".

    Example:
        >>> half_way = jnp.array([[[0.0]], [[2.0]], [[2.0]]])  # twice the speed, then none
        >>> straightness(half_way, jnp.array([0.0, 0.5, 1.0])).tolist()
        [4.0]
    """
    if trajectory.shape[0] != len(grid):
        raise ValueError(f"{trajectory.shape[0]} points and {len(grid)} times: give one time a point")
    trajectory = trajectory.astype(jnp.promote_types(trajectory.dtype, jnp.float32))
    lengths = jnp.diff(grid).reshape((-1,) + (1,) * (trajectory.ndim - 1))
    straight = (trajectory[-1] - trajectory[0]) / (grid[-1] - grid[0])
    squares = (jnp.diff(trajectory, axis=0) / lengths - straight) ** 2
    total = jnp.sum(lengths * squares, axis=(0, *range(2, trajectory.ndim)))
    return total / (grid[-1] - grid[0])


def departure_from_straight(net: Net, shape: tuple[int, ...], n: int) -> Callable[[Params, Key], Array]:
    """The mean `straightness` per pixel of trajectories from noise to data, by `FINE` Euler steps on the straight path.

    Args:
        net: the velocity ``apply(params, x, t)``.
        shape: of one example.
        n: how many trajectories.

    Returns:
        ``departure(params, key)``, to be compiled.
    """
    path = rectified()
    grid = grids.uniform(path, FINE)

    def departure(params: Params, key: Key) -> Array:
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), path)
        noise = jax.random.normal(key, (n, *shape))
        trajectory = sample(euler(path), denoise, jax.random.key(0), noise, grid, keep=True)  # Euler draws nothing
        return straightness(trajectory, grid).mean() / noise[0].size

    return departure
