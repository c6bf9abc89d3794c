"""The heavy operations: two forms with one meaning, held against brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from jaxgen.nets import ops


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _convolution(spatial, window, stride=1, padding=None):
    x, kernel, bias = normal(2, *spatial, 3), normal(*window, 3, 4, seed=1), normal(4, seed=2)
    return lambda *a: ops.convolution(*a, stride=stride, padding=padding), (x, kernel, bias)


OPERATIONS = {
    "dense": (ops.dense, (normal(2, 5, 3), normal(3, 4, seed=1), normal(4, seed=2))),
    "convolution 1-D": _convolution((7,), (3,)),
    "convolution 2-D": _convolution((5, 6), (3, 3)),
    "convolution 2-D, stride 2": _convolution((6, 5), (3, 3), 2),
    "convolution 3-D": _convolution((4, 5, 3), (3, 3, 3)),
    "convolution 3-D, uneven window": _convolution((4, 5, 3), (5, 1, 3)),
    "convolution 3-D, stride 2": _convolution((5, 4, 6), (3, 3, 3), 2),
    "convolution 3-D, stride 2, one side padded": _convolution((4, 4, 6), (3, 3, 3), 2, (0, 1)),
    "convolution 1x1": _convolution((4, 4), (1, 1)),
    "group norm": (lambda x, s, t: ops.group_norm(x, s, t, 3), (normal(2, 4, 4, 6), normal(6), normal(6, seed=1))),
    "group norm, adaptive": (lambda x, s, t: ops.group_norm(x, s, t, 2), (normal(2, 4, 6), normal(2, 6), normal(2, 6))),
    "layer norm": (ops.layer_norm, (normal(2, 5, 6), normal(2, 1, 6), normal(2, 1, 6, seed=1))),
    "block end": (ops.block_end, (normal(2, 3),)),
    "attention": (ops.attention, (normal(2, 5, 2, 4), normal(2, 6, 2, 4, seed=1), normal(2, 6, 2, 4, seed=2))),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_forms_agree_in_values_and_gradients(name):
    operation, inputs = OPERATIONS[name]

    def both(form):
        def values_and_gradients(*inputs):
            out, pull = jax.vjp(operation, *inputs)
            return out, *pull(normal(*out.shape, seed=9))

        with ops.form(form):
            return jax.jit(values_and_gradients)(*inputs)

    for a, b in zip(both("cpu"), both("accelerator"), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_the_form_is_checked_and_given_back():
    with pytest.raises(ValueError, match="'cpu' or 'accelerator', got 'gpu'"), ops.form("gpu"):
        pass
    assert not ops._forced_form


@pytest.mark.parametrize(
    ("spatial", "window", "stride"),
    [((8,), (3,), 1), ((5, 6), (3, 5), 1), ((7, 6), (3, 3), 2), ((5, 4, 3), (3, 3, 3), 2)],
)
def test_convolution_is_the_sum_it_should_be(spatial, window, stride):
    operation, (x, kernel, bias) = _convolution(spatial, window, stride)
    every = tuple(slice(None, None, stride) for _ in spatial)
    for i, o in itertools.product(range(2), range(4)):
        # scipy's correlate pads "same" by (k - 1) / 2 zeros each side, as odd windows do here
        want = (
            sum(signal.correlate(x[i, ..., c], kernel[..., c, o], "same", "direct") for c in range(3))[every] + bias[o]
        )
        np.testing.assert_allclose(operation(x, kernel, bias)[i, ..., o], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spatial", [(6,), (4, 6), (2, 4, 6)])
def test_padding_of_one_side_moves_the_window(spatial):
    """Zeros after alone: the strided windows start at every second pixel, not one before it."""
    operation, (x, kernel, bias) = _convolution(spatial, (3,) * len(spatial), 2, (0, 1))
    padded = jnp.pad(x, ((0, 0), *((0, 1),) * len(spatial), (0, 0)))
    got = operation(x, kernel, bias)
    assert got.shape == (2, *(n // 2 for n in spatial), 4)
    for place in np.ndindex(got.shape[1:-1]):
        window = padded[(slice(None), *(slice(2 * i, 2 * i + 3) for i in place))]
        want = jnp.tensordot(window, kernel, len(spatial) + 1) + bias
        np.testing.assert_allclose(got[(slice(None), *place)], want, rtol=1e-4, atol=1e-4)


def test_layer_norm_against_its_definition():
    x, scale, shift = (np.asarray(normal(2, 5, 6, seed=s), np.float64) for s in range(3))
    x = 3 * x + 2
    want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-2) * scale + shift
    got = ops.layer_norm(*(jnp.asarray(a, jnp.float32) for a in (x, scale, shift)), epsilon=1e-2)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert ops.layer_norm(jnp.ones((2, 3), jnp.bfloat16), jnp.ones(3)).dtype == jnp.bfloat16


@pytest.mark.parametrize("adaptive", [False, True])
def test_group_norm_against_its_definition(adaptive):
    x, groups = np.asarray(3 * normal(2, 5, 4, 6) + 2, np.float64), 3
    scale, shift = (np.asarray(normal(*((2, 6) if adaptive else (6,)), seed=s), np.float64) for s in (1, 2))
    grouped = x.reshape(2, 20, groups, 2)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    want = (centred / np.sqrt(grouped.var(axis=(1, 3), keepdims=True) + 1e-5)).reshape(x.shape)
    broad = (2, 1, 1, 6) if adaptive else (6,)
    want = want * scale.reshape(broad) + shift.reshape(broad)
    got = ops.group_norm(*(jnp.asarray(a, jnp.float32) for a in (x, scale, shift)), groups)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_attention_against_its_definition():
    query, key, value = (np.asarray(normal(2, n, 2, 4, seed=n), np.float64) for n in (3, 5, 5))
    got = ops.attention(*(jnp.asarray(a, jnp.float32) for a in (query, key, value)))
    for i, h in itertools.product(range(2), range(2)):
        weights = np.exp(query[i, :, h] @ key[i, :, h].T / 2)
        want = weights / weights.sum(axis=1, keepdims=True) @ value[i, :, h]
        np.testing.assert_allclose(got[i, :, h], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["cpu", "accelerator"])
def test_the_dtype_is_that_of_the_parameters(form):
    """A cast network stays cast although losses give it float32 noise."""
    x, kernel = normal(1, 4, 4, 3), normal(3, 3, 3, 2).astype(jnp.bfloat16)
    with ops.form(form):
        gradient = jax.grad(lambda x: ops.convolution(x, kernel).astype(jnp.float32).sum())(x)
        assert ops.convolution(x, kernel).dtype == ops.dense(x, kernel[0, 0]).dtype == jnp.bfloat16
        assert gradient.dtype == jnp.float32
        assert ops.group_norm(x.astype(jnp.bfloat16), jnp.ones(3), jnp.zeros(3), 1).dtype == jnp.bfloat16


@pytest.mark.parametrize("form", ["cpu", "accelerator"])
def test_dense_differentiates_in_every_mode(form):
    """Scores need jvp of the network, their losses its gradient: held against each other and finite differences."""
    x, kernel = normal(2, 5, 3), normal(3, 4, seed=1)
    dx, dk, g = normal(2, 5, 3, seed=2), normal(3, 4, seed=3), normal(2, 5, 4, seed=4)

    def scalar(x, kernel):
        return jnp.sum(g * jnp.tanh(ops.dense(x, kernel)))

    with ops.form(form):
        forward = jax.jvp(scalar, (x, kernel), (dx, dk))[1]
        of_x, of_kernel = jax.grad(scalar, (0, 1))(x, kernel)
        second = jax.jvp(jax.grad(scalar, (0, 1)), (x, kernel), (dx, dk))[1]
        each = jax.vmap(ops.dense, (0, None))(x, kernel)
        kernels = jax.vmap(ops.dense, (None, 0))(x, jnp.stack([kernel, dk]))
        step = 1e-2
        ahead, behind = (jax.grad(scalar, (0, 1))(x + s * dx, kernel + s * dk) for s in (step, -step))
    np.testing.assert_allclose(forward, jnp.sum(of_x * dx) + jnp.sum(of_kernel * dk), rtol=1e-4)
    for derivative, a, b in zip(second, ahead, behind, strict=True):
        np.testing.assert_allclose(derivative, (a - b) / (2 * step), atol=2e-2 * float(jnp.abs(derivative).max()))
    np.testing.assert_allclose(each, x @ kernel, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernels, jnp.stack([x @ kernel, x @ dk]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(512, 512), (600, 450), (520, 520)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_over_many_positions_is_the_same_a_few_queries_at_a_time(n, m, dtype, monkeypatch):
    query, key, value = (jnp.asarray(normal(2, k, 2, 4, seed=i), dtype) for i, k in enumerate((n, m, m)))

    def square(*given):
        return jnp.sum(ops.attention(*given).astype(jnp.float32) ** 2)

    assert ops.rows_of(n, m) > 0
    few, few_slopes = ops.attention(query, key, value), jax.grad(square, (0, 1, 2))(query, key, value)
    monkeypatch.setattr(ops, "rows_of", lambda n, m: 0)
    whole, slopes = ops.attention(query, key, value), jax.grad(square, (0, 1, 2))(query, key, value)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for a, b in ((few, whole), *zip(few_slopes, slopes, strict=True)):
        assert a.dtype == b.dtype
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()
