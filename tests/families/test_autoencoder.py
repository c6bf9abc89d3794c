import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import draws, mixtures
from jaxgen.families import autoencoder_model, denoising_autoencoder_model
from jaxgen.families.autoencoder import squared_error
from jaxgen.nets import mlp
from tests.families.training import fit


def test_the_error_of_an_autoencoder_is_that_of_its_image():
    model = autoencoder_model(mlp(1, widths=(4,)), mlp(3, widths=(4,)), data="x")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})
    loss, _ = model.objectives[0].loss(params, jax.random.key(1), {"x": x})
    assert loss.shape == (4,)
    code = mlp(1, widths=(4,)).apply(params["encoder"], x)
    back = mlp(3, widths=(4,)).apply(params["decoder"], code)
    np.testing.assert_allclose(loss, np.square(np.asarray(back) - x).mean(1), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: model.objectives[0].loss(p, jax.random.key(1), {"x": x})[0].sum()))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))
    with pytest.raises(TypeError, match="no prior to draw codes from"):
        model.sample(params, jax.random.key(0), 1)


def test_what_is_corrupted_is_what_the_encoder_sees():
    zero = lambda key, x: jnp.zeros_like(x)  # noqa: E731
    plain, blind = (autoencoder_model(mlp(2), mlp(3), corrupt=c, data="x") for c in (None, zero))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    params = jax.jit(plain.init)(jax.random.key(0), {"x": x})
    back = mlp(3).apply(params["decoder"], mlp(2).apply(params["encoder"], jnp.zeros((4, 3))))
    loss, _ = blind.objectives[0].loss(params, jax.random.key(1), {"x": x})
    np.testing.assert_allclose(loss, np.square(np.asarray(back) - x).mean(1), rtol=1e-5)


def test_weighted_error():
    x, target = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.zeros((2, 2))
    np.testing.assert_allclose(squared_error(x, target, jnp.array([[1.0, 3.0], [0.0, 0.0]])), [13 / 4, 0])


def test_the_linear_autoencoder_finds_the_principal_components():
    """Baldi & Hornik 1989: the least error of a linear autoencoder is the variance left out."""
    deviation = np.array([2.0, 1.0, 0.3, 0.1])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    draw = lambda key: {"x": (deviation * jax.random.normal(key, (256, 4))) @ turn.T}  # noqa: E731
    model = autoencoder_model(mlp(2, widths=()), mlp(4, widths=()), data="x")
    params, _ = fit(model, draw, 3000, rate=2e-2)
    x = draw(jax.random.key(5))["x"]
    loss, _ = model.objectives[0].loss(params, jax.random.key(0), {"x": x})
    least = np.square(np.asarray(x) @ turn[:, 2:]).sum(1).mean() / 4
    assert least * 0.99 < loss.mean() < least * 1.1


def test_a_denoiser_knows_the_score_of_the_noisy_data():
    """``(net(y) - y) / s^2`` beside the closed form for a mixture of normal laws in the plane."""
    angle, s = 2 * np.pi * np.arange(4) / 4, 0.5
    means = 1.5 * np.stack([np.cos(angle), np.sin(angle)], -1)
    law = mixtures.mixture(np.ones(4), means, np.tile(0.15 * np.eye(2), (4, 1, 1)))
    net = mlp(2, widths=(64, 64))
    model = denoising_autoencoder_model(net, lambda key, x: x + s * draws.normal(key, x.shape), data="x")
    params, _ = fit(model, lambda key: {"x": law.sample(key, 256)}, 1500, rate=5e-3)
    noised = mixtures.Mixture(law.weights, law.means, law.variances + s**2, law.axes)
    y = noised.sample(jax.random.key(7), 2000)
    found = np.asarray((net.apply(params["net"], y) - y) / s**2)
    want = np.asarray(noised.score(y))
    assert np.corrcoef(found.ravel(), want.ravel())[0, 1] > 0.98


def test_the_weight_of_a_denoiser_s_loss_is_that_of_the_clean_image():
    seen = lambda key, x: x + 1.0  # noqa: E731
    model = denoising_autoencoder_model(mlp(2), seen, data="x", weight=lambda x: x > 0)
    x = jnp.array([[1.0, -1.0], [2.0, 3.0]])
    params = jax.jit(model.init)(jax.random.key(0), {"x": x})
    error = np.square(np.asarray(mlp(2).apply(params["net"], x + 1)) - x)
    loss, _ = model.objectives[0].loss(params, jax.random.key(0), {"x": x})
    np.testing.assert_allclose(loss, [error[0, 0], error[1].mean()], rtol=1e-5)
