"""Densities carried along velocity fields: linear fields in closed form, and any network's density integrates to 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy import stats

from jaxgen.nets import mlp
from jaxgen.samplers.continuous_flow import carry, draw_probes, log_prob

RATES = np.array([[0.3, -0.8, 0.1], [0.5, -0.4, 0.2], [0.0, 0.3, 0.2]])
SHIFT = np.array([0.5, -0.2, 0.1])
X = np.random.default_rng(0).normal(size=(6, 3))


def _linear(x, t):
    return x @ RATES.T.astype(x.dtype) + SHIFT.astype(x.dtype)


def _flow(time):
    """``x(time) = M x(0) + m`` of the linear field."""
    extended = np.zeros((4, 4))
    extended[:3, :3], extended[:3, 3] = RATES, SHIFT
    matrix = scipy.linalg.expm(time * extended)
    return matrix[:3, :3], matrix[:3, 3]


@pytest.mark.parametrize("double", [True, False])
def test_the_density_of_a_linear_flow_is_a_gaussian(double):
    matrix, shift = _flow(1.0)
    want = stats.multivariate_normal(2 * 0 + shift, 4 * matrix @ matrix.T).logpdf(X)
    tolerance = 1e-9 if double else 1e-6
    with jax.enable_x64(double):
        got = jax.jit(lambda x: log_prob(_linear, None, x, scale=2.0, rtol=tolerance, atol=tolerance))(jnp.asarray(X))
    assert got.dtype == (jnp.float64 if double else jnp.float32)
    np.testing.assert_allclose(got, want, atol=1e-7 if double else 1e-5)


def test_noise_may_lie_at_either_end_of_time():
    matrix, shift = _flow(-1.0)
    want = stats.multivariate_normal(shift, matrix @ matrix.T).logpdf(X)
    got = log_prob(_linear, None, jnp.asarray(X, jnp.float32), t_data=0.0, t_noise=1.0, solver="dopri5", steps=8)
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("backwards", [False, True])
def test_what_the_way_costs(backwards):
    """Of the linear field the Jacobian is constant, and the kinetic energy an integral in closed form of states."""
    ends = (1.0, 0.0) if backwards else (0.0, 1.0)
    got = jax.jit(lambda x: carry(_linear, x, *ends, costs=True, rtol=1e-6, atol=1e-6))(jnp.asarray(X, jnp.float32))
    times = np.linspace(0, -1 if backwards else 1, 2001)
    matrices, shifts = zip(*map(_flow, times), strict=True)
    states = np.einsum("tij,bj->tbi", matrices, X) + np.array(shifts)[:, None]
    speeds = ((states @ RATES.T + SHIFT) ** 2).sum(-1)
    np.testing.assert_allclose(got.x, states[-1], atol=1e-5)
    np.testing.assert_allclose(got.kinetic, np.trapezoid(speeds, np.abs(times), axis=0), rtol=1e-4)
    np.testing.assert_allclose(got.jacobian, (RATES**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(got.gained, np.trace(RATES) * (-1 if backwards else 1), atol=1e-5)


def test_random_probes_are_unbiased_for_divergence_and_norm():
    x, keys = jnp.tile(jnp.asarray(X[:1], jnp.float32), (4000, 1)), jax.random.split(jax.random.key(0), 4000)

    @jax.jit
    def solve(keys):
        plain = carry(_linear, x, 0.0, 1.0, probes=draw_probes(keys, x, "hutchinson"), solver="heun", steps=2)
        several = draw_probes(keys, x, "hutchinson", 3, gaussian=True)
        return plain.gained, *carry(_linear, x, 0.0, 1.0, probes=several, costs=True, solver="heun", steps=2)

    plain, _, gained, _, jacobian = solve(keys)
    for got, want in ((plain, np.trace(RATES)), (gained, np.trace(RATES)), (jacobian, (RATES**2).sum())):
        assert np.std(got) > 0.01
        assert abs(np.mean(got) - want) < 4 * np.std(got) / np.sqrt(4000)


def test_the_density_of_a_network_integrates_to_one():
    net = mlp(2, widths=(16, 16), time_features=4, time_scale=2.0)
    grid = np.linspace(-9, 9, 121, dtype=np.float32)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    params = jax.jit(net.init)(jax.random.key(0), points[:1], jnp.zeros(1))
    solve = jax.jit(lambda x: log_prob(lambda x, t: 4 * net.apply(params, x, t), None, x, solver="dopri5", steps=16))
    density = np.exp(np.asarray(solve(points), np.float64))
    normal = np.exp(-0.5 * (points**2).sum(1)) / (2 * np.pi)
    assert np.abs(density - normal).max() > 0.02  # it has moved away from the normal law
    np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1, atol=2e-3)


def test_gradients_reach_what_the_velocity_holds_and_the_points():
    def value(rate, x):
        return log_prob(lambda x, t: rate * x, None, x, solver="dopri5", steps=4).sum()

    rate, x = 0.3, jnp.ones((1, 2))
    by_rate, by_x = jax.jit(jax.grad(value, (0, 1)))(rate, x)
    # x is e^rate times the noise: log p = -|x|^2 exp(-2 rate) / 2 - 2 rate + constant
    np.testing.assert_allclose(by_rate, 2 * np.exp(-0.6) - 2, atol=1e-4)
    np.testing.assert_allclose(by_x, -np.exp(-0.6) * np.ones((1, 2)), atol=1e-4)


def test_bfloat16_networks_have_float32_densities():
    got = log_prob(lambda x, t: -x, None, jnp.ones((3, 2), jnp.bfloat16), solver="dopri5", steps=4)
    assert got.dtype == jnp.float32


def test_errors():
    with pytest.raises(ValueError, match="choose exact or hutchinson"):
        log_prob(_linear, None, jnp.ones((1, 3)), trace="sum")
    with pytest.raises(ValueError, match="need a key"):
        log_prob(_linear, None, jnp.ones((1, 3)), trace="hutchinson")
