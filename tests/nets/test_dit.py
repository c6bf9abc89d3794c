"""The diffusion transformer: of any spatial rank, the identity of nothing until trained, one block scanned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import dit, ops
from jaxgen.nets.dit import sincos_positions
from jaxgen.nets.embedding import sinusoidal
from tests.nets.parameters import drawn, perturbed

SPATIAL = {1: (8,), 2: (4, 6), 3: (4, 2, 4)}
T, V, LABEL = jnp.array([0.2, 0.9]), jnp.array([[0.3, -1.0], [1.0, 0.5]]), jnp.array([0, 2])


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def small(**options):
    return dit(3, **({"patch": 2, "width": 12, "depth": 2, "heads": 2, "classes": 3} | options))


def formula(params, x, t, vector, label):
    """Peebles & Xie 2023, figure 3, written out in NumPy for two dimensions and patches of 2."""
    p = jax.tree.map(np.asarray, params)
    silu = lambda a: a / (1 + np.exp(-a))  # noqa: E731
    gelu = lambda a: 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))  # noqa: E731
    dense = lambda q, a: a @ q["kernel"] + q["bias"]  # noqa: E731
    norm = lambda a: (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6)  # noqa: E731
    b, height, width, c = x.shape
    tokens = np.asarray(x).reshape(b, height // 2, 2, width // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    h = dense(p["Dense_0"], tokens.reshape(b, -1, 4 * c)) + np.asarray(sincos_positions((height // 2, width // 2), 12))
    e = p["embedding"]
    embedding = dense(e["Dense_0"], silu(dense(e["Dense_1"], np.asarray(sinusoidal(t, 256)))))
    embedding = embedding + dense(e["Dense_2"], vector) + e["LabelEmbedding_0"]["table"][label]
    for k in range(2):
        q = jax.tree.map(lambda leaf, k=k: leaf[k], p["blocks"])
        parts = np.split(dense(q["Dense_0"], silu(embedding))[:, None], 6, -1)
        qkv = dense(q["MultiHeadAttention_0"]["Dense_0"], norm(h) * (1 + parts[1]) + parts[0])
        mixed = []
        for head in np.split(qkv, 2, -1):
            query, key, value = np.split(head, 3, -1)
            weights = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(6))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ value)
        h = h + parts[2] * dense(q["MultiHeadAttention_0"]["Dense_1"], np.concatenate(mixed, -1))
        hidden = gelu(dense(q["Dense_2"], norm(h) * (1 + parts[4]) + parts[3]))
        h = h + parts[5] * dense(q["Dense_1"], hidden)
    shift, scale = np.split(dense(p["Dense_1"], silu(embedding))[:, None], 2, -1)
    h = dense(p["Dense_2"], norm(h) * (1 + scale) + shift)
    patches = h.reshape(b, height // 2, width // 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    return patches.reshape(b, height, width, 3)


@pytest.mark.thorough
def test_values_are_those_of_its_formula_in_both_forms_and_in_bfloat16():
    net, x = small(), normal(2, *SPATIAL[2], 2)
    params = jax.jit(net.init)(jax.random.key(0), x, T, V, LABEL)
    assert not np.any(jax.jit(net.apply)(params, x, T, V, LABEL))  # the last layer starts at zero
    modulation = params["blocks"]["Dense_0"]
    assert not np.any(modulation["kernel"])  # and every gate
    params = perturbed(params)
    want = formula(params, x, T, V, LABEL)
    for form in ("cpu", "accelerator"):
        with ops.form(form):
            out = jax.jit(functools.partial(net.apply))(params, x, T, V, LABEL)
            half = jax.jit(functools.partial(net.apply))(
                jax.tree.map(lambda p: p.astype(jnp.bfloat16), params), x, T, V, LABEL
            )
        np.testing.assert_allclose(out, want, rtol=1e-3, atol=1e-4)
        assert half.dtype == jnp.float32
        np.testing.assert_array_equal(half, half.astype(jnp.bfloat16))  # float32 at the door alone
        assert np.abs(half - want).max() < 0.1 * np.abs(want).max()


@pytest.mark.parametrize(
    ("rank", "options"), [(1, {}), (3, {}), (2, {"block_embeddings": True})], ids=["1-D", "3-D", "own embeddings"]
)
def test_gradients_reach_every_parameter_and_examples_are_apart(rank, options):
    net, x = small(**options), normal(2, *SPATIAL[rank], 2)
    params = drawn(net.init, x, T, V, LABEL)

    @jax.jit
    def values(params, x, t, vector, label):
        loss = lambda p: jnp.sum(net.apply(p, x, t, vector, label) ** 2)  # noqa: E731
        return net.apply(params, x, t, vector, label), jax.grad(loss)(params)

    out, gradients = values(params, x, T, V, LABEL)
    assert out.shape == (*x.shape[:-1], 3)
    for path, g in jax.tree.leaves_with_path(gradients):
        rows = np.abs(g).max(tuple(range(1, g.ndim))) if "blocks" in jax.tree_util.keystr(path) else np.abs(g).max()
        assert np.all(rows > 1e-7), path
    given = x, T, V, LABEL
    for i, value in enumerate(given):
        changed = [*given]
        changed[i] = value.at[1].set(1 if i == 3 else value[1] + 0.3)
        other, _ = values(params, *changed)
        np.testing.assert_allclose(other[0], out[0], rtol=1e-4, atol=1e-5)
        assert np.abs(other[1] - out[1]).max() > 1e-3
    if rank == 1:  # forward mode, for scores and likelihoods
        direction = normal(*x.shape, seed=5)
        f = lambda x: net.apply(params, x, T, V, LABEL)  # noqa: E731
        pushed = jax.jit(lambda x: jax.jvp(f, (x,), (direction,))[1])(x)
        pulled = jax.jit(lambda x: jax.vjp(f, x)[1](jnp.ones_like(out))[0])(x)
        np.testing.assert_allclose(jnp.sum(pushed), jnp.sum(pulled * direction), rtol=1e-3)


def test_labels_none_is_the_null_label_and_positions_tell_patches_apart():
    net, x = small(), jnp.ones((1, *SPATIAL[2], 2))
    params = drawn(net.init, x, 0.3)
    apply = jax.jit(net.apply)
    null = apply(params, x, 0.3, label=jnp.array([3]))
    np.testing.assert_allclose(apply(params, x, 0.3), null, rtol=1e-5, atol=1e-6)
    assert np.abs(apply(params, x, 0.3, label=jnp.array([1])) - null).max() > 1e-3
    assert np.abs(null[0, :2, :2] - null[0, 2:, :2]).max() > 1e-3  # equal patches at different places
    with pytest.raises(ValueError, match="network without classes"):
        dit(1).apply({}, x, label=0)
    with pytest.raises(ValueError, match="multiple of the block 2"):
        small().init(jax.random.key(0), jnp.ones((1, 5, 4, 1)))
    with pytest.raises(ValueError, match="12 channels do not split into 5 heads"):
        small(heads=5).init(jax.random.key(0), x)


def test_positions():
    """Peebles & Xie 2023 after Vaswani et al. 2017: half of the width an axis, the last axis first."""
    e = np.asarray(sincos_positions((3, 4), 8)).reshape(3, 4, 8)
    np.testing.assert_allclose(
        e[2, 3],
        [
            *(f(k * 3) for f in (np.sin, np.cos) for k in (1, 0.01)),
            *(f(k * 2) for f in (np.sin, np.cos) for k in (1, 0.01)),
        ],
        rtol=1e-5,
    )
    volume = np.asarray(sincos_positions((2, 2, 2), 16))
    assert not volume[:, 12:].any()
    assert len(np.unique(volume, axis=0)) == 8


def test_the_paper_s_largest_model_has_its_parameters():
    """XL/2 on 32 x 32 latents has 675 million: its release counts 675,129,632 with 256 x 1152 fixed positions."""
    x, t = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 32, 32, 4), (1,)))
    net = dit(8, patch=2, width=1152, depth=28, heads=16, classes=1000)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, t)
    assert sum(p.size for p in jax.tree.leaves(shapes)) + 256 * 1152 == 675_129_632
    assert jax.eval_shape(net.apply, shapes, x, t).shape == (1, 32, 32, 8)
