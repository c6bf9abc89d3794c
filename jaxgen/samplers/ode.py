"""Ordinary differential equations by diffrax: adaptive steps, many solvers, gradients in bounded memory."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jaxgen.errors import UserError
from jaxgen.types import Array, Params

SOLVERS: dict[str, Callable[[], Any]] = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
}
MAX_STEPS = 4096
"""The most steps that a solver with adaptive steps may take."""


def explicit(function: Callable[..., Any], *examples: Any) -> tuple[Callable[..., Any], Any]:
    """Take a function apart into a pure one and the arrays that it closes over, such as a network's parameters.

    diffrax differentiates with respect to what it is handed, not to what a function holds.

    Args:
        function: any function of trees of arrays.
        *examples: arguments for it, for their shapes and types.

    Returns:
        The pair ``(pure, held)`` with ``pure(held, *arguments) == function(*arguments)``.

    Example:
        >>> pure, held = explicit(lambda x: 2 * x, jnp.ones(2))
        >>> pure(held, jnp.ones(2)).tolist()
        [2.0, 2.0]
    """
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)

    def pure(held: list[Array], *arguments: Any) -> Any:
        leaves = jaxpr_as_fun(ClosedJaxpr(program.jaxpr, held))(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return pure, [jnp.asarray(constant) for constant in program.consts]


class Steps(diffrax.StepTo):
    """`diffrax.StepTo` without its checks, which call back to Python: a program with one runs on the CPU and GPU alone.

    `finished` checks the times instead.
    """

    def wrap(self, direction: Any) -> "Steps":
        """The times as diffrax counts them, which is always forwards."""
        return type(self)(ts=self.ts * direction)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: None, args: Any, func: Any, error_order: Any) -> Any:
        """The end of the first step, and the number of the one after it."""
        del terms, t0, t1, y0, dt0, args, func, error_order
        return self.ts[1], 2


def finished(solution: diffrax.Solution, times: Array | None = None) -> Any:
    """The last state of a solution, or where it failed an error (outside of compiled programs) or NaN (inside).

    Args:
        solution: of `diffrax.diffeqsolve` with ``throw=False`` and ``SaveAt(t1=True)``.
        times: those of `Steps`, which must rise or fall strictly; None where steps adapt.

    Returns:
        The state, a tree of arrays.

    Raises:
        UserError: outside of `jax.jit` and other transformations, where the solver failed.
    """
    end = jax.tree.map(lambda a: a[0], solution.ys)
    done: Any = solution.result == diffrax.RESULTS.successful
    if times is not None:
        steps = jnp.diff(times)
        done &= jnp.all(steps > 0) | jnp.all(steps < 0)
    if isinstance(done, jax.core.Tracer):
        # Not `jnp.where`: XLA would fuse it with what comes next, and round that otherwise.
        lost = lambda state: jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), state)  # noqa: E731
        return jax.lax.cond(done, lambda state: state, lost, end)
    if not done:
        raise UserError(
            f"the solver did not reach the end in {MAX_STEPS} steps: loosen rtol and atol, or give steps"
            if times is None
            else "the solver failed: its times must rise or fall strictly, and an implicit solver needs shorter steps"
        )
    return end


def _field(velocity: Callable[..., Any], t: Array, x: Any, params: Params) -> Any:
    return velocity(params, x, t)


def solve_ode(
    velocity: Callable[[Params, Array, Array], Array],
    params: Params,
    x: Any,
    t0: Any,
    t1: Any,
    *,
    solver: Any = "tsit5",
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    adjoint: Any = None,
) -> Any:
    """Solve ``dx/dt = velocity(params, x, t)`` from t0 to t1, in either direction.

    Args:
        velocity: ``(params, x, t) -> dx/dt``, with a scalar t. The same function object (not a new lambda each time)
            spares a new compilation outside of jit.
        params: whatever the velocity needs; gradients flow to it.
        x: the state at t0, an array ``[b, *spatial, c]`` or any tree of arrays of one floating type.
        t0: where to start.
        t1: where to end.
        solver: one of `SOLVERS`, or a diffrax solver.
        steps: the number of equal steps; None for steps that adapt to the error, at most `MAX_STEPS`.
        rtol: relative tolerance of adaptive steps, 1e-5 if None.
        atol: absolute tolerance of adaptive steps, 1e-5 if None. The error is that of the whole batch together.
        adjoint: a diffrax adjoint; None checkpoints recursively, every step when their number is fixed.

    Returns:
        The state at t1. Inside of `jax.jit` and other transformations it is NaN where the solver failed.

    Raises:
        ValueError: if the solver is unknown, if `steps` is below 1 or given along with a tolerance, or if `steps` is
            missing where the solver cannot adapt.
        UserError: outside of transformations, if the solver failed: it took too many steps, or t0 equals t1.

    Reference:
        Kidger 2021, "On neural differential equations", chapter 5; Chen et al. 2018, "Neural ordinary differential
        equations", eq. 2.

    Example:
        >>> x = solve_ode(lambda rate, x, t: rate * x, -1.0, jnp.ones(2), 0.0, 1.0, rtol=1e-6, atol=1e-6)
        >>> [round(float(v), 4) for v in x]
        [0.3679, 0.3679]
    """
    options: dict[str, Any] = {"solver": solver, "steps": steps, "rtol": rtol, "atol": atol, "adjoint": adjoint}
    return solve_ode_counted(velocity, params, x, t0, t1, **options)[0]


def solve_ode_counted(
    velocity: Callable[[Params, Array, Array], Array],
    params: Params,
    x: Any,
    t0: Any,
    t1: Any,
    *,
    solver: Any = "tsit5",
    steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    adjoint: Any = None,
) -> tuple[Any, dict[str, Array]]:
    """`solve_ode`, with the number of steps and of evaluations that it took.

    Args:
        velocity: as of `solve_ode`, as are all others.
        params: whatever the velocity needs.
        x: the state at t0.
        t0: where to start.
        t1: where to end.
        solver: one of `SOLVERS`, or a diffrax solver.
        steps: the number of equal steps, or None.
        rtol: relative tolerance of adaptive steps.
        atol: absolute tolerance of adaptive steps.
        adjoint: a diffrax adjoint, or None.

    Returns:
        The pair (state, dict) with int32 entries ``steps`` (rejected ones too) and, for Runge-Kutta solvers,
        ``evaluations`` of the velocity (the one or two that choose the first adaptive step left out).

    Raises:
        ValueError: as `solve_ode`.
        UserError: as `solve_ode`.

    Example:
        >>> solve_ode_counted(lambda rate, x, t: rate * x, -1.0, jnp.ones(2), 0.0, 1.0, solver="heun", steps=3)[1]
        {'steps': Array(3, dtype=int32, weak_type=True), 'evaluations': Array(6, dtype=int32, weak_type=True)}
    """
    if isinstance(solver, str):
        if solver not in SOLVERS:
            raise ValueError(f"unknown solver {solver!r}: choose from {', '.join(SOLVERS)}")
        solver = SOLVERS[solver]()
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}: at least 1 is needed")
    if steps is not None and (rtol is not None or atol is not None):
        raise ValueError("give either steps (fixed) or rtol and atol (adaptive), not both")
    if steps is None and isinstance(solver, diffrax.Euler):
        raise ValueError("euler estimates no error and cannot adapt: give steps")

    # diffrax promotes the state to the type of the times, so they take the type of the state.
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(x)), jnp.float32)
    x, t0, t1 = jax.tree.map(lambda a: jnp.asarray(a, dtype), (x, t0, t1))
    times = None if steps is None else jnp.linspace(t0, t1, steps + 1)
    controller: Any
    if times is None:
        controller = diffrax.PIDController(rtol=1e-5 if rtol is None else rtol, atol=1e-5 if atol is None else atol)
    else:
        controller = Steps(times)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(jax.tree_util.Partial(_field, velocity)),
        solver,
        t0,
        t1,
        None,
        x,
        params,
        saveat=diffrax.SaveAt(t1=True),
        stepsize_controller=controller,
        adjoint=adjoint or diffrax.RecursiveCheckpointAdjoint(checkpoints=steps),
        max_steps=steps or MAX_STEPS,
        throw=False,
    )
    return finished(solution, times), _statistics(solver, solution.stats["num_steps"])


def _statistics(solver: Any, steps: Array) -> dict[str, Array]:
    if isinstance(solver, diffrax.Euler):
        return {"steps": steps, "evaluations": steps}
    if not isinstance(solver, diffrax.AbstractERK):
        return {"steps": steps}
    tableau: Any = solver.tableau
    stages, reuses = tableau.num_stages, tableau.fsal
    # A method whose last stage is the next step's first pays for that one once.
    return {"steps": steps, "evaluations": steps * (stages - reuses) + reuses}
