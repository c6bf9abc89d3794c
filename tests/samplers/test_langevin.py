import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.samplers import (
    Sample,
    annealed_langevin,
    ddim,
    euler_maruyama,
    heun,
    predictor_corrector,
    reverse_diffusion,
    sample,
)
from jaxgen.samplers.langevin import langevin_step

X, X0 = jnp.array([[0.5, -1.0, 0.1], [2.0, 0.0, 0.4]]), jnp.array([[1.0, 0.5, 0.0], [-0.3, 0.2, 0.7]])
KEY = jax.random.key(0)


def fixed(x, t):
    return X0


def normal(key):
    return np.asarray(jax.random.normal(key, X.shape))


@pytest.mark.parametrize("name", ["exploding", "preserving"])
def test_reverse_diffusion_is_its_formula(name):
    """Song et al., algorithms 2 and 3: with the chain's beta, or the difference of squared noises."""
    path = {"exploding": paths.variance_exploding(), "preserving": paths.variance_preserving()}[name]
    t, s = 0.5, 0.45
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    score = -(np.asarray(X) - alpha * np.asarray(X0)) / sigma**2
    if name == "exploding":
        added, kept = sigma**2 - float(path.sigma(s)) ** 2, 1.0
    else:
        added = 1 - (alpha / float(path.alpha(s))) ** 2
        kept = 2 - np.sqrt(1 - added)
    want = kept * np.asarray(X) + added * score + np.sqrt(added) * normal(KEY)
    np.testing.assert_allclose(reverse_diffusion(path).step(fixed, KEY, Sample(X), t, s).x, want, rtol=2e-5, atol=1e-5)


def test_euler_maruyama_is_its_formula():
    """Song et al., eq. 6, on the variance-preserving path: beta(t) is known."""
    path, t, s, noise = paths.variance_preserving(), 0.5, 0.45, 0.5
    beta = 0.1 + 19.9 * t
    score = -(np.asarray(X) - float(path.alpha(t)) * np.asarray(X0)) / float(path.sigma(t)) ** 2
    back = 0.5 * beta * np.asarray(X) + 0.5 * (1 + noise**2) * beta * score
    want = X + (t - s) * back + noise * np.sqrt(beta * (t - s)) * normal(KEY)
    got = euler_maruyama(path, noise).step(fixed, KEY, Sample(X), jnp.float32(t), jnp.float32(s)).x
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)


def test_the_corrector_is_its_formula():
    path, t, s, snr = paths.variance_exploding(), 0.5, 0.4, 0.2
    got = predictor_corrector(ddim(path), path, snr).step(fixed, KEY, Sample(X), t, s).x
    key = jax.random.split(KEY)[0]
    z = normal(jax.random.fold_in(key, 0))
    score = -(np.asarray(X) - np.asarray(X0)) / float(path.sigma(t)) ** 2
    lengths = [np.linalg.norm(a, axis=1).mean() for a in (z, score)]
    size = 2 * (snr * lengths[0] / lengths[1]) ** 2
    x = X + size * score + np.sqrt(2 * size) * z
    want = ddim(path).step(fixed, KEY, Sample(jnp.asarray(x)), t, s).x
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)


def test_a_predictor_that_asks_elsewhere_is_refused():
    path = paths.rectified()
    with pytest.raises(ValueError, match="must ask its denoiser once"):
        predictor_corrector(heun(path), path).step(lambda x, t: x, KEY, Sample(X), 0.3, 0.4)


def test_annealed_langevin_is_its_formula():
    path, size = paths.variance_exploding(), 0.3
    t, s = 0.5, 0.4
    got = annealed_langevin(path, size, repeats=2).step(lambda x, t: 0.5 * x, KEY, Sample(X), t, s).x
    x, sigma = np.asarray(X), float(path.sigma(s))
    for i in range(2):
        step = size * sigma**2
        x = x + step / 2 * (0.5 * x - x) / sigma**2 + np.sqrt(step) * normal(jax.random.fold_in(KEY, i))
    np.testing.assert_allclose(got, x, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("make", [lambda p: predictor_corrector(ddim(p), p, corrections=3), annealed_langevin])
def test_one_copy_of_the_network_and_the_last_step_lands_on_x0(make):
    path, traced, called = paths.edm(), [], []

    def counted(x, t):
        traced.append(jnp.shape(t))
        jax.debug.callback(lambda t: called.append(float(t)), t)
        return X0

    step = make(path) if make is not annealed_langevin else make(path, repeats=3)
    end = jax.jit(lambda x: sample(step, counted, KEY, x, jnp.array([5.0, 1.0, 0.0])))(X)
    jax.effects_barrier()
    np.testing.assert_allclose(end, X0, atol=1e-6)
    assert traced == [()]
    assert sorted(called) == ([1.0] * 4 + [5.0] * 4 if make is not annealed_langevin else [1.0] * 4)


@pytest.mark.parametrize("path", [paths.cosine(), paths.rectified(), paths.variance_preserving()])
def test_a_langevin_step_follows_the_score_where_alpha_is_below_1(path):
    """``x + e score + sqrt(2 e) z``, the score ``(alpha x0 - x) / sigma^2``; alpha is 1 in the formulas of EDM."""
    t, snr, z = jnp.float32(0.4), 0.3, jax.random.normal(KEY, X.shape)
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    score = (alpha * np.asarray(X0) - np.asarray(X)) / sigma**2
    size = 2 * (snr * np.linalg.norm(z) * sigma / np.linalg.norm(sigma * score)) ** 2
    want = np.asarray(X) + size * score + np.sqrt(2 * size) * np.asarray(z)
    np.testing.assert_allclose(langevin_step(path, X, X0, z, t, snr, jnp.linalg.norm), want, rtol=1e-5, atol=1e-6)
