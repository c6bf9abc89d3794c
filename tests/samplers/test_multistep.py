"""Multistep methods beside their papers' formulas written out in NumPy, and what their weights must satisfy."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from jaxgen import draws, paths, samplers, schedules
from jaxgen.samplers import grids, multistep, sample
from tests.samplers import oracles

pytestmark = pytest.mark.thorough

PATH = paths.variance_preserving()
TABLE = paths.discrete(schedules.zero_terminal_snr(schedules.linear_betas(100)))
EVERY = {
    "dpm_solver_1s": samplers.dpm_solver_1s,
    "dpm_solver_2s": samplers.dpm_solver_2s,
    "dpm_solver_3s": samplers.dpm_solver_3s,
    "dpm_solver_2m": samplers.dpm_solver_2m,
    "dpm_solver_2m, eta 1": functools.partial(samplers.dpm_solver_2m, eta=1.0),
    "dpm_solver_3m": samplers.dpm_solver_3m,
    "unipc": functools.partial(samplers.unipc, order=3),
    "unipc, bh1": functools.partial(samplers.unipc, exponential=False),
    "deis": samplers.deis,
    "lms": samplers.lms,
    "pndm": samplers.pndm,
    "pndm, runge_kutta": functools.partial(samplers.pndm, runge_kutta=True),
}
every_method = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# The papers' formulas.

TIMES = np.array([0.9, 0.7, 0.55, 0.4, 0.28, 0.2, 0.11, 0.05])


def levels(t):
    a, s = (float(f(t)) for f in (PATH.alpha, PATH.sigma))
    return a, s, math.log(a / s)


def denoise(m, x, t):
    return m.tanh(x) * (1 - 0.3 * t) + 0.2 * m.cos(3 * t + x)


def run(make, x, times=TIMES, denoise=lambda x, t: denoise(jnp, x, t), path=PATH):
    return np.asarray(jax.jit(lambda x: sample(make(path), denoise, jax.random.key(0), x, jnp.asarray(times)))(x))


def first_order(x, t, s, x0):
    (_, st, lt), (a, ss, ls) = levels(t), levels(s)
    return ss / st * x - a * math.expm1(lt - ls) * x0


def test_dpm_solver_2m_is_the_paper(x64):
    """Algorithm 2 of DPM-Solver++."""
    x = np.linspace(-2, 2, 5)
    y, last = x, None
    for i, (t, s) in enumerate(itertools.pairwise(TIMES)):
        x0 = denoise(np, y, t)
        mixed = x0
        if i > 0:
            h, h_last = levels(s)[2] - levels(t)[2], levels(t)[2] - levels(TIMES[i - 1])[2]
            r = h_last / h
            mixed = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * last
        y, last = first_order(y, t, s, mixed), x0
    got = run(functools.partial(samplers.dpm_solver_2m, lower_order_final=False), jnp.asarray(x))
    np.testing.assert_allclose(got, y, rtol=1e-10)


def test_dpm_solver_2s_is_the_paper(x64):
    """Algorithm 1 of DPM-Solver++; the inner times are those of the grid between. An odd step is left over."""
    x = np.linspace(-2, 2, 5)
    y = x
    for t, m, s in zip(TIMES[:-2:2], TIMES[1:-1:2], TIMES[2::2], strict=True):
        x0 = denoise(np, y, t)
        r = (levels(m)[2] - levels(t)[2]) / (levels(s)[2] - levels(t)[2])
        middle = denoise(np, first_order(y, t, m, x0), m)
        y = first_order(y, t, s, (1 - 1 / (2 * r)) * x0 + 1 / (2 * r) * middle)
    y = first_order(y, TIMES[-2], TIMES[-1], denoise(np, y, TIMES[-2]))
    np.testing.assert_allclose(run(samplers.dpm_solver_2s, jnp.asarray(x)), y, rtol=1e-10)


@pytest.mark.parametrize(("order", "exponential"), [(1, True), (2, True), (2, False), (3, True)])
def test_unipc_is_the_paper(order, exponential, x64):
    """The linear systems of UniPC, solved: R_p(h) rho = phi_p(h) / B(h), for data prediction."""
    x = np.linspace(-2, 2, 5)

    def weights(ratios, h):
        """rho for the given r, and B."""
        b = math.expm1(-h) if exponential else -h
        values, phi, factorial = [], math.expm1(-h), 1
        for k in range(1, len(ratios) + 1):
            phi = phi / -h - 1 / factorial
            factorial *= k + 1
            values.append(phi * math.factorial(k) / b)
        matrix = np.array([np.array(ratios) ** k for k in range(len(ratios))])
        return np.linalg.solve(matrix, values), b

    def advance(y, t, s, past, new, p):
        """Past x0, the latest first, and the times they belong to; `new` is x0 at s, or None to predict."""
        (_, st, lt), (a, ss, ls) = levels(t), levels(s)
        h = ls - lt
        ratios = [(levels(u)[2] - lt) / h for u, _ in past[1:p]]
        differences = [(v - past[0][1]) / r for r, (_, v) in zip(ratios, past[1:p], strict=True)]
        if new is not None:
            ratios, differences = [*ratios, 1.0], [*differences, new - past[0][1]]
        total = 0
        if ratios:
            rho, b = weights(ratios, h)
            if len(ratios) == 1:
                rho = [0.5]
            total = b * sum(w * d for w, d in zip(rho, differences, strict=True))
        return ss / st * y - a * math.expm1(-h) * past[0][1] - a * total

    y, base, past, p = x, None, [], 0
    steps = len(TIMES) - 1
    for i, (t, s) in enumerate(itertools.pairwise(TIMES)):
        x0 = denoise(np, y, t)
        if i > 0:
            y = advance(base, TIMES[i - 1], t, past, x0, p)
        base, past = y, [(t, x0), *past]
        p = min(i + 1, order, steps - i)
        y = advance(y, t, s, past, None, p)
    make = functools.partial(samplers.unipc, order=order, exponential=exponential)
    np.testing.assert_allclose(run(make, jnp.asarray(x)), y, rtol=1e-9)


@pytest.mark.parametrize("runge_kutta", [False, True])
def test_pndm_is_the_paper(runge_kutta, x64):
    """Equation 11 for the step, 12 for the combination, 13 for the Runge-Kutta start."""
    x, times = np.linspace(-2, 2, 5), np.linspace(0.9, 0.1, 9)

    def noise(y, t):
        a, s, _ = levels(t)
        return (y - a * denoise(np, y, t)) / s

    def transfer(y, t, s, e):
        (a, st, _), (b, ss, _) = levels(t), levels(s)
        return b / a * y + (ss - b / a * st) * e

    y, past = x, []
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        e = noise(y, t)
        past.append(e)
        if runge_kutta and i < 3:
            middle = (t + s) / 2
            e2 = noise(transfer(y, t, middle, e), middle)
            e3 = noise(transfer(y, t, middle, e2), middle)
            e4 = noise(transfer(y, t, s, e3), s)
            mixed = (e + 2 * e2 + 2 * e3 + e4) / 6
        elif i == 0:
            mixed = (e + noise(transfer(y, t, s, e), s)) / 2
        else:
            rule = {1: [3 / 2, -1 / 2], 2: [23 / 12, -16 / 12, 5 / 12]}.get(i, [55 / 24, -59 / 24, 37 / 24, -9 / 24])
            mixed = sum(w * v for w, v in zip(rule, past[::-1], strict=False))
        y = transfer(y, t, s, mixed)
    make = functools.partial(samplers.pndm, runge_kutta=runge_kutta)
    np.testing.assert_allclose(run(make, jnp.asarray(x), times), y, rtol=1e-9)


def integral(f, parameter, ends=(0, 1)):
    return scipy.integrate.quad(f, *ends, args=(parameter,))[0]


def lagrange(nodes, j, at):
    return math.prod((at - n) / (nodes[j] - n) for i, n in enumerate(nodes) if i != j)


@pytest.mark.parametrize(
    ("make", "power", "rate"),
    [
        (functools.partial(samplers.dpm_solver_3m, midpoint=False), "x0", 1),
        (functools.partial(samplers.dpm_solver_3m, midpoint=False, eta=0.5), "x0", 1.5),
        (samplers.deis, "log rho", None),
        (functools.partial(samplers.lms, order=3), "rho", None),
    ],
    ids=["dpm_solver_3m", "dpm_solver_3m, eta 0.5", "deis", "lms"],
)
def test_weights_are_the_integrals(make, power, rate, x64):
    """Against quadrature, at a step in the middle of the grid: its three last outputs, one after the other."""
    i = 4
    state = make(PATH).init(jnp.zeros(1), jnp.asarray(TIMES))
    t, s = TIMES[i], TIMES[i + 1]
    (at, st, lt), (a, ss, ls) = levels(t), levels(s)
    if power == "x0":
        nodes, ends = [levels(TIMES[i - j])[2] for j in range(3)], (lt, ls)
        want = [
            a * integral(lambda u, j: rate * math.exp(-rate * (ls - u)) * lagrange(nodes, j, u), j, ends)
            for j in range(3)
        ]
        assert float(state.weights.x[i]) == pytest.approx(ss / st * math.exp(-(rate - 1) * (ls - lt)), rel=1e-9)
    else:
        bend = math.log if power == "log rho" else float
        nodes, ends = [bend(math.exp(-levels(TIMES[i - j])[2])) for j in range(3)], (math.exp(-lt), math.exp(-ls))
        want = [a * integral(lambda r, j: lagrange(nodes, j, bend(r)), j, ends) for j in range(3)]
        # The latest noise is written with x and x0.
        assert float(state.weights.x[i]) == pytest.approx(a / at + want[0] / st, rel=1e-9)
        want[0] *= -at / st
    np.testing.assert_allclose(state.weights.outputs[i], want, rtol=1e-8)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_phi(k):
    """In float32, from the smallest to large arguments: the integral that defines it, without lost digits."""
    z = np.array([-40.0, -3.0, -1.01, -0.99, -1e-3, -1e-8, 0.0, 1e-4, 0.9, 1.1, 5.0])
    want = [integral(lambda v, y: math.exp(y * (1 - v)) * v ** (k - 1) / math.factorial(k - 1), y) for y in z]
    np.testing.assert_allclose(multistep.phi(k, jnp.asarray(z, jnp.float32)), want, rtol=3e-6)


# What the methods are for.

ORDERS = {
    "dpm_solver_3s": (functools.partial(samplers.dpm_solver_3s, lower_order_final=False), 3),
    "dpm_solver_3m": (functools.partial(samplers.dpm_solver_3m, lower_order_final=False), 3),
    "unipc": (functools.partial(samplers.unipc, order=3, lower_order_final=False), 3.5),
    "deis": (functools.partial(samplers.deis, lower_order_final=False), 3),
    "lms": (samplers.lms, 3.5),
    "pndm": (samplers.pndm, 2),
}


@pytest.mark.parametrize(("make", "order"), ORDERS.values(), ids=ORDERS.keys())
def test_order_of_convergence_away_from_the_ends(make, order, x64):
    oracle, end = oracles.GAUSSIAN, 0.02
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)))
    want = oracles.flow(PATH, oracle, x, end=end)
    errors = []
    for steps in (120, 240):
        got = run(make, x, np.linspace(1, end, steps + 1), oracle.denoiser(PATH))
        errors.append(np.abs(got - want).max())
    assert np.log2(errors[0] / errors[1]) > order - 0.3


@every_method
def test_the_last_step_lands_on_x0(make):
    """From alpha = 0 too, where the method allows it: the first and the last step are infinite in lambda."""
    pndm = getattr(make, "func", make) is samplers.pndm
    path, times = (PATH, [1.0, 0.7, 0.4, 0.2, 0.0]) if pndm else (TABLE, [1.0, 0.7, 0.4, 0.2, 0.0])
    x0, x = jnp.array([[5.0, -7.0], [0.0, 1.0]]), jnp.full((2, 2), 0.3)
    got = run(make, x, np.float32(times), lambda x, t: x0, path)
    np.testing.assert_allclose(got, x0, atol=2e-4)
    # What the first answer was must not matter at the end if it was the only other one.
    one = run(make, x, np.float32([times[0], 0.0]), lambda x, t: x0, path)
    np.testing.assert_allclose(one, x0, atol=2e-4)


@every_method
def test_one_traced_copy_of_the_network(make):
    calls = []

    def counted(x, t):
        calls.append(t)
        return jnp.tanh(x)

    x, grid = jnp.ones((2, 1)), grids.uniform(PATH, 6)
    jaxpr = jax.make_jaxpr(lambda x: sample(make(PATH), counted, jax.random.key(0), x, grid))(x)
    assert str(jaxpr).count("tanh ") == 1


@every_method
def test_bfloat16_is_near_float32(make):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((64, 4)), jnp.float32)
    ends = []
    for y in (x, x.astype(jnp.bfloat16)):
        end = run(make, y, np.linspace(0.8, 0, 7), lambda x, t: jnp.tanh(2 * x))
        assert np.isfinite(end.astype(np.float32)).all()
        ends.append(end.astype(np.float32))
    assert np.abs(ends[1] - ends[0]).mean() < 0.02


def test_noise_of_the_stochastic_form():
    """Order 1, eta 1, is ancestral sampling: DDIM's with all of its noise, drawn from the same key."""
    x, key = jnp.ones((3, 2)), jax.random.key(4)
    t, s = jnp.array(0.8), jnp.array(0.3)
    step = samplers.dpm_solver_1s(PATH, eta=1.0)
    got = step.step(lambda x, t: 0.5 * x, key, step.init(x, jnp.stack([t, s])), t, s).x
    step = samplers.ddim(PATH, 1.0)
    want = step.step(lambda x, t: 0.5 * x, key, step.init(x, jnp.stack([t, s])), t, s).x
    np.testing.assert_allclose(got, want, rtol=1e-5)
    # eta moves between the two: the variance of the noise is sigma_s^2 (1 - q^(2 eta)).
    drawn = draws.normal(key, x.shape)
    for eta in (0.5, 2.0):
        step = samplers.dpm_solver_1s(PATH, eta=eta)
        state = step.init(x, jnp.stack([t, s]))
        q = float(PATH.sigma(s) * PATH.alpha(t) / PATH.sigma(t) / PATH.alpha(s))
        end = step.step(lambda x, t: 0 * x, key, state, t, s).x
        want = PATH.sigma(s) * (q**eta / PATH.sigma(t) * x + np.sqrt(1 - q ** (2 * eta)) * drawn)
        np.testing.assert_allclose(end, want, rtol=1e-5)


def test_the_order_falls_where_points_do_not_follow():
    """A grid that goes back up, and one that stands still: no polynomial through points that do not advance."""
    ratio = jnp.array([-3.0, -2.0, -1.0, -2.0, -1.0, 0.0, 0.0, 1.0])
    assert multistep.usable_order(ratio, 3).tolist() == [1, 2, 1, 1, 2, 1, 1]
    times = np.float32([0.9, 0.6, 0.4, 0.6, 0.4, 0.2, 0.2, 0.1])
    for name in ("dpm_solver_3m", "dpm_solver_2s", "unipc", "deis", "lms"):
        assert np.isfinite(run(EVERY[name], jnp.ones((2, 2)), times)).all(), name


def test_single_steps_come_in_blocks():
    """Where a block starts, and that no block is left unfinished by the last step."""
    for order, make in ((2, samplers.dpm_solver_2s), (3, samplers.dpm_solver_3s)):
        for steps in (6, 7):
            firsts = make(PATH).init(jnp.zeros(1), jnp.linspace(1.0, 0.1, steps + 1)).weights.first
            want = [i % order == 0 for i in range(steps)]
            want[-1] |= steps % order == 0
            assert firsts.tolist() == want


def test_errors():
    for make in (samplers.deis, samplers.lms):
        with pytest.raises(ValueError, match="at least 1"):
            make(PATH, order=0)
    with pytest.raises(ValueError, match="choose 1, 2 or 3"):
        samplers.unipc(PATH, order=4)
    with pytest.raises(ValueError, match="eta is -1"):
        samplers.dpm_solver_2m(PATH, eta=-1.0)
