import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import ops, rrdb_encoder

NET = rrdb_encoder(5, width=4, blocks=2, growth=3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4, 3)), jnp.float32)


def test_values_are_those_of_its_formula():
    """Wang et al. 2018, figure 4: unrolled, with nothing of the module but its parameters."""
    params = NET.init(jax.random.key(0), X)
    (stack,) = (value for name, value in params.items() if not name.startswith("Conv"))
    conv = lambda p, x: ops.convolution(x, p["kernel"], p["bias"])  # noqa: E731
    leaky = lambda x: jnp.where(x > 0, x, 0.2 * x)  # noqa: E731
    first = h = conv(params["Conv_0"], X)
    for k in range(2):
        block, start = jax.tree.map(lambda p, k=k: p[k], stack), h
        for d in range(3):
            dense, seen = block[f"_DenseBlock_{d}"], [h]
            for i in range(4):
                seen.append(leaky(conv(dense[f"Conv_{i}"], jnp.concatenate(seen, -1))))
            h = h + 0.2 * conv(dense["Conv_4"], jnp.concatenate(seen, -1))
        h = start + 0.2 * h
    h = leaky(conv(params["Conv_2"], first + conv(params["Conv_1"], h)))
    np.testing.assert_allclose(NET.apply(params, X), conv(params["Conv_3"], h), rtol=1e-4, atol=1e-5)


def test_the_paper_s_encoder_has_its_layers():
    """12 blocks of 3 dense blocks of 5 convolutions, growth 32, width 64: counted by hand."""
    shapes = jax.eval_shape(
        rrdb_encoder(128).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    )
    conv = lambda a, b: 9 * a * b + b  # noqa: E731
    dense = sum(conv(64 + 32 * i, 32) for i in range(4)) + conv(64 + 128, 64)
    want = conv(3, 64) + 12 * 3 * dense + 2 * conv(64, 64) + conv(64, 128)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == want


def test_gradients_reach_every_parameter_and_blocks_start_different():
    params = NET.init(jax.random.key(1), X)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(NET.apply(p, X) ** 2)))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))
    (stack,) = (value for name, value in params.items() if not name.startswith("Conv"))
    kernel = stack["_DenseBlock_0"]["Conv_0"]["kernel"]
    assert kernel.shape[0] == 2
    assert not np.array_equal(kernel[0], kernel[1])
