import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths, schedules
from jaxgen.samplers import Sample, ddim, ddpm, euler_ancestral

PATH = paths.discrete(schedules.linear_betas(100))
T, S = jnp.float32(0.4), jnp.float32(0.3)
X, X0 = jnp.array([[0.5, -1.0], [2.0, 0.0]]), jnp.array([[1.0, 0.5], [-0.3, 0.2]])


def mean_and_spread(step, path=PATH, t=T, s=S):
    """What a step makes of x_t, apart from its noise; linear in the noise, so two keys tell."""
    x = jnp.repeat(X[None], 2000, 0)
    ends = jax.jit(lambda x: step.step(lambda x, t: jnp.broadcast_to(X0, x.shape), jax.random.key(0), Sample(x), t, s))
    ends = np.asarray(ends(x).x, np.float64)
    return ends.mean(0), ends.std(0)


def posterior(path=PATH, t=T, s=S):
    """DDPM's own formulas (eq. 7), in alpha-bar and beta."""
    bar_t, bar_s = float(path.alpha(t)) ** 2, float(path.alpha(s)) ** 2
    beta = 1 - bar_t / bar_s
    mean = np.sqrt(bar_s) * beta / (1 - bar_t) * X0 + np.sqrt(1 - beta) * (1 - bar_s) / (1 - bar_t) * X
    return mean, (1 - bar_s) / (1 - bar_t) * beta, beta


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_mean_and_variance_are_those_of_the_paper(fraction):
    mean, small, large = posterior()
    words = {0.0: "small", 1.0: "large"}
    step = ddpm(PATH, words.get(fraction, lambda x, t: jnp.full_like(x, fraction)))
    got, spread = mean_and_spread(step)
    want = np.exp(0.5 * (fraction * np.log(large) + (1 - fraction) * np.log(small)))
    np.testing.assert_allclose(got, mean, atol=4 * want / np.sqrt(2000))
    np.testing.assert_allclose(spread, want, rtol=4 / np.sqrt(4000))


def test_the_three_names_of_the_same_step():
    """DDPM with the small variance, DDIM with eta 1 and Euler ancestral: equal to rounding, on any path."""
    key, state = jax.random.key(0), Sample(X)
    for path in (PATH, paths.rectified(), paths.variance_exploding()):
        t = 0.4 * path.t_data + 0.6 * path.t_noise
        s = 0.6 * path.t_data + 0.4 * path.t_noise
        steps = (ddpm(path), ddim(path, eta=1.0), euler_ancestral(path))
        first, *others = (step.step(lambda x, t: X0, key, state, t, s).x for step in steps)
        for other in others:
            np.testing.assert_allclose(other, first, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0, 1.5])
def test_euler_ancestral_is_its_formula(eta):
    path, key = paths.trigonometric(), jax.random.key(0)
    t, s = 0.3, 0.5
    got = euler_ancestral(path, eta).step(lambda x, t: X0, key, Sample(X), t, s).x
    (a, r), (b, q) = ((float(path.alpha(u)), float(path.sigma(u) / path.alpha(u))) for u in (t, s))
    up = min(q, eta * np.sqrt(q**2 * (r**2 - q**2) / r**2))
    down = np.sqrt(max(q**2 - up**2, 0))
    y = np.asarray(X) / a
    want = b * (y + (down - r) * (y - np.asarray(X0)) / r + up * np.asarray(jax.random.normal(key, X.shape)))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_ddim_has_the_noise_of_the_paper():
    """Song, Meng & Ermon, eq. 12 and 16, in alpha-bar."""
    eta, key = 0.7, jax.random.key(0)
    bar_t, bar_s = float(PATH.alpha(T)) ** 2, float(PATH.alpha(S)) ** 2
    spread = eta * np.sqrt((1 - bar_s) / (1 - bar_t)) * np.sqrt(1 - bar_t / bar_s)
    noise = (X - np.sqrt(bar_t) * X0) / np.sqrt(1 - bar_t)
    want = np.sqrt(bar_s) * X0 + np.sqrt(1 - bar_s - spread**2) * noise + spread * jax.random.normal(key, X.shape)
    got = ddim(PATH, eta).step(lambda x, t: X0, key, Sample(X), T, S).x
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variance", ["small", "large", lambda x, t: jnp.ones_like(x)])
def test_ends_are_finite_and_the_last_step_adds_no_noise(variance):
    path, key = paths.rectified(), jax.random.key(0)
    step = ddpm(path, variance)
    np.testing.assert_array_equal(step.step(lambda x, t: X0, key, Sample(X), 0.5, 1.0).x, X0)
    assert np.isfinite(step.step(lambda x, t: X0, key, Sample(X), 0.0, 0.5).x).all()


def test_an_unknown_variance_is_refused():
    with pytest.raises(ValueError, match="choose from small, large"):
        ddpm(PATH, "medium")
