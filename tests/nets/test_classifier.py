"""The classifier: noisy or clean, of any spatial rank."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import classifier, ops
from tests.nets.parameters import drawn, perturbed

SPATIAL = {1: (7,), 2: (6, 5), 3: (4, 3, 5)}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def small(**options):
    return classifier(3, **({"channels": (8, 12), "blocks": 1, "head_width": 4, "groups": 4} | options))


@pytest.mark.parametrize(
    ("rank", "options"), [(1, {"adaptive": False}), (2, {"attention": (1,)}), (3, {})], ids=["1-D", "2-D", "3-D"]
)
def test_contract(rank, options):
    net, x, t = small(**options), normal(2, *SPATIAL[rank], 2), jnp.array([0.1, 0.8])
    params = jax.jit(net.init)(jax.random.key(0), x, t)
    assert not np.any(jax.jit(net.apply)(params, x, t))  # all classes start equally likely
    params = perturbed(params)

    @jax.jit
    def values(params, x, t):
        loss = lambda p: jnp.sum(jax.nn.log_softmax(net.apply(p, x, t))[:, 0])  # noqa: E731
        return net.apply(params, x, t), jax.grad(loss)(params)

    logits, gradients = values(params, x, t)
    assert logits.shape == (2, 3)
    assert all(np.abs(g).max() > 1e-7 for g in jax.tree.leaves(gradients))
    for changed in ((x.at[1].add(0.3), t), (x, t.at[1].add(0.3))):
        other, _ = values(params, *changed)
        np.testing.assert_allclose(other[0], logits[0], rtol=1e-4, atol=1e-5)
        assert np.abs(other[1] - logits[1]).max() > 1e-4


def test_time_may_stay_out_dropout_needs_a_key_and_logits_are_float32():
    net, x, keys = small(dropout=0.5, patch=2), normal(2, 8, 4, 1), jax.random.split(jax.random.key(1), 2)
    params = drawn(net.init, x)
    apply = jax.jit(net.apply)
    plain, dropped = apply(params, x), apply(params, x, key=keys)
    assert np.abs(plain - dropped).max() > 1e-3
    cast = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    half = apply(cast, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, plain, atol=0.1 * float(jnp.abs(plain).max()))
    with ops.form("accelerator"):
        np.testing.assert_allclose(jax.jit(lambda p: net.apply(p, x))(params), plain, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="at least one level"):
        classifier(3, channels=())


def test_it_learns_to_tell_noisy_classes_apart():
    """Classes are signs of the mean of an image under noise of level t: known Bayes-optimal direction, learned fast."""
    net, rng = classifier(2, channels=(8,), blocks=1), np.random.default_rng(0)
    label = jnp.asarray(rng.integers(0, 2, 64))
    t = jnp.asarray(rng.uniform(0, 0.5, 64), jnp.float32)
    noise = normal(64, 8, 8, 1, seed=1)
    x = (2 * label - 1).reshape(-1, 1, 1, 1) * (1 - t.reshape(-1, 1, 1, 1)) + t.reshape(-1, 1, 1, 1) * noise
    params = jax.jit(net.init)(jax.random.key(0), x, t)

    def loss(p):
        return -jnp.mean(jax.nn.log_softmax(net.apply(p, x, t))[jnp.arange(64), label])

    np.testing.assert_allclose(loss(params), np.log(2), rtol=1e-5)
    descend = jax.jit(lambda p: jax.tree.map(lambda v, g: v - 0.3 * g, p, jax.grad(loss)(p)))
    for _ in range(15):
        params = descend(params)
    assert np.mean(np.argmax(net.apply(params, x, t), -1) == label) > 0.95
    chex.assert_tree_all_finite(params)


def test_features_are_what_the_last_layer_reads():
    net, x = small(), normal(2, 6, 5, 2)
    params = drawn(net.init, x)
    features, logits = net.apply(params, x, features=True), net.apply(params, x)
    assert features.shape == (2, 12)
    last = next(layer for layer in params.values() if layer.get("kernel", x).shape == (12, 3))
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"], logits, rtol=1e-5, atol=1e-6)
