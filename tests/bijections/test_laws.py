"""The laws of every bijection: it inverts, its log-determinant is that of its Jacobian, and it is a pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import bijections as bj
from jaxgen.nets import conditioner, dense_conditioner, masked_mlp
from jaxgen.train.state import run_once

pytestmark = pytest.mark.thorough

AFFINE, SPLINE = bj.affine(), bj.rational_quadratic(bins=5, bound=2.0)
VECTOR, IMAGE, VOLUME = (4,), (4, 4, 2), (2, 2, 2, 1)


def half(transform, features=4, *, swap=False, net=None):
    moved = features // 2 if swap else features - features // 2
    return bj.coupling(net or dense_conditioner(transform.parameters * moved, widths=(7,)), transform, swap=swap)


def conv_half(channels):
    return bj.coupling(conditioner(channels, width=6), AFFINE)  # a shift and a scale for half of the channels


GLOW_LAYER = bj.chain(bj.actnorm(), bj.conv1x1(), conv_half(8))
SMALLER_LAYER = bj.chain(bj.actnorm(), conv_half(16))

# Each a bijection, the shape of an example, and the shape of its condition or None.
BIJECTIONS = {
    "elementwise affine": (bj.elementwise(AFFINE), IMAGE, None),
    "elementwise spline": (bj.elementwise(SPLINE), VECTOR, None),
    "elementwise, conditional": (bj.elementwise(AFFINE, dense_conditioner(8, widths=(5,))), VECTOR, (3,)),
    "affine coupling": (half(AFFINE), VECTOR, None),
    "affine coupling, swapped": (half(AFFINE, 5, swap=True), (5,), None),
    "affine coupling, conditional": (
        bj.coupling(conditioner(2, width=6), AFFINE),
        IMAGE,
        (3,),
    ),
    "affine coupling, image condition": (bj.coupling(conditioner(2, width=6), AFFINE), IMAGE, (4, 4, 3)),
    "affine coupling, checkerboard": (
        bj.coupling(conditioner(4, width=6), AFFINE, mask=bj.masks.checkerboard((4, 4))),
        IMAGE,
        None,
    ),
    "spline coupling": (half(SPLINE), VECTOR, None),
    "spline coupling, every other": (
        bj.coupling(
            dense_conditioner(4 * SPLINE.parameters, widths=(7,)), SPLINE, mask=bj.masks.alternating(4, flip=True)
        ),
        VECTOR,
        None,
    ),
    "autoregressive affine": (bj.autoregressive(masked_mlp(4, 2, widths=(9, 9)), AFFINE), VECTOR, None),
    "autoregressive spline, conditional": (
        bj.autoregressive(masked_mlp(4, SPLINE.parameters, widths=(9, 9)), SPLINE),
        VECTOR,
        (3,),
    ),
    "inverse autoregressive": (bj.invert(bj.autoregressive(masked_mlp(4, 2, widths=(9,)), AFFINE)), VECTOR, None),
    "actnorm": (bj.actnorm(), IMAGE, None),
    "conv1x1": (bj.conv1x1(), IMAGE, None),
    "conv1x1 of vectors": (bj.conv1x1(), VECTOR, None),
    "squeeze": (bj.squeeze(), IMAGE, None),
    "squeeze of volumes": (bj.squeeze(), VOLUME, None),
    "permutation": (bj.permutation((2, 0, 3, 1)), VECTOR, None),
    "reverse": (bj.reverse(), IMAGE, None),
    "sigmoid": (bj.invert(bj.logit(-1, 1, margin=0.05)), VECTOR, None),
    "scan_chain": (
        bj.scan_chain(bj.chain(bj.actnorm(), bj.conv1x1(), half(AFFINE)), 3),
        VECTOR,
        None,
    ),
    "multiscale": (bj.multiscale(IMAGE, [bj.scan_chain(GLOW_LAYER, 2), SMALLER_LAYER]), IMAGE, None),
}


def lively(params, key, scale=0.3):
    """Parameters away from their zeros, where many maps are the identity."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    moved = [leaf + scale * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=False)]
    return jax.tree.unflatten(structure, moved)


def quick(function):
    """Compiled in a hurry: these programs run once."""
    return jax.jit(function, compiler_options=run_once())


def setting(name):
    bijection, shape, condition_shape = BIJECTIONS[name]
    x_key, condition_key, init_key, move_key = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(x_key, (3, *shape))
    condition = None if condition_shape is None else jax.random.normal(condition_key, (3, *condition_shape))
    params = lively(quick(bijection.init)(init_key, x, condition), move_key)
    return bijection, params, x, condition


def in_float64(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


@pytest.mark.usefixtures("compiled_as_for_users")
@pytest.mark.parametrize("name", BIJECTIONS)
def test_inverts_both_ways_and_its_log_determinant_is_that_of_the_jacobian(name):
    bijection, params, x, condition = setting(name)

    def check(params, x, condition, tolerance):
        traces = []

        def traced(way):
            return quick(lambda *inputs: (traces.append(way), way(*inputs))[1])

        forward, inverse = traced(bijection.forward), traced(bijection.inverse)
        y, log_det = forward(params, x, condition)
        back, inverse_log_det = inverse(params, y, condition)
        assert log_det.dtype == inverse_log_det.dtype == y.dtype == x.dtype
        assert log_det.shape == inverse_log_det.shape == (3,)
        np.testing.assert_allclose(back, x, atol=tolerance)
        np.testing.assert_allclose(log_det, -inverse_log_det, atol=10 * tolerance)
        z = y[::-1]  # where another example's condition leads
        np.testing.assert_allclose(forward(params, inverse(params, z, condition)[0], condition)[0], z, atol=tolerance)
        assert len(traces) == 2
        return y, log_det

    check(params, x, condition, 3e-4)
    with jax.enable_x64(True):
        params, x, condition = in_float64((params, x, condition))
        y, log_det = check(params, x, condition, 1e-9)

        def one(x, condition):
            return bijection.forward(params, x[None], None if condition is None else condition[None])[0][0].ravel()

        jacobian = quick(jax.vmap(jax.jacfwd(one)))(x, condition)
        _, expected = np.linalg.slogdet(np.asarray(jacobian).reshape(3, y[0].size, y[0].size))
        np.testing.assert_allclose(log_det, expected, atol=1e-8)


LEARNED = (
    "elementwise, conditional",
    "affine coupling, image condition",
    "spline coupling",
    "autoregressive spline, conditional",
    "multiscale",
)


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_reach_every_parameter(name):
    bijection, params, x, condition = setting(name)

    @quick
    def gradients(params):
        def loss(params):
            y, log_det = bijection.forward(params, x, condition)
            return jnp.mean(jnp.sum(y.reshape(3, -1) ** 2, -1) - log_det)

        return jax.grad(loss)(params)

    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients(params)):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ["affine coupling", "autoregressive spline, conditional"])
def test_networks_in_bfloat16_still_invert_in_float32(name):
    bijection, params, x, condition = setting(name)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)

    @quick
    def both(params, x):
        y, log_det = bijection.forward(params, x, condition)
        return y, log_det, bijection.inverse(params, y, condition)[0]

    y, log_det, back = both(params, x)
    assert y.dtype == log_det.dtype == jnp.float32
    np.testing.assert_allclose(back, x, atol=2e-2)


def test_the_gradient_of_a_scanned_chain_is_that_of_the_chain_written_out():
    layer = half(AFFINE)
    scanned, written = bj.scan_chain(layer, 3), bj.chain(layer, layer, layer)
    x = jax.random.normal(jax.random.key(0), (3, *VECTOR))
    params = lively(jax.jit(scanned.init)(jax.random.key(1), x), jax.random.key(2))

    def loss(bijection, params):
        y, log_det = bijection.forward(params, x)
        return jnp.sum(jnp.sin(y)) + jnp.sum(log_det)

    ours = jax.jit(jax.grad(lambda params: loss(scanned, params)))(params)
    apart = {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(3)}
    want = jax.jit(jax.grad(lambda params: loss(written, params)))(apart)
    for i in range(3):
        each = jax.tree.map(lambda leaf, i=i: leaf[i], ours)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), each, want[str(i)])
