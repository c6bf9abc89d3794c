"""What the U-Net can be told beside an image and a time, and the forms that published models have."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import UNetVariant, ops, unet
from jaxgen.nets.attention import SpatialTransformer
from jaxgen.nets.embedding import GaussianFourier, sinusoidal
from jaxgen.nets.layers import GroupNorm
from jaxgen.nets.residual import average, repeat
from jaxgen.nets.spade import Spade, shrink
from tests.nets.parameters import drawn, perturbed

T = jnp.array([0.2, 0.8])


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def one_hot(*shape, k=3, seed=0):
    return jax.nn.one_hot(np.random.default_rng(seed).integers(0, k, shape), k)


SMALL = {"channels": (8,), "blocks": 1, "head_width": 4}


def variant(**options):
    return {"variant": UNetVariant(groups=4, **options)}


CONDITIONS = {
    "context, 2-D": (variant(cross_attention=(0,)), (4, 6), {"context": normal(2, 3, 5)}),
    "context, 3-D": (variant(cross_attention=(0,)), (2, 3, 2), {"context": normal(2, 3, 5)}),
    "segmentation, 1-D, everywhere": (
        variant(spade=3, spade_encoder=True) | {"adaptive": False, "channels": (8, 8)},
        (8,),
        {"segmentation": one_hot(2, 8)},
    ),
    "segmentation and label, patches, residual resampling": (
        variant(spade=3, residual_resampling=True) | {"patch": 2, "channels": (8, 12), "classes": 2},
        (8, 4),
        {"segmentation": one_hot(2, 8, 4), "label": jnp.array([0, 1])},
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if "1-D" in name else pytest.mark.thorough) for name in CONDITIONS]
)
def test_conditions(name):
    """Zero at the start, trained as a whole; a condition matters to its own example alone."""
    options, spatial, given = CONDITIONS[name]
    net, x = unet(2, **(SMALL | options)), normal(2, *spatial, 2)
    params = jax.jit(lambda key: net.init(key, x, T, **given))(jax.random.key(0))

    def values(params, given):
        loss = lambda p: jnp.sum(net.apply(p, x, T, **given) ** 2)  # noqa: E731
        return net.apply(params, x, T, **given), jax.grad(loss)(params)

    compiled = jax.jit(values)
    assert not np.any(compiled(params, given)[0])
    params = perturbed(params)
    out, gradients = compiled(params, given)
    unseen = [jax.tree_util.keystr(p) for p, g in jax.tree.leaves_with_path(gradients) if not np.abs(g).max() > 1e-7]
    assert not unseen
    for key, value in given.items():
        swapped = value.at[1].set(value[0]) if key != "context" else value.at[1].add(0.3)
        other, _ = compiled(params, given | {key: swapped})
        np.testing.assert_allclose(other[0], out[0], rtol=1e-4, atol=1e-5)
        assert np.abs(other[1] - out[1]).max() > 1e-3


@pytest.mark.thorough
def test_both_forms_agree_also_in_bfloat16():
    net, x = unet(2, **SMALL, **variant(cross_attention=(0,), spade=3)), normal(2, 4, 6, 2)
    given = {"context": normal(2, 3, 5), "segmentation": one_hot(2, 4, 6)}
    params = drawn(net.init, x, T, **given)
    out = jax.jit(net.apply)(params, x, T, **given)
    with ops.form("accelerator"):
        apply = jax.jit(functools.partial(net.apply))  # traced anew
        accelerated = apply(params, x, T, **given)
        half = apply(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params), x, T, **given)
    np.testing.assert_allclose(accelerated, out, rtol=1e-3, atol=1e-4)
    assert half.dtype == jnp.float32
    assert np.abs(half - out).max() > 1e-4 * np.abs(out).max()  # it computed in less
    assert np.abs(half - out).max() < 0.15 * np.abs(out).max()


def test_transformer_starts_as_identity_and_knows_no_order_of_its_context():
    module, x, context = (
        SpatialTransformer(4, functools.partial(GroupNorm, groups=2)),
        normal(2, 3, 4, 8),
        normal(2, 5, 6),
    )
    params = jax.jit(module.init)(jax.random.key(0), x, context)
    apply = jax.jit(module.apply)
    np.testing.assert_array_equal(apply(params, x, context), x)
    params = perturbed(params)
    out = apply(params, x, context)
    np.testing.assert_allclose(apply(params, x, context[:, ::-1]), out, rtol=1e-4, atol=1e-5)
    assert np.abs(apply(params, x, context.at[:, 0].multiply(3)) - out).max() > 1e-3
    # positions are alike: to turn the image is to turn the result
    np.testing.assert_allclose(apply(params, x[:, ::-1], context), out[:, ::-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spade(rank):
    """It starts as the plain norm; a map of one class modulates all of the interior alike, and another differently."""
    shape = (2, *(8,) * rank, 4)
    module, x = Spade(3, functools.partial(GroupNorm, groups=2)), normal(*shape)
    plain = ops.group_norm(x, jnp.ones(4), jnp.zeros(4), 1)
    maps = jnp.broadcast_to(jax.nn.one_hot(jnp.array([0, 1]), 3).reshape(2, *(1,) * rank, 3), (*shape[:-1], 3))
    params = jax.jit(module.init)(jax.random.key(0), x, maps)
    np.testing.assert_allclose(module.apply(params, x, maps), plain, rtol=1e-4, atol=1e-5)
    params = perturbed(params, 0.5)
    scale, shift = normal(2, 4, seed=3), normal(2, 4, seed=4)
    out = module.apply(params, x, maps, scale, shift)
    broad = (2, *(1,) * rank, 4)
    modulated = (out - shift.reshape(broad)) / (1 + scale.reshape(broad))  # what the map made of the norm
    inside = tuple(slice(2, -2) for _ in range(rank))  # where no zero padding reaches through the two convolutions
    lines = []
    for example in range(2):
        n, y = (np.asarray(a)[(example, *inside)].reshape(-1, 4) for a in (plain, modulated))
        for c in range(4):
            fit = np.polyfit(n[:, c], y[:, c], 1)
            np.testing.assert_allclose(np.polyval(fit, n[:, c]), y[:, c], rtol=1e-3, atol=1e-4)
            lines.append(fit)
    lines = np.array(lines).reshape(2, 4, 2)
    assert (np.abs(lines[0] - lines[1]).max(0) > 1e-2).all()
    edge = np.asarray(modulated)[0].reshape(-1, 4)[0]
    assert np.abs(edge - lines[0][:, 0] * np.asarray(plain)[0].reshape(-1, 4)[0] - lines[0][:, 1]).max() > 1e-2


def test_maps_shrink_to_the_fractions_of_their_classes():
    fine = one_hot(2, 8, 4)
    coarse = shrink(fine, (2, 2))
    np.testing.assert_allclose(coarse[1, 0, 1], fine[1, :4, 2:].mean((0, 1)))
    np.testing.assert_array_equal(shrink(fine, (8, 4)), fine)
    with pytest.raises(ValueError, match=r"\(8, 4\) does not fit features of shape \(3, 2\)"):
        shrink(fine, (3, 2))


def test_only_the_decoder_has_spade_unless_told():
    shapes = {}
    for everywhere in (False, True):
        net = unet(1, **SMALL, **variant(spade=3, spade_encoder=everywhere))
        x, m = jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32), jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32)
        shapes[everywhere] = jax.eval_shape(lambda x, m, net=net: net.init(jax.random.key(0), x, segmentation=m), x, m)
    spatial = {k: [b for b in tree if b.startswith("Residual") and "Spade_0" in tree[b]] for k, tree in shapes.items()}
    assert spatial == {False: ["ResidualBlock_2", "ResidualBlock_3"], True: [f"ResidualBlock_{i}" for i in range(4)]}


def test_resampling():
    x = normal(2, 4, 6, 3)
    np.testing.assert_allclose(average(x)[:, 1, 2], x[:, 2:4, 4:6].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(average(repeat(x)), x, rtol=1e-6)


def test_what_does_not_belong_together_is_refused():
    x = jnp.zeros((1, 4, 4, 1))
    for wrong in ({"context": jnp.zeros((1, 2, 3))}, {"segmentation": jnp.zeros((1, 4, 4, 2))}):
        with pytest.raises(ValueError, match=f"a {next(iter(wrong))} goes with a network"):
            unet(1, **SMALL, **variant()).init(jax.random.key(0), x, **wrong)
    with pytest.raises(ValueError, match="a context goes with"):
        unet(1, **SMALL, **variant(cross_attention=(0,))).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="a segmentation goes with"):
        unet(1, **SMALL, **variant(spade=2)).init(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("options", "blocks", "attends"),
    [
        (variant(), 4, 0),
        (variant(middle_attention=False), 5, 0),
        (variant(middle_attention=True), 5, 1),
        (variant() | {"attention": (0,)}, 5, 4),
    ],
)
def test_the_middle(options, blocks, attends):
    x = jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)
    shapes = jax.eval_shape(unet(1, **SMALL, **options).init, jax.random.key(0), x)
    assert sum(name.startswith("ResidualBlock") for name in shapes) == blocks
    assert sum(name.startswith("SelfAttention") for name in shapes) == attends


def test_checkpoints_of_plain_networks_keep_their_names():
    """Runs restore by name: a network with old options alone has the tree it always had."""
    x, t = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 4, 4, 1), (1,)))
    shapes = jax.eval_shape(unet(1, channels=(8, 12), blocks=1, attention=(1,)).init, jax.random.key(0), x, t)
    blocks = [f"ResidualBlock_{i}" for i in range(8)]
    attention = [f"SelfAttention_{i}" for i in range(4)]
    others = ["Conv_0", "Conv_1", "Dense_0", "Dense_1", "Downsample_0", "GroupNorm_0", "Upsample_0"]
    assert sorted(shapes) == sorted(blocks + attention + others)
    norms = {"GroupNorm_0": {"scale", "shift"}, "GroupNorm_1": {"scale", "shift"}}
    layers = {"Conv_0": {"kernel", "bias"}, "Conv_1": {"kernel", "bias"}, "Dense_0": {"kernel", "bias"}}
    assert {name: set(v) for name, v in shapes["ResidualBlock_0"].items()} == norms | layers
    assert set(shapes["SelfAttention_0"]) == {"GroupNorm_0", "Dense_0", "Dense_1"}
    assert set(shapes["Downsample_0"]) == set(shapes["Upsample_0"]) == {"Conv_0"}


def test_the_network_of_ddpm_on_cifar_10_has_its_parameters():
    """35,746,307 in the weights published for Ho et al. 2020; the paper says 35.7 million."""
    net = unet(3, channels=(128, 256, 256, 256), attention=(1,), adaptive=False)
    x, t = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 32, 32, 3), (1,)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)
    assert sum(p.size for p in jax.tree.leaves(shapes)) == 35_746_307
    assert jax.eval_shape(net.apply, shapes, x, t).shape == (1, 32, 32, 3)


def test_time_features():
    t, i = np.array([3.0, 700.0]), np.arange(4)
    angles = t[:, None] * 10000.0 ** (-i / 3)
    got = sinusoidal(jnp.asarray(t), 8, scale=1.0, shift=1.0, sine_first=True)
    np.testing.assert_allclose(got, np.concatenate([np.sin(angles), np.cos(angles)], -1), atol=2e-4)

    module = GaussianFourier(scale=2.0)
    params = module.init(jax.random.key(0), jnp.asarray(t), 5)
    angles = 2 * np.pi * np.log(t)[:, None] * np.asarray(params["params"]["weight"])
    got = module.apply(params, jnp.asarray(t, jnp.float32), 5)
    np.testing.assert_allclose(got, np.concatenate([np.sin(angles), np.cos(angles)], -1), atol=2e-4)
    gradient = jax.grad(lambda p: jnp.sum(module.apply(p, jnp.asarray(t), 5)))(params)
    assert not np.any(gradient["params"]["weight"])  # drawn once, never trained

    net = unet(1, **SMALL, **variant(time_features=module))
    x = normal(2, 4, 4, 1)
    params = drawn(net.init, x, T)
    assert params["time_features"]["weight"].shape == (8,)
    assert np.abs(net.apply(params, x, T) - net.apply(params, x, 2 * T)).max() > 1e-3


def test_norms_of_published_models():
    """Groups of two channels, another epsilon, none before the attention of the middle."""
    x = 0.01 * normal(2, 4, 4, 8)
    norm = functools.partial(GroupNorm, groups=4, group_width=1, epsilon=1e-3)
    grouped = np.asarray(x).reshape(2, 16, 4, 2)
    want = (grouped - grouped.mean((1, 3), keepdims=True)) / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-3)
    np.testing.assert_allclose(
        nn.Module.apply(norm(), {"params": {"scale": jnp.ones(8), "shift": jnp.zeros(8)}}, x),
        want.reshape(x.shape),
        atol=1e-5,
    )
    net = unet(1, **SMALL, **variant(middle_attention=True, middle_groups=0))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    assert set(shapes["SelfAttention_0"]) == {"Dense_0", "Dense_1"}
