"""Codes with spatial axes: the latent autoencoder in 2-D and 3-D, and the vector-quantised one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.families import latent_autoencoder_model, vector_quantised_model
from jaxgen.families.latent_autoencoder import decode, encode, measure_scale
from jaxgen.losses import gaussian_kl, perceptual_distance
from jaxgen.nets import dcgan_discriminator, decoder, encoder
from jaxgen.types import Net
from tests.families.training import fit


def perturbed(params):
    """Away from the kernels that start at zero."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(tree, [leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


def features(x):
    return (x, x[:, ::2] ** 2)


@pytest.mark.thorough
@pytest.mark.parametrize("spatial", [(8, 8), (4, 4, 8)], ids=["2-D", "3-D"])
def test_the_terms_of_the_latent_autoencoder(spatial):
    nets = encoder(6, channels=(4, 4)), decoder(2, channels=(4, 4))
    judge = dcgan_discriminator(channels=(4,), patch=True)
    code = (*(n // 2 for n in spatial), 3)
    weights = {"divergence_weight": 0.1, "perceptual_weight": 2.0, "adversarial_weight": 0.3}
    model = latent_autoencoder_model(*nets, code=code, features=features, discriminator=judge, **weights)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *spatial, 2)), jnp.float32)
    batch, keys = {"image": x}, jax.random.split(jax.random.key(1), 2)
    params = perturbed(jax.jit(model.init)(jax.random.key(0), batch))

    @jax.jit
    def losses(params):
        def one(objective):
            def total(part):
                value, info = objective.loss({**params, **part}, keys, batch)
                return value.sum(), (value, info)

            return jax.jit(jax.grad(total, has_aux=True))({name: params[name] for name in objective.groups})

        return [one(objective) for objective in model.objectives]

    (gradient, (value, info)), (critic_gradient, (critic, _)) = losses(params)
    assert set(gradient) == {"encoder", "decoder"}
    assert set(critic_gradient) == {"discriminator"}
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves((gradient, critic_gradient)))
    want = info["absolute"] + 0.1 * info["divergence"] / x[0].size + 2 * info["perceptual"] + 0.3 * info["adversarial"]
    np.testing.assert_allclose(value, want, rtol=1e-4)
    assert critic.shape == (2,)
    mean, log_variance = np.split(np.asarray(nets[0].apply(params["encoder"], x)), 2, -1)
    np.testing.assert_allclose(info["divergence"], gaussian_kl(mean, log_variance), rtol=1e-4)

    z = encode(nets[0], params, x, 0.5)
    np.testing.assert_allclose(z, 0.5 * mean, rtol=1e-4, atol=1e-6)
    back = decode(nets[1], params, z, 0.5)
    np.testing.assert_allclose(back, nets[1].apply(params["decoder"], jnp.asarray(mean)), rtol=1e-3, atol=1e-5)
    assert model.sample(params, keys, 2).shape == x.shape


def test_the_pieces_can_be_left_out():
    nets = encoder(2, channels=(4,)), decoder(1, channels=(4,))
    model = latent_autoencoder_model(*nets, code=(4, 4, 1))
    batch = {"image": jnp.ones((2, 4, 4, 1))}
    params = jax.jit(model.init)(jax.random.key(0), batch)
    assert set(params) == {"encoder", "decoder"}
    assert len(model.objectives) == 1
    _, info = model.objectives[0].loss(params, jax.random.key(0), batch)
    assert set(info) == {"absolute", "divergence"}


def test_the_perceptual_term_is_the_distance_of_what_is_had_back():
    """With a decoder that shifts its code, and a code without noise, every term is known."""
    certain = Net(lambda key, x: {}, lambda params, x, key=None: jnp.concatenate([x, 0 * x - 30], -1))
    shift = Net(lambda key, z: {}, lambda params, z, key=None: z + 0.5)
    model = latent_autoencoder_model(certain, shift, code=(4, 4, 2), divergence_weight=0.0, features=features)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 2)), jnp.float32)
    value, _ = model.objectives[0].loss({"encoder": {}, "decoder": {}}, jax.random.key(0), {"image": x})
    np.testing.assert_allclose(value, 0.5 + perceptual_distance(features, x + 0.5, x), rtol=1e-4)


def test_the_scale_brings_codes_to_deviation_one():
    codes = 7 * np.random.default_rng(0).normal(size=(50, 4, 4, 3)) + 1
    scale = measure_scale(jnp.asarray(codes))
    np.testing.assert_allclose(np.std(scale * codes), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="all alike"):
        measure_scale(jnp.ones((2, 3)))


def test_a_codebook_learns_the_centres_of_clusters():
    """k-means as a vector-quantised autoencoder: encoder and decoder that change nothing, entries that move."""
    same = Net(lambda key, x: {}, lambda params, x, key=None: x)
    centres = jnp.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0], [3.0, 3.0]])
    draw = lambda key: {"x": jnp.repeat(centres, 16, 0) + 0.1 * jax.random.normal(key, (64, 2))}  # noqa: E731
    model = vector_quantised_model(same, same, 12, data="x")
    params, metrics = fit(model, draw, 300, rate=3e-2)
    book = np.asarray(params["codebook"]["entries"])
    nearest = np.linalg.norm(np.asarray(centres)[:, None] - book[None], axis=-1).min(1)
    assert (nearest < 0.15).all()
    assert metrics["perplexity"][-1] > 3.5
    assert metrics["error"][-1] < 0.02
    with pytest.raises(TypeError, match="distribution of its indices"):
        model.sample(params, jax.random.key(0), 1)


def test_a_vector_quantised_image_and_its_gradients():
    nets = encoder(3, channels=(4, 4)), decoder(1, channels=(4, 4))
    model = vector_quantised_model(*nets, 8, commitment=0.5)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), {"image": x})

    @jax.jit
    def loss(params):
        value, info = model.objectives[0].loss(params, jax.random.key(1), {"image": x})
        return value.sum(), (value, info)

    gradient, (value, info) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert value.shape == (2,)
    encoded = np.asarray(nets[0].apply(params["encoder"], x))
    book = np.asarray(params["codebook"]["entries"])
    codes = book[np.linalg.norm(encoded[..., None, :] - book, axis=-1).argmin(-1)]
    np.testing.assert_allclose(value - info["error"], 1.5 * np.square(encoded - codes).mean((1, 2, 3)), rtol=1e-3)
    back = np.asarray(nets[1].apply(params["decoder"], jnp.asarray(codes)))
    np.testing.assert_allclose(info["error"], np.square(back - x).mean((1, 2, 3)), rtol=1e-3)
    for group in ("encoder", "decoder", "codebook"):
        assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient[group]))
