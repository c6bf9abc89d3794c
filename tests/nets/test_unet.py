"""What every network promises, on the U-Net; and what only the U-Net does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.folding import depth_to_space, space_to_depth
from jaxgen.nets import UNetVariant, ops, unet
from jaxgen.nets.layers import group_count
from jaxgen.types import Net
from tests.nets.parameters import drawn, perturbed

SPATIAL = {1: (8,), 2: (8, 4), 3: (4, 8, 4)}
WIDTH = 8


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def inputs(rank=2, b=2):
    """The tensors x, t, vector and features."""
    return normal(b, *SPATIAL[rank], 2), jnp.linspace(0.1, 0.9, b), normal(b, 3), normal(b, *SPATIAL[rank], WIDTH)


def compiled(net):
    """The same network, each function compiled as one program."""
    return Net(jax.jit(net.init), jax.jit(net.apply))


def small(**options):
    """A new network of one level; what is traced for another is not used for it."""
    options = {"channels": (WIDTH,), "blocks": 1, "head_width": 4, "variant": UNetVariant(groups=4)} | options
    return compiled(unet(2, **options))


@pytest.fixture(autouse=True)
def _traces_are_counted_anew():
    chex.clear_trace_counter()


@pytest.mark.parametrize(
    ("rank", "options"),
    [
        (1, {"adaptive": False}),
        pytest.param(2, {"channels": (WIDTH, 12), "attention": (1,)}, marks=pytest.mark.thorough),
        pytest.param(3, {"channels": (WIDTH, 12)}, marks=pytest.mark.thorough),
    ],
    ids=["1-D added", "2-D attention", "3-D"],
)
def test_contract(rank, options):
    """Pure, of the right shape, traced once, trained as a whole, and every input matters to its own example alone."""
    net, given, key = small(**options), inputs(rank), jax.random.key(0)
    params = net.init(key, *given)
    chex.assert_trees_all_equal(params, small(**options).init(key, *given))
    assert not np.any(net.apply(params, *given))  # the last layer starts at zero

    @jax.jit
    @chex.assert_max_traces(n=1)
    def gradient(params, *given):
        return jax.grad(lambda p: jnp.sum(net.apply(p, *given) ** 2))(params)

    params = perturbed(params)
    gradients = gradient(params, *given)
    chex.assert_trees_all_equal(gradients, gradient(params, *given))
    leaves = jax.tree.leaves_with_path(gradients)
    assert not [jax.tree_util.keystr(path) for path, g in leaves if not np.abs(g).max() > 1e-7]

    out = net.apply(params, *given)
    assert out.shape == given[0].shape
    for i, value in enumerate(given):
        changed = [*given]
        changed[i] = value.at[1].add(0.3)
        other = net.apply(params, *changed)
        np.testing.assert_allclose(other[0], out[0], rtol=1e-4, atol=1e-5)
        assert np.abs(other[1] - out[1]).max() > 1e-3


def test_inputs_may_stay_out_and_time_may_be_one_for_all():
    net, (x, t, *_) = small(), inputs()
    for k in range(1, 5):
        some = inputs()[:k]
        assert jax.eval_shape(lambda *a: net.apply(net.init(jax.random.key(0), *a), *a), *some).shape == x.shape
    params = drawn(net.init, x, t)
    same = net.apply(params, x, t[0]), net.apply(params, x, jnp.full(2, t[0]))
    np.testing.assert_allclose(*same, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_init_and_gradients_map_over_keys():
    net, (x, t, *_) = small(), inputs()
    keys = jax.random.split(jax.random.key(0), 3)
    params = jax.jit(jax.vmap(lambda key: net.init(key, x, t)))(keys)
    chex.assert_trees_all_close(jax.tree.map(lambda p: p[1], params), net.init(keys[1], x, t), rtol=1e-6)
    params = perturbed(params)
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, x, t) ** 2))
    mapped, single = jax.jit(jax.vmap(gradient))(params), jax.jit(gradient)(jax.tree.map(lambda p: p[2], params))
    chex.assert_trees_all_close(jax.tree.map(lambda g: g[2], mapped), single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 3])
def test_both_forms_of_the_operations_agree_also_in_bfloat16(rank):
    """Cast parameters make a bfloat16 network, close to its float32 self, whatever the dtype of the input."""
    given, make = inputs(rank), lambda: small(attention=(0,) if rank == 2 else ())
    params = drawn(make().init, *given)
    cast = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    outs = {}
    for form in ("cpu", "accelerator"):
        with ops.form(form):
            net = make()
            outs[form] = net.apply(params, *given)
            half = net.apply(cast, *given)
            assert half.dtype == jnp.float32
            assert np.abs(half - outs[form]).max() > 1e-4 * np.abs(outs[form]).max()  # it computed in less
            assert np.abs(half - outs[form]).max() < 0.1 * np.abs(outs[form]).max()
    np.testing.assert_allclose(outs["cpu"], outs["accelerator"], rtol=1e-3, atol=1e-4)


def test_dropout_of_an_example_depends_on_its_key_alone():
    net, (x, t, *_) = small(dropout=0.5), inputs(b=4)
    params = drawn(net.init, x, t)
    keys = jax.random.split(jax.random.key(1), 4)
    whole, plain = net.apply(params, x, t, key=keys), net.apply(params, x, t)
    np.testing.assert_allclose(net.apply(params, x[2:], t[2:], key=keys[2:]), whole[2:], rtol=1e-4, atol=1e-5)
    assert np.abs(whole - plain).max() > 1e-2
    assert np.abs(net.apply(params, x, t, key=keys[::-1]) - whole).max() > 1e-2
    np.testing.assert_allclose(small().apply(params, x, t, key=keys), plain, rtol=1e-5)  # no rate, no dropout


def test_labels_have_a_row_each_and_none_is_the_null_label():
    net, (x, t, *_) = small(classes=3), inputs(b=5)
    label = jnp.arange(5)
    params = jax.jit(net.init)(jax.random.key(0), x, t)
    assert params["LabelEmbedding_0"]["table"].shape == (4, 4 * WIDTH)
    params = perturbed(params)
    same, t = jnp.broadcast_to(x[:1], x.shape), jnp.full(5, 0.3)
    out = net.apply(params, same, t, None, None, label)
    distances = np.abs(out[:4, None] - out[None, :4]).max((2, 3, 4))
    assert (distances[~np.eye(4, dtype=bool)] > 1e-3).all()
    np.testing.assert_allclose(net.apply(params, same, t)[0], out[3], rtol=1e-4, atol=1e-5)
    assert np.isnan(out[4]).all()  # no fifth row; what is out of range shows
    assert np.isnan(net.apply(params, same, t, None, None, -1)).all()
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(net.apply(p, x[:2], t[:2], None, None, label[1:3]) ** 2)))(params)
    moved = np.abs(gradient["LabelEmbedding_0"]["table"]).max(1) > 0
    assert moved.tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="network without classes"):
        unet(1).apply({}, jnp.zeros((1, 8, 8, 1)), label=0)


def test_patches_fold_pixels_into_channels():
    net, (x, t, *_) = small(patch=2), inputs()
    params = drawn(net.init, x, t)
    inner = compiled(unet(2 * 4, channels=(WIDTH,), blocks=1, variant=UNetVariant(groups=4)))
    want = depth_to_space(inner.apply(params, space_to_depth(x, 2), t), 2)
    np.testing.assert_allclose(net.apply(params, x, t), want, rtol=1e-5, atol=1e-6)


def test_sizes_that_do_not_divide_are_refused():
    net = unet(1, channels=(4, 4, 4), patch=2)
    with pytest.raises(ValueError, match=r"\(16, 12\) must be a multiple of 8"):
        jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 12, 1)))
    with pytest.raises(ValueError, match="at least one level"):
        unet(1, channels=())
    with pytest.raises(ValueError, match="27 channels do not split"):
        small(channels=(27,), attention=(0,)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def test_groups_divide_the_channels():
    for channels in range(1, 70):
        n = group_count(channels, 32)
        assert channels % n == 0
        assert n == 1 or channels // n >= 4
        assert n <= 32
