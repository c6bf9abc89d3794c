"""Features of a U-Net's decoder, and a trained network with another last convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import layers, unet, with_fresh_output
from tests.nets.parameters import perturbed

X, T = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32), jnp.array([0.2, 0.7])
OPTIONS = {"channels": (8, 12), "blocks": 1}


def test_the_answer_follows_from_the_features_of_the_last_block():
    net = unet(3, **OPTIONS)
    params = perturbed(jax.jit(net.init)(jax.random.key(0), X, T))
    answer, (coarse, first, last) = jax.jit(lambda p: (net.apply(p, X, T), net.apply(p, X, T, taken=(1, 2, 3))))(params)
    assert (coarse.shape, first.shape, last.shape) == ((2, 4, 4, 12), (2, 8, 8, 8), (2, 8, 8, 8))
    normed = layers.GroupNorm().apply({"params": params["GroupNorm_0"]}, last)
    found = layers.Conv(3).apply({"params": params["Conv_1"]}, nn.silu(normed))
    np.testing.assert_allclose(found, answer, atol=1e-5)


@pytest.mark.thorough
def test_a_fresh_output_leaves_all_else():
    one, two = unet(1, **OPTIONS), unet(2, **OPTIONS)
    trained = perturbed(jax.jit(one.init)(jax.random.key(0), X, T))
    fresh = jax.jit(two.init)(jax.random.key(1), X, T)
    joined = with_fresh_output(trained, fresh)
    assert jax.tree.map(jnp.shape, joined) == jax.tree.map(jnp.shape, fresh)
    for a, b in zip(one.apply(trained, X, T, taken=(0, 3)), two.apply(joined, X, T, taken=(0, 3)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.any(two.apply(joined, X, T)), "the fresh one starts at zero"
