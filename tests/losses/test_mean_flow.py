import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.losses import interval_times, mean_flow, uniform_time
from jaxgen.losses.mean_flow import adaptively_weighted

PATH = paths.rectified()


def _data(b=5, d=3):
    rng = np.random.default_rng(0)
    t, s = np.sort(rng.uniform(size=(2, b)), axis=0)
    return rng.normal(size=(b, d)) + 1, rng.normal(size=(b, d)), t, s


def test_the_formula():
    """With u = x^2 + 3 t s, whose derivatives are 2 x and 3 s; 3-D states too."""
    x, noise, t, s = _data()
    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (x, noise, t, s)]
        got = mean_flow(
            lambda x, t, s: x**2 + 3 * (t * s)[:, None],
            PATH,
            jax.random.key(0),
            arrays[0],
            noise=arrays[1],
            t=arrays[2],
            s=arrays[3],
        )
    t, s = t[:, None], s[:, None]
    x_t, v = t * x + (1 - t) * noise, x - noise
    target = v + (s - t) * (2 * x_t * v + 3 * s)
    np.testing.assert_allclose(got, ((x_t**2 + 3 * t * s - target) ** 2).mean(1), rtol=1e-10)


def test_no_gradient_through_the_target():
    x, noise, t, s = (jnp.asarray(a, jnp.float32) for a in _data())

    def value(a):
        return mean_flow(lambda x, t, s: a * x, PATH, jax.random.key(0), x, noise=noise, t=t, s=s).sum()

    x_t, v = t[:, None] * x + (1 - t[:, None]) * noise, x - noise
    target = v + (s - t)[:, None] * 0.7 * v
    want = (2 * (0.7 * x_t - target) * x_t).mean(1).sum()
    np.testing.assert_allclose(jax.grad(value)(0.7), want, rtol=1e-5)


@pytest.mark.parametrize("path", [PATH, paths.trigonometric()], ids=["rectified", "trigonometric"])
def test_the_mean_velocity_of_a_flow_has_no_loss(path):
    """One data point c: the way through x_t is known, and so is the mean of its velocity from t to s."""
    c = np.array([0.5, -2.0])

    def predict(x_t, t, s):
        t, s = t[:, None], s[:, None]
        noise = (x_t - path.alpha(t) * c) / path.sigma(t)
        x_s = path.alpha(s) * c + path.sigma(s) * noise
        return (x_s - x_t) / (s - t)

    _, noise, t, s = _data(d=2)
    with jax.enable_x64(True):
        x = jnp.tile(jnp.asarray(c), (5, 1))
        value = mean_flow(
            predict, path, jax.random.key(0), x, noise=jnp.asarray(noise), t=jnp.asarray(t), s=jnp.asarray(s)
        )
    np.testing.assert_allclose(value, 0, atol=1e-18)


def test_at_equal_times_it_is_flow_matching():
    x, noise, t, _ = (jnp.asarray(a, jnp.float32) for a in _data())
    got = mean_flow(lambda x, t, s: jnp.sin(x), PATH, jax.random.key(0), x, noise=noise, t=t, s=t)
    x_t = t[:, None] * x + (1 - t[:, None]) * noise
    np.testing.assert_allclose(got, ((jnp.sin(x_t) - (x - noise)) ** 2).mean(1), rtol=1e-5)


@pytest.mark.parametrize("path", [PATH, paths.cosine()], ids=["noise at 0", "noise at 1"])
def test_times(path):
    t, s = (np.asarray(a) for a in interval_times(path, jax.random.key(0), 4000, time=uniform_time, instant=0.3))
    toward_data = np.sign(path.t_data - path.t_noise)
    assert (toward_data * (s - t) >= 0).all()
    assert abs((t == s).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)
    apart = np.abs(s - t)[t != s]  # the distance of two even draws: mean 1/3, deviation sqrt(1/18)
    assert abs(apart.mean() - 1 / 3) < 4 * np.sqrt(1 / 18 / len(apart))


def test_the_adaptive_weight():
    error = jnp.array([0.0, 0.5, 8.0])
    np.testing.assert_allclose(
        adaptively_weighted(error, 1.0, 0.1), np.asarray(error) / (np.asarray(error) + 0.1), rtol=1e-6
    )
    np.testing.assert_array_equal(adaptively_weighted(error, 0.0), error)
    slope = jax.grad(lambda e: adaptively_weighted(e, 1.0, 0.1).sum())(error)
    np.testing.assert_allclose(slope, 1 / (np.asarray(error) + 0.1), rtol=1e-6)


def test_examples_own_their_keys_under_one_trace():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 2)), jnp.float32)
    loss = jax.jit(
        chex.assert_max_traces(lambda keys, x: mean_flow(lambda x, t, s: x * t[:, None], PATH, keys, x), n=2)
    )
    keys = jax.random.split(jax.random.key(3), 8)
    whole = loss(keys, x)
    np.testing.assert_allclose(whole[4:], loss(keys[4:], x[4:]), rtol=1e-5)
    loss(jax.random.split(jax.random.key(4), 8), x)
    assert len(np.unique(whole)) == 8


def test_a_bfloat16_network_has_a_float32_loss():
    value = mean_flow(lambda x, t, s: x.astype(jnp.bfloat16), PATH, jax.random.key(0), jnp.ones((2, 3)))
    assert value.dtype == jnp.float32


def test_both_times_or_neither():
    with pytest.raises(ValueError, match="both times"):
        mean_flow(lambda x, t, s: x, PATH, jax.random.key(0), jnp.ones((2, 3)), t=jnp.zeros(2))
