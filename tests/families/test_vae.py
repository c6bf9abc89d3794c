import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
import scipy.stats

from jaxgen.families import bernoulli_likelihood, gaussian_likelihood, logistic_likelihood, vae_model
from jaxgen.families.vae import draw_code, posterior
from jaxgen.nets import mlp
from tests.families.training import fit

RNG = np.random.default_rng(0)
WEIGHTS = np.array([[1.5, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.5, 0.9], [0.3, -0.4]])
MEAN, NOISE = np.array([1.0, -0.5, 0.0, 0.3, 2.0]), 0.4


def linear_gaussian(key, n=128):
    z_key, noise_key = jax.random.split(key)
    z = jax.random.normal(z_key, (n, 2))
    return {"x": z @ WEIGHTS.T + MEAN + NOISE * jax.random.normal(noise_key, (n, 5))}


def evidence(params, x):
    """Exact log p(x) of a linear decoder with normal noise."""
    kernel, bias = (np.asarray(params["decoder"]["Dense_0"][name], np.float64) for name in ("kernel", "bias"))
    scale = np.exp(float(params["law"]["log_scale"]))
    return scipy.stats.multivariate_normal(bias, kernel.T @ kernel + scale**2 * np.eye(5)).logpdf(x)


@pytest.fixture(scope="module")
def linear_vae():
    model = vae_model(mlp(4, widths=()), mlp(5, widths=()), (2,), gaussian_likelihood(), data="x", warm_up=True)
    params, metrics = fit(model, linear_gaussian, 5000, rate=2e-2, optimizers={"warm_up": optax.sgd(1 / 200)})
    return model, params, metrics


def test_the_linear_vae_is_probabilistic_pca(linear_vae):
    """Tipping & Bishop 1999: its evidence is known, and so is its subspace; the bound must come up to it."""
    model, params, _ = linear_vae
    x = linear_gaussian(jax.random.key(9), 1000)["x"]
    true = scipy.stats.multivariate_normal(MEAN, WEIGHTS @ WEIGHTS.T + NOISE**2 * np.eye(5)).logpdf(x)
    own = evidence(params, x)

    @jax.jit
    def bounds(params, key):
        keys = jax.random.split(key, 64)
        once = jax.lax.map(lambda k: model.log_prob(params, k, x, draws_of_code=1), keys)
        return jnp.mean(once, 0), model.log_prob(params, key, x, draws_of_code=64)

    elbo, weighted = (np.asarray(value, np.float64) for value in bounds(params, jax.random.key(1)))
    error = (own - elbo).std(ddof=1) / np.sqrt(len(x))
    assert own.mean() - elbo.mean() > -4 * error
    assert own.mean() - elbo.mean() < 0.05
    assert true.mean() - elbo.mean() < 0.05
    assert abs(own.mean() - weighted.mean()) < abs(own.mean() - elbo.mean()) + 4 * error
    angles = scipy.linalg.subspace_angles(np.asarray(params["decoder"]["Dense_0"]["kernel"]).T, WEIGHTS)
    assert np.degrees(angles.max()) < 5
    np.testing.assert_allclose(np.exp(params["law"]["log_scale"]), NOISE, rtol=0.05)


def test_the_bound_is_exact_with_the_exact_posterior():
    """One draw gives log p(x) itself, whatever the draw, when q is the posterior of the linear model."""
    model = vae_model(mlp(2, widths=()), mlp(1, widths=()), (1,), gaussian_likelihood(0.5), data="x")
    x = jnp.asarray(RNG.normal(size=(6, 1)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})
    assert "law" not in params
    weight, noise, mean = 2.0, 0.5, 1.0
    variance = 1 / (1 + weight**2 / noise**2)
    slope = variance * weight / noise**2
    layer = lambda kernel, bias: {"Dense_0": {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}}  # noqa: E731
    params["decoder"] = layer([[weight]], [mean])
    params["encoder"] = layer([[slope, 0.0]], [-slope * mean, np.log(variance)])
    want = scipy.stats.norm(mean, np.sqrt(weight**2 + noise**2)).logpdf(x)[:, 0]
    for seed in range(3):
        found = model.log_prob(params, jax.random.key(seed), x, draws_of_code=1)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    loss, info = model.objectives[0].loss(params, jax.random.key(3), {"x": x})
    kl = 0.5 * (variance + (slope * (np.asarray(x[:, 0]) - mean)) ** 2 - 1 - np.log(variance))
    np.testing.assert_allclose(info["divergence"], kl, rtol=1e-4)
    np.testing.assert_allclose(loss, info["reconstruction"] + info["divergence"], rtol=1e-5)


def test_more_draws_give_a_higher_bound():
    model = vae_model(mlp(4), mlp(3), (2,), gaussian_likelihood(0.3), data="x")
    x = jnp.asarray(RNG.normal(size=(64, 3)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})
    bound = jax.jit(model.log_prob, static_argnames="draws_of_code")
    means = [float(bound(params, jax.random.key(1), x, draws_of_code=k).mean()) for k in (1, 8, 64)]
    assert means[0] < means[1] < means[2]


def test_beta_free_bits_and_warm_up_weigh_the_divergence(linear_vae):
    _, params, metrics = linear_vae
    np.testing.assert_allclose(-metrics["loss/warm_up"][:4], np.arange(4) / 200, atol=1e-6)
    batch, key = linear_gaussian(jax.random.key(5), 4), jax.random.key(1)

    def parts(**options):
        model = vae_model(mlp(4, widths=()), mlp(5, widths=()), (2,), gaussian_likelihood(), data="x", **options)
        return model.objectives[0].loss(params, key, batch)

    plain, info = parts()
    np.testing.assert_allclose(parts(beta=3.0)[0] - plain, 2 * info["divergence"], rtol=1e-4)
    assert (parts(free_bits=100.0)[0] - info["reconstruction"] == 200).all()
    half = {**params, "warm_up": {"done": jnp.array(0.5)}}
    model = vae_model(mlp(4, widths=()), mlp(5, widths=()), (2,), gaussian_likelihood(), data="x", warm_up=True)
    warming, _ = model.objectives[0].loss(half, key, batch)
    np.testing.assert_allclose(plain - warming, 0.5 * info["divergence"], rtol=1e-3)


@pytest.mark.parametrize("law", [gaussian_likelihood(), bernoulli_likelihood(), logistic_likelihood(bins=16)])
def test_contract(law):
    """One value an example from its own key, gradients for every parameter, float32 from a bfloat16 network."""
    model = vae_model(mlp(4, widths=(8,)), mlp(3, widths=(8,)), (2,), law, data="x")
    batch = {"x": jnp.asarray(RNG.uniform(0, 1, (4, 3)), jnp.float32)}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 4)
    loss = jax.jit(lambda params, keys, batch: model.objectives[0].loss(params, keys, batch)[0])
    whole = loss(params, keys, batch)
    np.testing.assert_allclose(loss(params, keys[2:], {"x": batch["x"][2:]}), whole[2:], rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: loss(p, keys, batch).sum()))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    assert loss(half, keys, batch).dtype == jnp.float32
    np.testing.assert_allclose(loss(half, keys, batch), whole, rtol=0.1)
    drawn = model.sample(params, jax.random.key(2), 5)
    assert drawn.shape == (5, 3)
    assert model.sample(params, keys, 4).shape == (4, 3)
    with pytest.raises(ValueError, match="unconditional"):
        model.sample(params, jax.random.key(2), 5, jnp.zeros(5))


def test_a_learned_deviation_settles_at_the_error():
    """The optimum of a normal law's deviation is the root mean square error (sigma-VAE)."""
    law, answer, x = gaussian_likelihood(), jnp.zeros((1, 500)), jnp.asarray(RNG.normal(0, 0.3, (1, 500)))
    rms = float(jnp.sqrt(jnp.mean(x**2)))
    slope = jax.grad(lambda s: law.negative_log({"log_scale": s}, answer, x)[0])
    assert abs(slope(jnp.log(rms))) < 1e-2
    assert slope(jnp.log(0.9 * rms)) < -10
    assert slope(jnp.log(1.1 * rms)) > 10


def test_codes_are_drawn_from_the_posterior():
    encoder = mlp(2, widths=())
    x = jnp.ones((20_000, 1))
    params = {"Dense_0": {"kernel": jnp.array([[0.7, 0.0]]), "bias": jnp.array([0.0, np.log(0.25)])}}
    mean, log_variance = posterior(encoder, params, x)
    z = np.asarray(draw_code(jax.random.key(0), mean, log_variance))
    assert abs(z.mean() - 0.7) < 4 * 0.5 / np.sqrt(len(z))
    assert abs(z.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * len(z))
