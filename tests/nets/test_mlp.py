import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import mlp
from jaxgen.nets.embedding import sinusoidal

NET = mlp(2, widths=(6, 5), time_features=4)
X, T, C = jnp.linspace(-1, 1, 9).reshape(3, 3), jnp.array([0.1, 0.5, 0.9]), jnp.ones((3, 2))


def test_values_are_those_of_its_formula():
    params = NET.init(jax.random.key(0), X, T, C)
    h = np.concatenate([X, sinusoidal(T, 4), C], axis=-1)
    for i in range(3):
        layer = params[f"Dense_{i}"]
        h = h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        if i < 2:
            h = h / (1 + np.exp(-h))
    np.testing.assert_allclose(NET.apply(params, X, T, C), h, rtol=1e-5, atol=1e-6)


def test_contract():
    key = jax.random.key(0)
    params = NET.init(key, X, T, C)
    chex.assert_trees_all_equal(params, NET.init(key, X, T, C))
    traced = jax.jit(chex.assert_max_traces(NET.apply, n=1))
    np.testing.assert_array_equal(traced(params, X, T, C), traced(params, X, T, C))
    np.testing.assert_allclose(NET.apply(params, X, 0.5, C)[1], NET.apply(params, X, T, C)[1], rtol=1e-6)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(NET.apply(p, X, T, C) ** 2)))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))
    assert mlp(2).apply(mlp(2).init(key, X), X).shape == (3, 2)


def test_sinusoidal_frequencies():
    t, i = np.array([0.0, 0.37]), np.arange(3)
    angle = 1000 * t[:, None] * 10000.0 ** (-i / 3)
    np.testing.assert_allclose(
        sinusoidal(jnp.asarray(t), 6), np.concatenate([np.cos(angle), np.sin(angle)], -1), atol=1e-4
    )
