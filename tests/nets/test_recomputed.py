"""What is computed anew in the backward pass: the same gradients, and memory saved on CPU as well."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import ops


def block(weights, x, key, nothing):
    assert nothing is None
    h = x + jax.random.normal(key, x.shape[1:])
    for w in weights:
        h = jnp.tanh(h @ w)
    return x + h, jnp.sum(h)


def loss(block):
    def value(weights, x, keys):
        steps = zip(weights, keys, strict=True)
        return jnp.sum(functools.reduce(lambda h, step: block(step[0], h, step[1], None)[0], steps, x) ** 2)

    return value


def test_gradients_are_the_same_and_memory_is_saved():
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(0.2 * rng.standard_normal((4, 16, 16)), jnp.float32) for _ in range(8)]
    x, keys = jnp.asarray(rng.standard_normal((2048, 16)), jnp.float32), list(jax.random.split(jax.random.key(0), 8))
    plain, anew = (
        jax.jit(jax.grad(loss(f), argnums=(0, 1))).lower(weights, x, keys).compile()
        for f in (block, ops.recomputed(block, fixed=1))
    )
    for a, b in zip(*(jax.tree.leaves(f(weights, x, keys)) for f in (plain, anew)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    sizes = [f.memory_analysis().temp_size_in_bytes for f in (plain, anew)]
    assert sizes[1] < 0.6 * sizes[0]


def test_second_derivatives():
    def cube(x):
        return jnp.sum(x**3)

    def norm(f):
        return lambda x: jnp.sum(jax.grad(f)(x) ** 2)

    x = jnp.arange(3.0)
    np.testing.assert_allclose(jax.grad(norm(ops.recomputed(cube)))(x), jax.grad(norm(cube))(x))
