"""Options of the U-Net of some published networks: attention without its last layer, vectors apart, SPADE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import Control, Transformer, UNetVariant, unet
from jaxgen.nets.spade import MONAI_FORM, Spade, SpadeForm

T = jnp.array([0.2, 0.8])
X = jnp.zeros((2, 8, 8, 1))


def shapes_of(variant, **given):
    net = unet(1, channels=(8, 16), blocks=1, attention=(1,), head_width=8, adaptive=False, variant=variant)
    return net, jax.eval_shape(lambda key: net.init(key, X, T, **given), jax.random.key(0))


def test_attention_without_its_last_layer():
    _, shapes = shapes_of(UNetVariant(groups=4, attention_projection=False))
    assert set(shapes["SelfAttention_0"]) == {"GroupNorm_0", "Dense_0"}
    variant = UNetVariant(groups=4, cross_attention=(0,), transformer=Transformer(), attention_projection=False)
    _, shapes = shapes_of(variant, context=jnp.zeros((2, 3, 5)))
    block = shapes["SpatialTransformer_0"]["_Block_0"]
    assert set(block["MultiHeadAttention_0"]) == {"Dense_0"}
    assert set(block["MultiHeadAttention_1"]) == {"Dense_0", "Dense_1", "Dense_2"}


def test_parts_of_a_vector_stand_apart():
    net, shapes = shapes_of(UNetVariant(groups=4, vector_parts=(4, 3)), vector=jnp.zeros((2, 7)))
    assert shapes["ResidualBlock_0"]["Dense_0"]["kernel"].shape == (3 * 32, 8)
    inner = [shapes[f"Dense_{i}"]["kernel"].shape for i in range(6)]
    assert inner == [(32, 32), (8, 32), (32, 32), (4, 32), (32, 32), (3, 32)]
    with pytest.raises(ValueError, match=r"a vector of width 6 does not have parts of widths \(4, 3\)"):
        jax.eval_shape(net.apply, shapes, X, T, vector=jnp.zeros((2, 6)))


def test_a_map_enters_where_the_form_says():
    _, shapes = shapes_of(
        UNetVariant(groups=4, spade=4, residual_resampling=True, spade_form=MONAI_FORM),
        segmentation=jnp.zeros((2, 8, 8, 3)),
    )
    adaptive = {name for name, block in shapes.items() if "Spade_0" in block}
    assert len(adaptive) == 4  # two blocks per level of the decoder, not the one that doubles the resolution
    assert set(shapes[max(adaptive)]["Spade_0"]) == {"Conv_0", "Conv_1", "GroupNorm_0"}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_nearest_and_standardised_maps():
    x, finer = normal(1, 4, 4, 8), normal(1, 8, 8, 2, seed=1)
    module = Spade(4, form=MONAI_FORM)
    params = jax.jit(module.init)(jax.random.key(0), x, finer)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.3 * normal(*leaf.shape, seed=2), params)
    y = module.apply({"params": params}, x, finer)
    hidden = finer.at[:, 1::2].add(5.0).at[:, :, 1::2].add(5.0)
    np.testing.assert_array_equal(module.apply({"params": params}, x, hidden), y)  # the pixels in between
    shifted = params | {"Conv_1": params["Conv_1"] | {"bias": params["Conv_1"]["bias"] + 7.0}}
    np.testing.assert_allclose(module.apply({"params": shifted}, x, finer), y, atol=1e-4)
    plain = Spade(4, form=SpadeForm(leak=0.01, affine=True))
    assert np.abs(plain.apply({"params": params}, x, hidden) - plain.apply({"params": params}, x, finer)).max() > 0.1
    with pytest.raises(ValueError, match="does not fit features of shape"):
        jax.jit(module.init)(jax.random.key(0), x, finer[:, :6])


def test_control_enters_the_middle_where_the_variant_says():
    """The last skip connection is also what the middle is given: it changes the answer by more than the skip alone."""
    x = normal(2, 4, 4, 1)
    skips = tuple(jnp.zeros((2, n, n, c)) for n, c in ((4, 8), (4, 8), (2, 8), (2, 12)))
    control = Control((*skips[:-1], skips[-1] + 1.0), jnp.zeros((2, 2, 2, 12)))
    nets = [
        unet(1, channels=(8, 12), blocks=1, variant=UNetVariant(groups=4, controlled_middle=controlled))
        for controlled in (False, True)
    ]
    shapes = jax.eval_shape(nets[0].init, jax.random.key(0), x, T)
    params = jax.tree.map(lambda leaf: 0.3 * normal(*leaf.shape, seed=leaf.size), shapes)
    plain, skip, both = (
        jax.jit(net.apply)(params, x, T, control=given)
        for net, given in ((nets[0], None), (nets[0], control), (nets[1], control))
    )
    assert np.abs(skip - plain).max() > 1e-3
    assert np.abs(both - skip).max() > 1e-3
