import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import edm, sample

GRID = np.array([9.0, 4.0, 1.5, 0.3, 0.0])
X = np.array([[3.0, -8.0], [1.0, 12.0]])


def denoise(x, r):
    return jnp.tanh(x / (1 + r)) * 0.7


def karras(grid, x, noises, churn, low, high, noise):
    """Algorithm 2, step by step."""
    for i in range(len(grid) - 1):
        t, s = grid[i], grid[i + 1]
        gamma = min(churn / (len(grid) - 1), np.sqrt(2) - 1) if low <= t <= high else 0.0
        up = t + gamma * t
        x = x + np.sqrt(up**2 - t**2) * noise * noises[i]
        slope = (x - denoise(x, up)) / up
        end = x + (s - up) * slope
        if s > 0:
            end = x + (s - up) * 0.5 * (slope + (end - denoise(end, s)) / s)
        x = end
    return x


@pytest.mark.parametrize("name", ["edm", "variance preserving"])
def test_every_path_takes_the_steps_of_the_paper(name):
    """In y = x / alpha and r = sigma / alpha, all paths are one."""
    key = jax.random.key(0)
    noises = [np.asarray(jax.random.normal(jax.random.fold_in(key, i), X.shape)) for i in range(4)]
    options = {"churn": 1.2, "churn_min": 0.5, "churn_max": 5.0, "noise": 1.1}
    want = karras(GRID, X, noises, 1.2, 0.5, 5.0, 1.1)
    with jax.enable_x64(True):
        path = {"edm": paths.edm(), "variance preserving": paths.variance_preserving()}[name]
        times = paths.time_of_log_snr(path, -2 * jnp.log(jnp.asarray(GRID)))

        def on_path(x, t):
            return denoise(x / path.alpha(t), path.sigma(t) / path.alpha(t))

        x = jnp.asarray(X) * path.alpha(times[0])
        got = jax.jit(lambda x: sample(edm(path, **options), on_path, key, x, times))(x)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("path", "evaluations"), [(paths.rectified(), 8), (paths.edm(), 9)])
def test_evaluations_traces_and_the_ends(path, evaluations):
    """Five steps: one evaluation in the last, and in a first one from pure noise; one copy of the network."""
    traced, called = [], []

    def counted(x, t):
        traced.append(jnp.shape(t))
        jax.debug.callback(lambda t: called.append(float(t)), t)
        return 0.5 * x

    grid = jnp.linspace(path.t_noise, path.t_data, 6)
    end = jax.jit(lambda x: sample(edm(path, churn=2.0), counted, jax.random.key(0), x, grid))(jnp.ones((2, 2)))
    jax.effects_barrier()
    assert np.isfinite(end).all()
    assert len(called) == evaluations
    assert traced == [()]
    assert path.t_data not in called


def test_no_step_goes_beyond_the_noise_end():
    path = paths.edm()
    step = edm(path, churn=100.0)
    state = step.init(jnp.zeros(1), jnp.array([80.0, 70.0, 10.0, 0.0]))
    np.testing.assert_allclose(state.noisier, [80.0, 80.0, 10.0 * 2**0.5], rtol=1e-5)
