import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths, preconditioning
from jaxgen.losses import weights
from jaxgen.losses.matching import flow_matching
from jaxgen.types import Net

PATHS = {
    "edm": paths.edm(),
    "variance preserving": paths.variance_preserving(),
    "rectified": paths.rectified(),
    "cosine": paths.cosine(),
}


def _raw(answer) -> Net:
    return Net(lambda key, x, t: {}, lambda params, x, t, key=None: answer(x, t))


def test_coefficients_in_numpy():
    """Karras et al. 2022, table 1."""
    sigma, data = np.array([0.002, 0.5, 80.0]), 0.4
    got = preconditioning.coefficients(paths.edm(), sigma, data)
    total = sigma**2 + data**2
    np.testing.assert_allclose(got.skip, data**2 / total, rtol=1e-5)
    np.testing.assert_allclose(got.out, sigma * data / np.sqrt(total), rtol=1e-5)
    np.testing.assert_allclose(got.c_in, 1 / np.sqrt(total), rtol=1e-5)
    np.testing.assert_allclose(got.noise, np.log(sigma) / 4, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_any_path_has_the_coefficients_of_its_scaled_state(path):
    """The denoiser of x_t is EDM's denoiser of x_t / alpha at the level sigma / alpha."""
    t = jnp.array([0.2, 0.7])
    x = jax.random.normal(jax.random.key(0), (2, 3))
    raw = _raw(lambda x, t: jnp.sin(x + t[:, None]))
    alpha, sigma = path.alpha(t), path.sigma(t)
    here = preconditioning.precondition(raw, path).apply({}, x, t)
    there = preconditioning.precondition(raw, paths.edm()).apply({}, x / alpha[:, None], sigma / alpha)
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_finite_at_both_ends(path):
    net = preconditioning.precondition(_raw(lambda x, t: x + t[..., None]), path)
    x = jnp.ones((1, 3))
    for t in (path.t_data, path.t_noise):
        assert np.isfinite(net.apply({}, x, jnp.array([t]))).all()
        assert np.isfinite(net.apply({}, x, jnp.array(t))).all()
    if float(path.sigma(path.t_data)) == 0:
        np.testing.assert_allclose(net.apply({}, x, jnp.array(path.t_data)), x, rtol=1e-6)


def test_inputs_and_targets_have_unit_size_at_every_level():
    """For data of the stated spread: what the design is for (Karras et al. 2022, appendix B.6)."""
    path, data, n = paths.edm(), 0.5, 40_000
    untrained = preconditioning.precondition(_raw(lambda x, t: 0 * x), path, data)
    x = data * jax.random.normal(jax.random.key(0), (n, 1))
    noise = jax.random.normal(jax.random.key(1), (n, 1))
    for t in (0.02, 0.5, 20.0):
        skip, out, c_in, _ = preconditioning.coefficients(path, t, data)
        x_t = x + t * noise
        for values in (c_in * x_t, (x - skip * x_t) / out):
            assert abs(float(jnp.mean(values**2)) - 1) < 4 * np.sqrt(2 / n)
        loss = flow_matching(
            functools.partial(untrained.apply, {}),
            path,
            jax.random.key(2),
            x,
            t=t,
            prediction="x0",
            target="x0",
            weight=weights.edm(path, "x0", data),
        )
        assert abs(float(loss.mean()) - 1) < 4 * float(loss.std()) / np.sqrt(n)


@pytest.mark.parametrize("path", [paths.edm(), paths.variance_preserving(0.01, 30.0)])
def test_levels_are_log_normal_and_each_key_draws_its_own(path):
    n = 4000
    keys = jax.random.split(jax.random.key(0), n)
    time = preconditioning.log_normal_noise(-1.0, 0.8)
    t = time(path, keys, n)
    assert t.dtype == jnp.float32
    level = np.log(np.asarray(path.sigma(t) / path.alpha(t)))
    assert abs(level.mean() + 1) < 4 * 0.8 / np.sqrt(n)
    assert abs(level.std() - 0.8) < 4 * 0.8 / np.sqrt(2 * n)
    np.testing.assert_allclose(t[:5], time(path, keys[:5], 5), rtol=1e-5)


def test_bfloat16_networks_and_gradients():
    net = preconditioning.precondition(Net(lambda key, x, t: {}, lambda params, x, t: params["a"] * x), paths.edm())
    x = jnp.ones((2, 3), jnp.bfloat16)

    def loss(a):
        return flow_matching(
            lambda x, t: net.apply({"a": a}, x, t),
            paths.edm(),
            jax.random.key(0),
            x,
            t=1.0,
            prediction="x0",
            target="x0",
        ).sum()

    value, gradient = jax.value_and_grad(loss)(jnp.bfloat16(0.5))
    assert value.dtype == jnp.float32
    assert float(gradient) != 0
