import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets import ops
from jaxgen.nets.resnet import _on_subgrids, resnet

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(9, 7), (8, 4), (5, 6, 7)])
@pytest.mark.parametrize("dilation", [2, 3])
def test_a_convolution_on_every_subgrid_is_a_dilated_convolution(shape, dilation):
    rank = len(shape)
    x = jnp.asarray(RNG.normal(size=(2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(RNG.normal(size=(3,) * rank + (3, 4)), jnp.float32)
    spatial = "DHW"[3 - rank :]
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,) * rank,
        [(dilation, dilation)] * rank,
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )
    found = _on_subgrids(x, dilation, lambda h: ops.convolution(h, kernel))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_stages_halve_the_image_and_the_last_ones_of_the_dilated_network_do_not():
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def sides(**options):
        net = resnet(18, **options)
        params = jax.eval_shape(net.init, jax.random.key(0), x)
        return [(m.shape[1], m.shape[-1]) for m in jax.eval_shape(lambda p, x: net.apply(p, x, maps=True), params, x)]

    assert sides() == [(16, 64), (8, 128), (4, 256), (2, 512)]
    assert sides(dilated=True) == [(16, 64), (8, 128), (8, 256), (8, 512)]
    assert sides(stem_stride=1) == [(32, 64), (16, 128), (8, 256), (4, 512)]


def test_the_full_network_has_the_published_number_of_parameters():
    """25,557,032 with the last layer and batch normalisation: less fc, and per channel one bias for scale and shift."""
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(resnet(50).init, jax.random.key(0), x)
    leaves = jax.tree.leaves_with_path(params)
    biases = sum(leaf.size for path, leaf in leaves if path[-1].key == "bias")
    assert sum(leaf.size for _, leaf in leaves) == 25_557_032 - (2048 * 1000 + 1000) - biases


def test_pure_and_differentiable_and_alone_in_bfloat16():
    net = resnet(10)
    x = jnp.asarray(RNG.normal(size=(2, 16, 16, 1)), jnp.float32)
    params = jax.jit(net.init)(jax.random.key(0), x)

    @jax.jit
    def all_of_it(params, x):
        low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
        out, tangent = jax.jvp(lambda x: net.apply(params, x), (x,), (jnp.ones_like(x),))
        return out, tangent, net.apply(low, x)

    out, tangent, low = all_of_it(params, x)
    assert out.dtype == low.dtype == jnp.float32
    assert np.abs(tangent).max() > 0
    np.testing.assert_allclose(low, out, atol=0.05 * float(jnp.abs(out).max()))


def test_no_such_depth():
    with pytest.raises(ValueError, match="depth is one of"):
        resnet(12)
