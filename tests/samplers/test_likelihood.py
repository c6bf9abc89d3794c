"""Log-densities through the probability flow, of laws known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgen import paths
from jaxgen.metrics import bits_per_dimension
from jaxgen.nets import mlp
from jaxgen.paths import discrete
from jaxgen.samplers import denoiser
from jaxgen.samplers.likelihood import log_prob
from jaxgen.schedules import linear_betas
from tests.samplers import oracles

PATHS = {
    "rectified": paths.rectified(),
    "variance preserving": paths.variance_preserving(),
    "cosine": paths.cosine(),
    "variance exploding": paths.variance_exploding(),
    "discrete": discrete(linear_betas(100, 1e-3, 0.2)),
}
MEAN = np.array([0.3, -1.0, 0.5])
COVARIANCE = np.array([[1.0, 0.3, 0.1], [0.3, 0.5, -0.2], [0.1, -0.2, 0.8]])


def _model_law(path, first=1e-3, last=1e4):
    """The law of a model that knows the Gaussian data exactly, but starts from N(0, sigma(t_noise)^2).

    The flow is affine: along each axis of the covariance it maps x_t - alpha m by the ratio of the spreads.
    """
    variances, axes = np.linalg.eigh(COVARIANCE)
    (a0, s0), (a1, s1) = ((float(path.alpha(t)), float(path.sigma(t))) for t in (path.t_data, path.t_noise))
    r0, r1 = max(s0 / a0, first), min(s1 / a1 if a1 else np.inf, last)
    scale = np.sqrt((variances + r0**2) / (variances + r1**2))
    mean = MEAN - axes @ (scale * (axes.T @ MEAN))
    return stats.multivariate_normal(mean, axes * (scale * r1) ** 2 @ axes.T)


@pytest.mark.parametrize(
    ("name", "double"), [(name, name != "variance preserving") for name in PATHS], ids=lambda v: str(v)
)
def test_the_likelihood_of_a_gaussian(name, double):
    """To 1e-4 nats, in float64 or float32, all of the prior's mismatch counted; and near the data's own density."""
    path, tolerance = PATHS[name], 1e-7 if double else 1e-6
    with jax.enable_x64(double):
        oracle = oracles.gaussian(MEAN, COVARIANCE)
        x = np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, 8)
        solve = jax.jit(lambda x: log_prob(oracle.denoiser(path), path, None, x, rtol=tolerance, atol=tolerance))
        got = solve(jnp.asarray(x))
    assert got.dtype == (jnp.float64 if double else jnp.float32)
    np.testing.assert_allclose(got, _model_law(path).logpdf(x), atol=1e-4)
    np.testing.assert_allclose(got, stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x), atol=0.1)


def test_bits_per_dimension_of_a_mixture():
    path, oracle = PATHS["cosine"], oracles.MIXTURE
    x = oracle.draw(jax.random.key(0), 1000)
    got = jax.jit(lambda x: log_prob(oracle.denoiser(path), path, None, x))(x)
    parts = [
        w * stats.multivariate_normal(m, (axes * v) @ axes.T).pdf(np.asarray(x))
        for w, m, v, axes in zip(*oracle, strict=True)
    ]
    exact = np.log(np.sum(parts, 0))
    np.testing.assert_allclose(got, exact, atol=2e-3)
    # The entropy, from an independent and much larger set of draws, is the truth that bits per dimension estimate.
    many = np.asarray(oracle.draw(jax.random.key(1), 100_000))
    parts = [
        w * stats.multivariate_normal(m, (axes * v) @ axes.T).pdf(many) for w, m, v, axes in zip(*oracle, strict=True)
    ]
    truth = -np.log(np.sum(parts, 0)).mean() / 2 / np.log(2)
    found = bits_per_dimension(got, 2, bins=None)
    assert abs(found.value - truth) < 3 * found.standard_error


def _image_law(size):
    """A Gaussian on images whose covariance is a smooth kernel: the axes and variances ``[d]``."""
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), -1).reshape(-1, 2)
    squares = ((grid[:, None] - grid[None]) ** 2).sum(-1)
    variances, axes = np.linalg.eigh(0.3 * np.exp(-squares / 4) + 0.01 * np.eye(size * size))
    return axes.astype(np.float32), variances.astype(np.float32)


def test_bits_per_dimension_of_an_image_shaped_gaussian():
    path, size = PATHS["variance preserving"], 4
    axes, variances = _image_law(size)
    d = size * size

    def denoise(x, t):
        a, s = path.alpha(t), path.sigma(t)
        along = jnp.matmul(x.reshape(-1, d), axes, precision="highest") * (a * variances / (a**2 * variances + s**2))
        return jnp.matmul(along, axes.T, precision="highest").reshape(x.shape)

    normal = np.random.default_rng(0).normal(size=(200, d)).astype(np.float32)
    x = ((normal * np.sqrt(variances)) @ axes.T).reshape(-1, size, size, 1)
    exact = jax.jit(lambda x: log_prob(denoise, path, None, x))(x)
    density = -0.5 * (normal**2).sum(1) - 0.5 * np.log(2 * np.pi * variances).sum()
    np.testing.assert_allclose(exact, density, atol=0.02)
    truth = (0.5 * np.log(2 * np.pi * np.e * variances).sum() / d - np.log(2 / 256)) / np.log(2)
    found = bits_per_dimension(exact, d)
    assert abs(found.value - truth) < 3 * found.standard_error

    keys = jax.random.split(jax.random.key(0), len(x))
    by_probes = jax.jit(lambda keys, x: log_prob(denoise, path, keys, x, trace="hutchinson", rtol=1e-4, atol=1e-4))
    off = np.asarray(by_probes(keys, x) - exact)
    assert off.std() > 0.1
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(x))
    found = bits_per_dimension(exact + off, d)
    assert abs(found.value - truth) < 3 * found.standard_error


def test_probes_of_several_kinds():
    path, variances, turn = PATHS["rectified"], np.array([0.3, 1.5]), np.array([[0.6, -0.8], [0.8, 0.6]])

    def denoise(x, t):
        shrink = t * variances / (t**2 * variances + (1 - t) ** 2)
        return x @ (turn * shrink @ turn.T)

    @jax.jit
    def solve(key, x):
        """The estimates are unbiased at any steps: the probes are the same at all of them."""

        def by(**kind):
            return log_prob(denoise, path, key, x, solver="euler", steps=20, **kind)

        random = [by(trace="hutchinson", **kind) for kind in ({}, {"probes": 4}, {"gaussian": True})]
        return by(), jnp.stack(random)

    x = jnp.tile(jnp.array([[0.1, -0.5]]), (2000, 1))
    exact, random = solve(jax.random.key(0), x)
    off = np.asarray(random - exact)
    spread = off.std(1)
    assert (np.abs(off.mean(1)) < 4 * spread / np.sqrt(len(x))).all()
    np.testing.assert_allclose(spread[1], spread[0] / 2, rtol=0.1)
    assert spread[2] > spread[0]


def test_gradients_reach_the_network_and_examples_own_their_keys():
    path, net = PATHS["variance preserving"], mlp(2, widths=(8,))
    x = jax.random.normal(jax.random.key(0), (4, 2))
    params = jax.jit(net.init)(jax.random.key(1), x, jnp.zeros(4))
    keys = jax.random.split(jax.random.key(2), 4)

    def total(params, keys, x):
        denoise = denoiser(lambda x, t: net.apply(params, x, t), path, "v")
        value = log_prob(denoise, path, keys, x, trace="hutchinson", solver="euler", steps=4)
        return value.sum(), value

    both = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, value), gradient = both(params, keys, x)
    np.testing.assert_allclose(both(params, keys[::-1], x[::-1])[0][1][::-1], value, rtol=1e-4)
    direction = jax.tree.map(lambda p: jax.random.normal(jax.random.key(3), p.shape), params)
    ahead, behind = (
        both(jax.tree.map(lambda p, d, s=s: p + s * d, params, direction), keys, x)[0][0] for s in (3e-3, -3e-3)
    )
    along = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    np.testing.assert_allclose(along, (ahead - behind) / 6e-3, rtol=2e-2)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient) if leaf.ndim == 2)


def test_errors():
    with pytest.raises(ValueError, match="choose exact or hutchinson"):
        log_prob(lambda x, t: x, paths.edm(), None, jnp.ones((1, 2)), trace="sliced")
    with pytest.raises(ValueError, match="need a key"):
        log_prob(lambda x, t: x, paths.edm(), None, jnp.ones((1, 2)), trace="hutchinson")
