"""Convolutional encoder and decoder: any rank, a code with axes or a vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import decoder, encoder, ops
from tests.nets.parameters import drawn

SMALL = {"channels": (4, 8), "head_width": 4, "groups": 4}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("spatial", "options", "vector"),
    [((8, 4), {"attention": (1,)}, False), ((4, 8), {"patch": 2}, True), ((4, 4, 6), {}, False)],
    ids=["2-D", "2-D vector", "3-D"],
)
def test_contract(spatial, options, vector):
    options = SMALL | options
    factor = 2 * options.get("patch", 1)
    encode = encoder(5, vector=vector, **options)
    decode = decoder(2, spatial=spatial if vector else None, **options)
    x = normal(2, *spatial, 2)
    z_shape = (2, 5) if vector else (2, *(n // factor for n in spatial), 5)

    params = drawn(encode.init, x), drawn(decode.init, jnp.zeros(z_shape))

    @jax.jit
    def values(params, x):
        def back(params):
            z = encode.apply(params[0], x)
            return jnp.sum(decode.apply(params[1], z)[..., 0]), (z, decode.apply(params[1], z))

        gradients, (z, y) = jax.grad(back, has_aux=True)(params)
        return z, y, gradients

    z, y, gradients = values(params, x)
    assert z.shape == z_shape
    assert y.shape == x.shape
    changed = values(params, x.at[1].add(0.3))
    for mine, other in ((z, changed[0]), (y, changed[1])):
        np.testing.assert_allclose(other[0], mine[0], rtol=1e-4, atol=1e-5)
        assert np.abs(other[1] - mine[1]).max() > 1e-4
    assert sum(np.abs(g).max() < 1e-8 for g in jax.tree.leaves(gradients)) == 0
    forward = jax.jit(lambda params: decode.apply(params[1], encode.apply(params[0], x)))
    if vector:
        half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        np.testing.assert_allclose(forward(half).astype(jnp.float32), y, atol=0.1 * float(jnp.abs(y).max()))
    if len(spatial) == 3:
        with ops.form("accelerator"):
            again = forward(params)
        np.testing.assert_allclose(again, y, rtol=1e-3, atol=1e-4)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="multiple of 4"):
        encoder(5, channels=(4, 8, 8)).init(jax.random.key(0), jnp.zeros((1, 6, 8, 1)))
    with pytest.raises(ValueError, match="multiple of 4"):
        decoder(1, channels=(4, 8), patch=2, spatial=(8, 6))
    with pytest.raises(ValueError, match="at least one level"):
        encoder(5, channels=())
