import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.samplers.ode import solve_ode, solve_ode_counted

pytestmark = pytest.mark.thorough


def velocity(params, x, t):
    return params["rate"] * x + t


def exact(rate, x, t0, t1):
    """The solution of dx/dt = rate x + t."""
    return (x + t0 / rate + 1 / rate**2) * np.exp(rate * (t1 - t0)) - t1 / rate - 1 / rate**2


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("solver", "t0", "t1"),
    [("heun", 0.0, 1.0), ("dopri5", 0.0, 1.0), ("dopri8", 0.0, 1.0), ("tsit5", 1.0, 0.2)],
)
def test_adaptive_against_the_closed_form(solver, t0, t1, x64):
    x = jnp.array([[1.0], [-2.0]])
    tolerance = 1e-5 if solver in ("heun", "midpoint") else 1e-8
    end = solve_ode(velocity, {"rate": -1.5}, x, t0, t1, solver=solver, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(end, exact(-1.5, x, t0, t1), atol=30 * tolerance)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2), ("bosh3", 3), ("tsit5", 5)])
def test_fixed_steps_have_their_order(solver, order, x64):
    x = jnp.array([[1.0]])
    ends = [solve_ode(velocity, {"rate": -1.5}, x, 0, 1, solver=solver, steps=n) for n in (8, 16)]
    errors = [abs(float(end[0, 0]) - exact(-1.5, 1.0, 0, 1)) for end in ends]
    assert np.log2(errors[0] / errors[1]) > order - 0.2


def test_fixed_euler_is_the_plain_loop():
    x = jnp.array([[1.0], [2.0]])
    y, steps = x, 7
    for i in range(steps):
        y = y + (-1.5 * y + i / steps) / steps
    end, took = solve_ode_counted(velocity, {"rate": -1.5}, x, 0.0, 1.0, solver="euler", steps=steps)
    np.testing.assert_allclose(end, y, rtol=1e-6)
    assert (int(took["steps"]), int(took["evaluations"])) == (7, 7)


@pytest.mark.parametrize("steps", [1, 49])
def test_the_last_of_the_fixed_steps_ends_exactly(steps):
    """Steps of equal length added up in float32 may miss the end; times looked up do not."""
    _, took = solve_ode_counted(velocity, {"rate": 0.1}, jnp.ones(1), 0.1, 0.7, solver="euler", steps=steps)
    assert int(took["steps"]) == steps


@pytest.mark.parametrize(("solver", "steps"), [("tsit5", None), ("dopri5", 6), ("midpoint", 6)])
def test_evaluations_are_counted(solver, steps):
    calls = []

    def counted(params, x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t)
        return jnp.cos(9 * t) * x

    end, took = solve_ode_counted(counted, None, jnp.ones(3), 0.0, 1.0, solver=solver, steps=steps)
    end.block_until_ready()
    jax.effects_barrier()
    # diffrax may or may not spend up to two on the choice of the first step.
    assert int(took["evaluations"]) <= len(calls) <= int(took["evaluations"]) + (0 if steps else 2)


@pytest.mark.parametrize("steps", [None, 40])
def test_gradients_reach_params_and_state(steps, x64):
    def end(rate, x):
        options = {"steps": steps} if steps else {"rtol": 1e-9, "atol": 1e-9}
        return solve_ode(velocity, {"rate": rate}, x, 0.0, 1.0, **options)[0]

    h, x = 1e-6, jnp.array([1.0])
    by_rate, by_x = jax.grad(end, (0, 1))(-1.5, x)
    want = (exact(-1.5 + h, 1.0, 0, 1) - exact(-1.5 - h, 1.0, 0, 1)) / (2 * h)
    np.testing.assert_allclose(by_rate, want, rtol=1e-5)
    np.testing.assert_allclose(by_x[0], np.exp(-1.5), rtol=1e-6)


def test_one_trace_serves_two_values_outside_of_jit():
    traces = []

    def growth(params, x, t):
        traces.append(x.shape)
        return params * x

    def solve(rate, t1):
        return solve_ode(growth, jnp.array(rate), jnp.ones(2), 0.0, t1, solver="tsit5", steps=4)[0]

    first, count = solve(0.5, 1.0), len(traces)
    second = solve(1.0, 0.7)
    assert len(traces) == count
    np.testing.assert_allclose([first, second], np.exp([0.5, 0.7]), rtol=1e-4)


def test_trees_and_types():
    tree = {"x": jnp.ones((2, 3)), "log_p": jnp.zeros(2)}
    end = solve_ode(lambda p, y, t: {"x": -y["x"], "log_p": 3.0 + 0 * y["log_p"]}, None, tree, 0.0, 1.0)
    np.testing.assert_allclose(end["x"], np.full((2, 3), np.exp(-1)), rtol=1e-4)
    np.testing.assert_allclose(end["log_p"], 3.0, rtol=1e-5)
    assert solve_ode(velocity, {"rate": 1.0}, jnp.ones(2, jnp.bfloat16), 0, 1, steps=2).dtype == jnp.float32


def test_any_diffrax_solver():
    end, took = solve_ode_counted(velocity, {"rate": -1.5}, jnp.ones(1), 0, 1, solver=diffrax.Kvaerno3())
    np.testing.assert_allclose(end, exact(-1.5, 1.0, 0, 1), rtol=1e-3)
    assert set(took) == {"steps"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "rk45"}, "choose from"),
        ({"steps": 4, "rtol": 1e-3}, "not both"),
        ({"solver": "euler"}, "give steps"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        solve_ode(velocity, {"rate": 1.0}, jnp.ones(1), 0.0, 1.0, **options)


def explodes(params, x, t):
    return params * x**2  # from 1, infinite at t = 1


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda rate: solve_ode(explodes, rate, jnp.ones(2), 0.0, 2.0), "4096 steps"),
        (lambda rate: solve_ode(explodes, rate, jnp.ones(2), 0.5, 0.5, steps=3), "rise or fall"),
    ],
    ids=["too many steps", "no time"],
)
def test_a_failure_is_an_error_outside_of_compiled_programs_and_nan_inside(solve, message):
    with pytest.raises(UserError, match=message):
        solve(1.0)
    assert np.isnan(jax.jit(solve)(1.0)).all()


PROGRAMS = {
    "fixed": lambda rate: solve_ode(velocity, {"rate": rate}, jnp.ones(2), 0.0, 1.0, steps=4).sum(),
    "adaptive": lambda rate: solve_ode(velocity, {"rate": rate}, jnp.ones(2), 0.0, 1.0).sum(),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("wrt", [lambda f: f, jax.grad], ids=["value", "gradient"])
def test_compiles_for_accelerators_without_a_call_back_to_python(program, wrt):
    traced = jax.jit(wrt(program)).trace(0.5)
    assert "callback" not in str(traced.jaxpr)
    traced.lower(lowering_platforms=("cuda", "tpu"))
