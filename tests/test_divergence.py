import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import divergence
from jaxgen.nets import mlp

MATRIX = jax.random.normal(jax.random.key(5), (6, 6))


def _field(x):
    """A field of an image-shaped x whose Jacobian is full: diag(1 - tanh^2) A."""
    return jnp.tanh(x.reshape(len(x), -1) @ MATRIX.T).reshape(x.shape)


def _want(x):
    slope = 1 - np.tanh(np.asarray(x).reshape(len(x), -1) @ np.asarray(MATRIX).T) ** 2
    return slope @ np.diag(np.asarray(MATRIX))


def test_exact_in_numpy():
    x = jax.random.normal(jax.random.key(0), (4, 3, 2))
    value, got = jax.jit(lambda x: divergence.exact(_field, x))(x)
    np.testing.assert_allclose(value, _field(x), rtol=1e-5)
    np.testing.assert_allclose(got, _want(x), rtol=1e-4, atol=1e-4)


def test_exact_in_more_dimensions_than_are_written_out():
    d = divergence.UNROLLED + 3
    matrix = jax.random.normal(jax.random.key(6), (d, d))
    x = jax.random.normal(jax.random.key(0), (4, d))
    got = jax.jit(lambda x: divergence.exact(lambda x: jnp.tanh(x @ matrix.T), x))(x)[1]
    slope = 1 - np.tanh(np.asarray(x @ matrix.T)) ** 2
    np.testing.assert_allclose(got, slope @ np.diag(np.asarray(matrix)), rtol=1e-4, atol=1e-4)


def test_estimates_are_unbiased_and_signs_spread_less():
    x = jnp.tile(jax.random.normal(jax.random.key(0), (1, 3, 2)), (20_000, 1, 1))
    spreads = []
    for gaussian in (False, True):
        probes = divergence.draw_probes(jax.random.key(1), x.shape, gaussian=gaussian)
        got = np.asarray(divergence.estimate(_field, x, probes)[1])
        spreads.append(got.std())
        assert abs(got.mean() - _want(x[:1])[0]) < 4 * got.std() / np.sqrt(len(x))
    assert spreads[0] < spreads[1]


def test_several_probes_are_their_mean_and_keys_draw_their_own():
    x = jax.random.normal(jax.random.key(0), (5, 3, 2))
    keys = jax.random.split(jax.random.key(1), 5)
    probes = divergence.draw_probes(keys, x.shape, 3)
    assert probes.shape == (3, 5, 3, 2)
    np.testing.assert_array_equal(probes[:, 2:], divergence.draw_probes(keys[2:], (3, 3, 2), 3))
    estimate = jax.jit(lambda x, probes: divergence.estimate(_field, x, probes)[1])
    each = jnp.stack([estimate(x, probes[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(estimate(x, probes), each.mean(0), rtol=1e-4, atol=1e-5)


def test_networks_differentiate_forwards_and_the_result_backwards():
    net = mlp(3, widths=(8,))
    x = jax.random.normal(jax.random.key(0), (4, 3))
    params = jax.jit(net.init)(jax.random.key(1), x)

    def trace(params):
        return divergence.exact(lambda x: net.apply(params, x), x)[1]

    @jax.jit
    def everything(params):
        jacobian = jax.vmap(jax.jacrev(lambda row: net.apply(params, row[None])[0]))(x)
        gradient = jax.jit(jax.grad(lambda params: trace(params).sum()))(params)
        return trace(params), jnp.trace(jacobian, axis1=1, axis2=2), gradient

    got, want, gradient = everything(params)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    kernels = [leaf for leaf in jax.tree.leaves(gradient) if leaf.ndim == 2]
    assert all(bool(jnp.any(leaf != 0)) for leaf in kernels)
