"""Transformers of several blocks per level, rematerialised blocks, added vectors and control of the U-Net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import Control, Transformer, UNetVariant, ops, unet

T = jnp.array([0.2, 0.8])


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_params(shapes, scale=0.3):
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [scale * normal(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])


def shapes_of(net, *spatial, t=T, **given):
    x = jnp.zeros((2, *spatial, 1))
    return jax.eval_shape(lambda key: net.init(key, x, t, **given), jax.random.key(0))


def test_blocks_heads_and_depth_per_level():
    """Each level is as deep and its heads are as wide as its own entry says; the middle follows the last."""
    transformer = Transformer(depth=(1, 3), epsilon=1e-6)
    variant = UNetVariant(groups=4, cross_attention=(0, 1), transformer=transformer)
    net = unet(1, channels=(8, 16), blocks=(1, 2), head_width=(8, 4), variant=variant)
    shapes = shapes_of(net, 4, 4, context=jnp.zeros((2, 3, 5)))
    depths = [sum(name.startswith("_Block") for name in shapes[f"SpatialTransformer_{i}"]) for i in range(9)]
    assert depths == [1, 3, 3, 3, 3, 3, 3, 1, 1]  # down: 1, then 2; middle: 1; up: 3, then 2
    assert "SpatialTransformer_9" not in shapes
    with pytest.raises(ValueError, match="blocks has 3 entries for 2 levels"):
        unet(1, channels=(8, 16), blocks=(1, 2, 3))
    with pytest.raises(ValueError, match=r"transformer\.depth has 1 entries for 2 levels"):
        unet(1, channels=(8, 16), variant=UNetVariant(transformer=Transformer(depth=(2,))))
    with pytest.raises(ValueError, match="10 channels do not split"):
        shapes_of(unet(1, channels=(8, 10), head_width=(4, 3), attention=(0, 1)), 4, 4)


def test_the_middle_alone_and_without_context():
    """A transformer in the middle alone needs the context; one of self-attention takes none, and has no second one."""
    small = {"channels": (8,), "blocks": 1, "head_width": 4}
    middle = unet(1, **small, variant=UNetVariant(transformer=Transformer(middle=True)))
    shapes = shapes_of(middle, 4, 4, context=jnp.zeros((2, 1, 5)))
    assert [name for name in shapes if "Attention" in name or "Transformer" in name] == ["SpatialTransformer_0"]
    with pytest.raises(ValueError, match="a context goes with"):
        shapes_of(middle, 4, 4)

    alone = Transformer(context=False, gated=False)
    shapes = shapes_of(unet(1, **small, variant=UNetVariant(cross_attention=(0,), transformer=alone)), 4, 4)
    block = shapes["SpatialTransformer_0"]["_Block_0"]
    assert set(block) == {"MultiHeadAttention_0", "LayerNorm_0", "LayerNorm_1", "Dense_0", "Dense_1"}
    assert block["Dense_0"]["kernel"].shape == (8, 32)


def test_vectors_of_two_layers_or_none():
    x, vector = normal(2, 4, 4, 1), normal(2, 32, seed=1)
    made = {n: unet(1, channels=(8,), blocks=1, variant=UNetVariant(vector_layers=n)) for n in (0, 1, 2)}
    shapes = {n: shapes_of(net, 4, 4, vector=vector) for n, net in made.items()}
    assert {n: sum(name.startswith("Dense") for name in tree) for n, tree in shapes.items()} == {0: 2, 1: 3, 2: 4}
    net = made[0]
    params = random_params(shapes[0])
    apply = jax.jit(net.apply)
    moved = apply(params, x, T, vector + 1.0) - apply(params, x, T, vector)
    assert np.abs(moved).max() > 1e-3
    shifted = params | {"Dense_0": params["Dense_0"] | {"bias": params["Dense_0"]["bias"] + 1.0}}
    np.testing.assert_allclose(apply(shifted, x, T, vector), apply(params, x, T, vector + 1.0), atol=1e-5)


@pytest.mark.thorough
def test_rematerialised_blocks_are_the_same_network():
    """The same names of parameters, the same output, the same gradients."""
    x, context, key = normal(2, 4, 4, 1), normal(2, 3, 5, seed=1), jax.random.key(3)
    nets = []
    for remat in (False, True):
        variant = UNetVariant(groups=4, cross_attention=(0,), middle_attention=False, remat=remat)
        nets.append(unet(1, channels=(8,), blocks=1, head_width=4, dropout=0.3, variant=variant))
    plain, remat = nets
    shapes = shapes_of(plain, 4, 4, context=context)
    assert shapes == shapes_of(remat, 4, 4, context=context)
    params = random_params(shapes)

    def gradient(net):
        return jax.value_and_grad(lambda p: jnp.sum(net.apply(p, x, T, context=context, key=key) ** 2))

    with ops.form("accelerator"):
        counts = [str(jax.make_jaxpr(gradient(net))(params)).count("remat") for net in nets]
    assert counts[0] == 0 < counts[1]
    (value, of_plain), (same, of_remat) = (jax.jit(gradient(net))(params) for net in nets)
    np.testing.assert_allclose(same, value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4), of_plain, of_remat)


def test_control_is_added_to_skips_and_middle():
    x = normal(2, 4, 4, 1)
    net = unet(1, channels=(8, 12), blocks=1, variant=UNetVariant(groups=4))
    params = random_params(shapes_of(net, 4, 4))
    apply = jax.jit(net.apply)
    plain = apply(params, x, T)
    skips = tuple(jnp.zeros((2, n, n, c)) for n, c in ((4, 8), (4, 8), (2, 8), (2, 12)))
    none = Control(skips, jnp.zeros((2, 2, 2, 12)))
    np.testing.assert_array_equal(apply(params, x, T, control=none), plain)
    assert np.abs(apply(params, x, T, control=none._replace(middle=none.middle + 1)) - plain).max() > 1e-3
    for i in range(4):
        one = tuple(skip + (i == j) for j, skip in enumerate(skips))
        assert np.abs(apply(params, x, T, control=(one, none.middle)) - plain).max() > 1e-3
    with pytest.raises(ValueError, match="control has 3 arrays for 4 skip connections"):
        jax.eval_shape(net.apply, params, x, T, control=Control(skips[:3], none.middle))
