"""CLIP's text transformer: its formula, what a token may see, and the size of the published one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import ops
from jaxgen.nets.clip_text import TextSizes, clip_text, quick_gelu

SIZES = TextSizes(vocabulary=11, length=7, width=8, depth=2, heads=2, hidden=12)
TOKENS = jnp.array([[1, 4, 9, 2, 2], [1, 10, 0, 5, 2]])


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(clip_text(SIZES).init, jax.random.key(0), TOKENS)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(0.5 * rng.standard_normal(s.shape), jnp.float32), shapes)


def answer(params, tokens, **options):
    return np.asarray(jax.jit(clip_text(SIZES, **options).apply)(params, tokens))


def formula(params, tokens, depth, activation):
    """Radford et al. 2021, section 2.4, written out in NumPy."""
    p = jax.tree.map(np.asarray, params)
    dense = lambda q, a: a @ q["kernel"] + q["bias"]  # noqa: E731

    def norm(q, a):
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * q["scale"] + q["shift"]

    n = tokens.shape[1]
    h = p["tokens"][tokens] + p["positions"][:n]
    for k in range(depth):
        q = jax.tree.map(lambda leaf, k=k: leaf[k], p["blocks"])
        mixed = []
        for head in np.split(dense(q["MultiHeadAttention_0"]["Dense_0"], norm(q["LayerNorm_0"], h)), 2, -1):
            query, key, value = np.split(head, 3, -1)
            weights = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(4)) * np.tri(n)
            mixed.append(weights / weights.sum(-1, keepdims=True) @ value)
        h = h + dense(q["MultiHeadAttention_0"]["Dense_1"], np.concatenate(mixed, -1))
        h = h + dense(q["Dense_1"], activation(dense(q["Dense_0"], norm(q["LayerNorm_1"], h))))
    return norm(p["LayerNorm_0"], h)


def test_the_formula_and_the_last_block_left_out(params):
    gelu = lambda x: np.asarray(jax.nn.gelu(x, approximate=False))  # noqa: E731
    np.testing.assert_allclose(answer(params, TOKENS), formula(params, TOKENS, 2, quick_gelu), atol=2e-5)
    got = answer(params, TOKENS, activation="gelu", skip=1)
    np.testing.assert_allclose(got, formula(params, TOKENS, 1, gelu), atol=2e-5)


def test_a_token_sees_those_before_it_only_in_either_form(params):
    changed = TOKENS.at[:, 3].set(7)
    for form in ("cpu", "accelerator"):
        with ops.form(form):
            a, b = answer(params, TOKENS), answer(params, changed)
        np.testing.assert_array_equal(a[:, :3], b[:, :3])
        assert np.abs(a[:, 3:] - b[:, 3:]).min(axis=(0, 2)).max() > 1e-4
        np.testing.assert_allclose(a, answer(params, TOKENS), atol=2e-5)


def test_sizes_of_published_models():
    for sizes, count in ((TextSizes(), 123_060_480), (TextSizes(49408, 77, 1024, 23, 16), 340_387_840)):
        shapes = jax.eval_shape(clip_text(sizes).init, jax.random.key(0), jnp.zeros((1, 77), jnp.int32))
        assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_what_does_not_fit_is_said(params):
    with pytest.raises(ValueError, match="at most 7 tokens here, got 8"):
        clip_text(SIZES).apply(params, jnp.zeros((1, 8), jnp.int32))
    with pytest.raises(ValueError, match="activation must be one of quick_gelu, gelu"):
        clip_text(SIZES, activation="relu")
    with pytest.raises(ValueError, match="skip must be from 0 to 1 of 2 blocks"):
        clip_text(SIZES, skip=2)
    assert np.isnan(answer(params, TOKENS.at[0, 1].set(11))[0, 1:]).all()
