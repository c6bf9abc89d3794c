"""Latent diffusion: what it is told, what it hides, its scale, and samples with an exact network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import paths
from jaxgen.families import (
    Autoencoder,
    Conditions,
    latent_autoencoder_model,
    latent_diffusion_model,
    regression_model,
    trained_autoencoder,
)
from jaxgen.families.codec import Codec
from jaxgen.nets import UNetVariant, classifier, decoder, encoder, unet
from jaxgen.samplers import Sampling, ddim, ddpm, euler, grids
from jaxgen.types import Net

CODE = (4, 4, 2)
HALF = Autoencoder(lambda x, key=None: 3 * x[:, ::2, ::2], lambda z: (z / 3).repeat(2, 1).repeat(2, 2))


def sampling(path=None, prediction="v", steps=3):
    path = path or paths.variance_preserving()
    return Sampling(path, ddim(path), grids.uniform(path, steps), prediction)


def batch(n=3, **more):
    rng = np.random.default_rng(0)
    return {"image": jnp.asarray(rng.normal(size=(n, 8, 8, 2)), jnp.float32), **more}


def stand_in():
    """A network of no parameters but one, which answers the mean of all it is told."""

    def apply(params, x, t, context=None, label=None, key=None):
        told = jnp.mean(x[..., 2:], axis=(1, 2, 3), keepdims=True) if x.shape[-1] > 2 else 0.0
        return params["weight"] * (x[..., :2] + told)

    return Net(lambda key, x, t, **told: {"weight": jnp.ones(())}, apply)


@pytest.mark.parametrize("null", ["learned", "marked"])
def test_what_the_network_is_told(null):
    told = Conditions(covariates=2, classes=3, tokens=True, null=null)
    params = told.init()
    cond = {"covariates": jnp.array([[0.2, 0.9], [0.4, 0.1]]), "label": jnp.array([1, 2])}
    x, keywords = told.inputs(params, jnp.ones((2, 4, 4, 1)), cond, jnp.array([True, False]))
    shown = {"learned": [0.2, 0.9], "marked": [0.2, 0.9, 1.0]}[null]
    hidden = {"learned": [0.5, 0.5], "marked": [0.0, 0.0, 0.0]}[null]
    np.testing.assert_allclose(x[0, :, :, 1:], np.broadcast_to(shown, (4, 4, len(shown))))
    np.testing.assert_allclose(x[1, :, :, 1:], np.broadcast_to(hidden, (4, 4, len(hidden))))
    np.testing.assert_allclose(keywords["context"], np.array([[shown], [hidden]]))
    assert keywords["label"].tolist() == [1, 3]
    nothing, _ = told.inputs(params, jnp.ones((2, 4, 4, 1)), {})
    np.testing.assert_allclose(nothing[:, 0, 0, 1:], [hidden, hidden])


def test_channels_and_tokens_can_be_left_out():
    cond = {"covariates": jnp.ones((1, 2))}
    x, keywords = Conditions(covariates=2, channels=False, tokens=True).inputs(
        Conditions(covariates=2).init(), jnp.zeros((1, 4, 1)), cond
    )
    assert x.shape == (1, 4, 1)
    assert set(keywords) == {"context"}
    x, keywords = Conditions().inputs({}, jnp.zeros((1, 4, 1)), {})
    assert (x.shape, keywords) == ((1, 4, 1), {})


def test_what_is_asked_for_must_fit():
    told = Conditions(covariates=2)
    with pytest.raises(ValueError, match="takes no label; it takes covariates"):
        told.check({"label": jnp.zeros(3)}, 3)
    with pytest.raises(ValueError, match=r"\(3, 2\) are needed for 3 samples"):
        told.check({"covariates": jnp.zeros((3, 1))}, 3)
    path = paths.variance_preserving()
    learned = Sampling(path, lambda fraction: ddpm(path), grids.uniform(path, 2), "v")
    with pytest.raises(ValueError, match="plain step"):
        latent_diffusion_model(stand_in(), CODE, learned, HALF)


@pytest.mark.parametrize("path", [paths.variance_preserving(), paths.rectified()], ids=["diffusion", "flow"])
@pytest.mark.parametrize("null", ["learned", "marked"])
def test_training_reaches_every_parameter_and_hides_conditions(path, null):
    told = Conditions(covariates=2, drop=0.5, null=null)
    prediction = "velocity" if path.t_data == 1 else "v"
    model = latent_diffusion_model(stand_in(), CODE, sampling(path, prediction), HALF, conditions=told)
    data = batch(16, covariates=jnp.ones((16, 2)))
    params = jax.jit(model.init)(jax.random.key(0), data)
    assert set(params) == {"net", "scale", *told.groups}
    assert model.objectives[0].groups == ("net", *told.groups)
    keys = jax.random.split(jax.random.key(1), 16)

    def total(params):
        value, _ = model.objectives[0].loss(params, keys, data)
        assert value.shape == (16,)
        return value.sum()

    gradient = jax.jit(jax.grad(total))(params)
    for group in model.objectives[0].groups:
        assert all(np.abs(leaf).min() > 0 for leaf in jax.tree.leaves(gradient[group])), group
    _, known = told.training(keys, data)
    assert 2 < int(known.sum()) < 14


def test_the_scale_is_that_of_the_codes_and_codes_may_be_given():
    model = latent_diffusion_model(stand_in(), CODE, sampling(), HALF)
    data = batch(32)
    params = jax.jit(model.init)(jax.random.key(0), data)
    codes = HALF.encode(data["image"])
    np.testing.assert_allclose(params["scale"]["factor"] * jnp.std(codes), 1, rtol=1e-5)
    keys = jax.random.split(jax.random.key(1), 32)
    losses = [model.objectives[0].loss(params, keys, given)[0] for given in (data, {"code": codes})]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def exact(spread=0.25):
    """The posterior mean of codes that are Gaussian about the covariate, z ~ N(c, spread^2), on a rectified path."""

    def apply(params, x, t, key=None):
        z, c = x[..., :2], x[..., 2:]
        alpha, sigma = t, 1 - t
        gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        return c + gain * (z - alpha * c)

    return Net(lambda key, x, t: {"unused": jnp.zeros(())}, apply)


def test_samples_have_the_covariates_that_they_were_asked_for():
    """With the exact network decoded samples are N(c, spread^2), and guidance pushes their mean off the null's."""
    path = paths.rectified()
    ways = Sampling(path, euler(path), grids.uniform(path, 40), "x0")
    same = Autoencoder(lambda x, key=None: x, lambda z: z)
    model = latent_diffusion_model(exact(), (8, 8, 2), ways, same, conditions=Conditions(covariates=1))
    params = jax.jit(model.init)(jax.random.key(0), {"image": jnp.ones((2, 8, 8, 2)), "covariates": jnp.ones((2, 1))})
    params["scale"]["factor"] = jnp.float32(1)
    cond = {"covariates": jnp.linspace(0, 1, 5)[:, None]}
    draw = jax.jit(lambda guidance: model.sample(params, jax.random.key(1), 5, cond, guidance))
    x = model.sample(params, jax.random.key(1), 5, cond)
    error = 0.25 / np.sqrt(128)
    np.testing.assert_allclose(x.mean((1, 2, 3)), cond["covariates"][:, 0], atol=4 * error)
    np.testing.assert_allclose(x.std((1, 2, 3)), 0.25, rtol=0.2)
    np.testing.assert_allclose(draw(1.0), x, atol=1e-4)
    pushed = draw(2.0).mean((1, 2, 3))
    np.testing.assert_allclose(pushed, 0.5 + 2 * (cond["covariates"][:, 0] - 0.5), atol=0.1)
    unknown = model.sample(params, jax.random.key(1), 5)
    np.testing.assert_allclose(unknown.mean((1, 2, 3)), 0.5, atol=4 * error)
    np.testing.assert_array_equal(model.sample(params, jax.random.key(1), 5, cond), x)


def test_a_u_net_of_volumes_with_a_token():
    net = unet(2, channels=(4,), blocks=1, variant=UNetVariant(cross_attention=(0,)))
    told = Conditions(covariates=3, tokens=True)
    same = Autoencoder(lambda x, key=None: x, lambda z: z)
    model = latent_diffusion_model(net, (4, 4, 2, 2), sampling(), same, conditions=told)
    data = {"image": jnp.ones((2, 4, 4, 2, 2)), "covariates": jnp.ones((2, 3))}
    params = jax.eval_shape(model.init, jax.random.key(0), data)
    assert params["net"]["Conv_0"]["kernel"].shape == (3, 3, 3, 5, 4)
    shapes = jax.eval_shape(lambda p: model.sample(p, jax.random.key(0), 2, {"covariates": jnp.ones((2, 3))}), params)
    assert shapes.shape == (2, 4, 4, 2, 2)


def test_the_codec_is_the_autoencoder_on_any_number_of_images():
    nets = encoder(4, channels=(4, 4)), decoder(1, channels=(4, 4))
    model = latent_autoencoder_model(*nets, code=(4, 4, 2))
    x = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"image": x})
    codec, trained = Codec(*nets, params, 2), trained_autoencoder(*nets, params)
    np.testing.assert_allclose(codec.encode(x), trained.encode(x), atol=1e-5)
    np.testing.assert_allclose(
        codec.decode(codec.encode(x)), np.clip(trained.decode(trained.encode(x)), -1, 1), atol=1e-5
    )
    assert codec.gaussian(codec.encode(x), 3, seed=0).shape == (3, 8, 8, 1)


def test_a_regression_learns_numbers():
    net = classifier(2, channels=(4,), blocks=1)
    model = regression_model(net)
    data = {"image": jnp.ones((3, 4, 4, 1)), "covariates": jnp.array([[1.0, 3.0]] * 3)}
    params = jax.jit(model.init)(jax.random.key(0), data)
    assert model.objectives[0].loss(params, jax.random.key(0), data)[0].tolist() == [5.0] * 3
    with pytest.raises(TypeError):
        model.sample(params, jax.random.key(0), 1)
