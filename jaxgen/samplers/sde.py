"""Stochastic differential equations by diffrax: many solvers on a grid of times, gradients by checkpoints."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.paths import Path, convert
from jaxgen.samplers.euler_maruyama import noise_rate
from jaxgen.samplers.ode import Steps, explicit, finished
from jaxgen.samplers.steps import Sample, ddim
from jaxgen.types import Array, Denoise, Key, Params


class _Increments(diffrax.AbstractBrownianPath):
    """Brownian increments over the steps of a known grid, each drawn from the key folded with the step's number.

    A step computed anew sees the same increment: unlike with `diffrax.UnsafeBrownianPath` gradients by checkpoints are
    right, and unlike in `diffrax.VirtualBrownianTree` each costs one draw. Only the steps of the grid can be asked for.
    """

    key: Any
    grid: Any
    like: Any = dataclasses.field(metadata={"static": True})
    levy_area: Any = dataclasses.field(metadata={"static": True})

    @property
    def t0(self) -> Any:  # type: ignore[override]
        return -jnp.inf

    @property
    def t1(self) -> Any:  # type: ignore[override]
        return jnp.inf

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        del left
        if t1 is None:
            raise ValueError("only increments over a step of the grid are drawn: this solver asks for more")
        number = jnp.argmin(jnp.abs(self.grid - jax.lax.stop_gradient(t0)))
        keys = draws.split(draws.fold_in(self.key, number), 3)
        size = jnp.sqrt(jnp.asarray(t1 - t0, self.like.dtype))
        w, h, k = (
            lambda scale=scale, key=key: scale * size * draws.normal(key, self.like.shape, self.like.dtype)
            for scale, key in zip((1.0, 12**-0.5, 720**-0.5), keys, strict=True)
        )
        if not use_levy:
            return w()
        if self.levy_area is diffrax.SpaceTimeTimeLevyArea:
            return diffrax.SpaceTimeTimeLevyArea(dt=size**2, W=w(), H=h(), K=k())
        if self.levy_area is diffrax.SpaceTimeLevyArea:
            return diffrax.SpaceTimeLevyArea(dt=size**2, W=w(), H=h())
        return diffrax.BrownianIncrement(dt=size**2, W=w())


class _Elementwise(diffrax.ControlTerm):
    """Noise that is scaled elementwise, rather than by a matrix."""

    def prod(self, vf: Any, control: Any) -> Any:
        return vf * control


# Time always runs forwards for diffrax, whose stochastic Runge-Kutta methods lose a sign when it runs backwards.
def _drift(drift: Callable[..., Any], clock: Array, x: Array, arguments: Any) -> Any:
    params, direction = arguments
    return direction * drift(params, x, direction * clock)


def _diffusion(diffusion: Callable[..., Any], dtype: Any, clock: Array, x: Array, arguments: Any) -> Any:
    params, direction = arguments
    return jnp.asarray(diffusion(params, x, direction * clock), dtype)


def solve_sde(
    drift: Callable[[Params, Array, Array], Array],
    diffusion: Callable[[Params, Array, Array], Array],
    params: Params,
    key: Key,
    x: Array,
    grid: Array,
    *,
    solver: Any = None,
    adjoint: Any = None,
) -> Array:
    """Solve ``dx = drift dt + diffusion dw`` over the steps of a grid, with the noise of each value independent.

    Args:
        drift: ``(params, x, t) -> dx/dt``, with a scalar t.
        diffusion: ``(params, x, t) -> g``, a scalar or an array that broadcasts against x. Many solvers ask that it be
            independent of x; then the Ito and the Stratonovich equations are the same.
        params: whatever the two need; gradients flow to it.
        key: one key, or keys ``[b]``.
        x: the state at the first time ``[b, *spatial, c]``.
        grid: times ``[steps + 1]``, in either direction.
        solver: a diffrax solver for stochastic equations with steps of given length, such as ``diffrax.ShARK()``; None
            for ``diffrax.Euler()``.
        adjoint: a diffrax adjoint; None checkpoints every step.

    Returns:
        The state at the last time, in float32 or wider. Inside of `jax.jit` and other transformations it is NaN where
        the solver failed.

    Raises:
        UserError: outside of transformations, if the solver failed, or the times do not rise or fall strictly.

    Reference:
        Kidger 2021, "On neural differential equations", chapters 4 and 5; Foster, dos Reis & Strange 2023, "High order
        splitting methods for SDEs satisfying a commutativity condition", for ShARK.

    Example:
        >>> grid, key = jnp.linspace(0.0, 1.0, 5), jax.random.key(0)
        >>> end = solve_sde(lambda rate, x, t: rate * x, lambda rate, x, t: 0.0, -1.0, key, jnp.ones(2), grid)
        >>> [round(float(v), 4) for v in end]  # (1 - 1/4)^4
        [0.3164, 0.3164]
    """
    solver = diffrax.Euler() if solver is None else solver
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x, grid, steps = jnp.asarray(x, dtype), jnp.asarray(grid, dtype), len(grid) - 1
    direction = jnp.sign(grid[-1] - grid[0])
    clock = direction * grid
    needs = getattr(solver, "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    if issubclass(needs, diffrax.AbstractSpaceTimeTimeLevyArea):
        area: Any = diffrax.SpaceTimeTimeLevyArea
    else:
        area = diffrax.SpaceTimeLevyArea if issubclass(needs, diffrax.AbstractSpaceTimeLevyArea) else None
    noise = _Increments(key, clock, jax.ShapeDtypeStruct(x.shape, dtype), area or diffrax.BrownianIncrement)
    partial = jax.tree_util.Partial
    terms: Any = diffrax.MultiTerm(
        diffrax.ODETerm(partial(_drift, drift)), _Elementwise(partial(_diffusion, diffusion, dtype), noise)
    )
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        clock[0],
        clock[-1],
        None,
        x,
        (params, direction),
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=Steps(clock),
        adjoint=adjoint or diffrax.RecursiveCheckpointAdjoint(checkpoints=steps),
        max_steps=steps,
        throw=False,
    )
    return finished(solution, clock)


def reverse_sde(
    path: Path, denoise: Denoise, key: Key, x: Array, grid: Array, *, solver: Any = None, noise: float = 1.0
) -> Array:
    """Sample by solving the reverse stochastic equation with any diffrax solver, over a grid from noise to data.

    ``dx = (u - d (noise g)^2 / 2 score) dt + noise g dw`` with u the velocity of the probability flow, g the path's
    diffusion and d the sign of ``t_noise - t_data``. The last step of the grid is one of DDIM, for no solver may ask a
    denoiser for the score where sigma is 0.

    Wrap the call in `jax.jit`; gradients flow to what the denoiser closes over.

    Args:
        path: the path.
        denoise: ``(x_t, t) -> x0_hat``.
        key: one key, or keys ``[b]``.
        x: where to start ``[b, *spatial, c]``, ``path.sigma(path.t_noise) * noise``.
        grid: times ``[steps + 1]``, from noise to data, of at least 2 steps.
        solver: a diffrax solver, see `solve_sde`; None for Euler's, which is `euler_maruyama`.
        noise: the diffusion in units of the path's own, see `euler_maruyama`.

    Returns:
        The sample at the last time, of the shape and type of x.

    Raises:
        ValueError: if the grid has less than 2 steps.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 6.

    Example:
        >>> from jaxgen.paths import rectified
        >>> grid = jnp.linspace(0.0, 1.0, 5)
        >>> reverse_sde(rectified(), lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(2), grid).tolist()
        [3.0, 3.0]
    """
    if len(grid) < 3:
        raise ValueError("at least 2 steps are needed: the last one is made by DDIM")
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    grid, towards = jnp.asarray(grid, dtype), np.sign(path.t_noise - path.t_data)

    def drift(y: Array, t: Array) -> Array:
        x0 = denoise(y.astype(x.dtype), t)
        score = (path.alpha(t) * x0 - y) / path.sigma(t) ** 2
        u = convert(path, y, t, x0, "x0", "velocity")
        return (u - towards * 0.5 * noise_rate(path, t, noise) * score).astype(dtype)

    pure, held = explicit(drift, x.astype(dtype), grid[0])
    near = solve_sde(
        pure,
        lambda _, y, t: jnp.sqrt(noise_rate(path, t, noise)),
        held,
        key,
        x.astype(dtype),
        grid[:-1],
        solver=solver,
    )
    return ddim(path).step(denoise, key, Sample(near.astype(x.dtype)), grid[-2], grid[-1]).x
