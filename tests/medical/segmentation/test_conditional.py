import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.folding import space_to_depth
from jaxgen.medical.segmentation.conditional import conditional_net
from jaxgen.nets import ops, unet
from jaxgen.types import Net

RNG = np.random.default_rng(0)
IMAGE, X = (jnp.asarray(RNG.normal(size=(2, 8, 8, c)), jnp.float32) for c in (3, 1))


def linear(channels):
    """A network of one layer, for speed."""
    return Net(
        lambda key, x: jax.random.normal(key, (x.shape[-1], channels)),
        lambda params, x, *, key=None: ops.dense(x, params),
    )


@pytest.mark.parametrize("patch", [1, 2])
def test_the_parts_make_the_whole(patch):
    encoder, denoiser = linear(8), unet(1, channels=(8,), blocks=1, patch=patch)
    encoder, denoiser = (Net(jax.jit(net.init), jax.jit(net.apply)) for net in (encoder, denoiser))
    net = conditional_net(encoder, denoiser, patch=patch)
    params = jax.jit(net.init)(jax.random.key(0), IMAGE, X)
    chex.assert_trees_all_equal(params, jax.jit(net.init)(jax.random.key(0), IMAGE, X))
    params = jax.tree.map(lambda p: p + 0.1 * np.random.default_rng(p.size).normal(size=p.shape), params)
    folded = space_to_depth(IMAGE, patch) if patch > 1 else IMAGE
    features = net.encode(params, IMAGE)
    np.testing.assert_array_equal(features, encoder.apply(params["encoder"], folded))
    want = denoiser.apply(params["denoiser"], X, 0.3, None, features)
    np.testing.assert_array_equal(net.apply(params, X, 0.3, features), want)
    moved = net.apply(params, X, 0.3, net.encode(params, IMAGE + 1.0))
    assert np.abs(moved - want).max() > 1e-3  # the image is seen
