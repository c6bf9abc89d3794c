import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxgen import paths
from jaxgen.samplers import ddim, denoiser, euler, from_velocity, grids, heun, midpoint, runge_kutta4, sample
from jaxgen.samplers.ode import solve_ode
from tests.samplers import oracles

PATHS = {
    "rectified": paths.rectified(),
    "trigonometric": paths.trigonometric(),
    "variance preserving": paths.variance_preserving(),
    "variance exploding": paths.variance_exploding(),
}
STEPS = (euler, ddim, heun, midpoint, runge_kutta4)


def run(step, path, denoise, x, steps, grid=grids.uniform):
    key = jax.random.key(0)
    return jax.jit(lambda x: sample(step(path), denoise, key, x, grid(path, steps)))(x)


@pytest.mark.parametrize(("step", "steps"), [(euler, 50), (heun, 25), (midpoint, 25)])
def test_modes_of_a_mixture_keep_their_weights(step, steps):
    path, weights, means, scale = paths.rectified(), np.array([0.7, 0.3]), np.array([-2.0, 1.5]), 0.4

    def denoise(x, t):
        a, variance = path.alpha(t), path.alpha(t) ** 2 * scale**2 + path.sigma(t) ** 2
        off = x[..., None] - a * means
        share = jax.nn.softmax(jnp.log(weights) - off**2 / (2 * variance))
        return (share * (means + a * scale**2 / variance * off)).sum(-1)

    # Quantiles in place of draws: what is left is the sampler's error.
    x = jnp.asarray(scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None])
    end = np.asarray(run(step, path, denoise, x, steps))
    upper = end > -0.25
    assert abs(upper.mean() - 0.3) <= 0.01
    assert abs(end[upper].mean() - 1.5) < 0.05
    assert abs(end[~upper].mean() + 2.0) < 0.05


@pytest.mark.parametrize("path", [PATHS["trigonometric"], PATHS["variance preserving"]])
def test_agreement_with_diffrax(path):
    """On a denoiser that is no linear function, so that nothing is exact by accident."""

    def denoise(x, t):
        return jnp.tanh(path.alpha(t) * x / (path.alpha(t) ** 2 + path.sigma(t) ** 2))

    def velocity(_, x, t):
        return paths.convert(path, x, t, denoise(x, t), "x0", "velocity")

    with jax.enable_x64(True):
        start, end = path.t_noise, path.t_noise + 0.9 * (path.t_data - path.t_noise)
        x = float(path.sigma(start)) * jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)))
        grid = jnp.linspace(start, end, 801)
        ours = jax.jit(lambda x: sample(runge_kutta4(path), denoise, jax.random.key(0), x, grid))(x)
        theirs = solve_ode(velocity, None, x, start, end, solver="dopri8", rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8)


def test_ddim_is_euler_on_the_straight_path():
    path = paths.rectified(1e-3)
    x = jax.random.normal(jax.random.key(0), (5, 2))
    ends = [run(step, path, oracles.GAUSSIAN.denoiser(path), x, 7) for step in (euler, ddim)]
    np.testing.assert_allclose(*ends, atol=1e-5)
    path = paths.trigonometric()
    ends = [run(step, path, oracles.GAUSSIAN.denoiser(path), x, 7) for step in (euler, ddim)]
    assert float(jnp.abs(ends[0] - ends[1]).max()) > 1e-2


@pytest.mark.parametrize("step", [euler, ddim, heun])
@pytest.mark.parametrize("name", ["rectified", "trigonometric", "variance preserving"])
def test_the_last_step_lands_on_x0(name, step):
    path = PATHS[name]
    grid = grids.uniform(path, 5)[-2:]
    x, x0 = jnp.full((2, 2), 0.3), jnp.array([[5.0, -7.0], [0.0, 1.0]])
    end = sample(step(path), lambda x, t: x0, jax.random.key(0), x, grid)
    # Euler in t is exact in the schedule only where the schedule is straight.
    if name == "rectified" or step is ddim:
        np.testing.assert_allclose(end, x0, atol=1e-5)
    assert np.isfinite(end).all()


@pytest.mark.usefixtures("compiled_as_for_users")
@pytest.mark.parametrize("step", [euler, ddim, midpoint])  # those with no other method for the last step
def test_a_velocity_network_takes_plain_steps(step):
    """Velocity to x0 and back costs no digits: the same as integrating the velocity itself, in float32."""
    path = paths.rectified()

    def velocity(x, t):
        return jnp.sin(3 * x) + t * jnp.cos(x)

    x = 2 * jax.random.normal(jax.random.key(0), (64, 2))
    steps = 100
    ours = run(step, path, from_velocity(velocity, path), x, steps)
    y, h = np.asarray(x, np.float64), 1 / steps
    for i in range(steps):
        t = i * h
        slope = np.sin(3 * y) + t * np.cos(y)
        if step is midpoint:
            middle = y + h / 2 * slope
            slope = np.sin(3 * middle) + (t + h / 2) * np.cos(middle)
        y = y + h * slope
    np.testing.assert_allclose(ours, y, atol=1e-5)


@pytest.mark.parametrize("prediction", ["x0", "v", "velocity"])
def test_every_prediction_gives_the_same_sample(prediction):
    path = paths.trigonometric()
    exact = oracles.GAUSSIAN.denoiser(path)

    def predict(x, t):
        t = jnp.minimum(t, 1 - 1e-3)  # x0 alone leaves the others undetermined at the very end
        return paths.convert(path, x, t, exact(x, t), "x0", prediction)

    x = jax.random.normal(jax.random.key(0), (5, 2))
    ours = run(heun, path, denoiser(predict, path, prediction), x, 20)
    np.testing.assert_allclose(ours, run(heun, path, exact, x, 20), atol=2e-5)


@pytest.mark.parametrize(
    ("step", "path"), [(step, PATHS["rectified"]) for step in STEPS] + [(heun, PATHS["variance preserving"])]
)
def test_gradients_through_a_sample_are_finite_and_right(step, path):
    with jax.enable_x64(True):
        exact = oracles.GAUSSIAN.denoiser(path)
        x = float(path.sigma(path.t_noise)) * jnp.ones((1, 2))
        grid = grids.uniform(path, 6)

        @jax.jit
        def end(scale):
            return sample(step(path), lambda x, t: scale * exact(x, t), jax.random.key(0), x, grid).sum()

        gradient, h = jax.grad(end)(1.0), 1e-6
        np.testing.assert_allclose(gradient, (end(1 + h) - end(1 - h)) / (2 * h), rtol=1e-5)


@pytest.mark.parametrize(
    ("step", "evaluations"), [(euler, 5), (ddim, 5), (heun, 9), (midpoint, 10), (runge_kutta4, 19)]
)
def test_evaluations_and_traces(step, evaluations):
    traced, called = [], []

    def denoise(x, t):
        traced.append(t.shape)
        jax.debug.callback(lambda t: called.append(float(t)), t)
        return 0.5 * x

    path = paths.rectified()
    run(step, path, denoise, jnp.ones((2, 2)), 5).block_until_ready()
    jax.effects_barrier()
    assert len(called) == evaluations
    assert traced == [()]  # one copy of the network in the program, and a scalar time
    assert max(called) < 1.0


def test_a_bfloat16_network_leaves_the_state_in_float32():
    x = jnp.ones((2, 2))
    for step in STEPS:
        end = run(step, paths.rectified(), lambda x, t: x.astype(jnp.bfloat16), x, 3)
        assert end.dtype == jnp.float32
