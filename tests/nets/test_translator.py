import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets.dose import LEAST_SIDE, dose_critic, plain_cnn, red_cnn
from jaxgen.nets.translator import patch_critic, residual_translator, skip_translator


def counted(net, shape):
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))
    return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params)) / 1e6


def test_the_networks_have_the_sizes_that_the_published_code_prints():
    """Millions; ours have a bias before each norm, theirs none or a norm without scale and shift."""
    assert counted(skip_translator(3), (1, 256, 256, 3)) == pytest.approx(54.414, rel=1e-3)
    assert counted(residual_translator(3), (1, 256, 256, 3)) == pytest.approx(11.378, rel=2e-3)
    assert counted(patch_critic(), (1, 256, 256, 6)) == pytest.approx(2.769, rel=1e-3)


def test_the_critic_has_thirty_by_thirty_patches_of_an_image_of_256():
    net, x = patch_critic(), jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    assert jax.eval_shape(net.apply, params, x).shape == (1, 30, 30)


def test_the_pix2pix_generator_answers_within_bounds_and_dropout_needs_a_key():
    net, x = skip_translator(1, channels=(4, 8, 8, 8, 8)), jax.random.normal(jax.random.key(0), (2, 32, 32, 1))
    params, apply = jax.jit(net.init)(jax.random.key(1), x), jax.jit(net.apply)
    plain = apply(params, x)
    assert float(jnp.abs(plain).max()) <= 1
    keys = jax.random.split(jax.random.key(4), 2)
    dropped = apply(params, x, key=keys)
    assert float(jnp.abs(dropped - plain).max()) > 0
    np.testing.assert_allclose(dropped[::-1], apply(params, x[::-1], key=keys[::-1]), atol=1e-5)


@pytest.mark.parametrize("net", [skip_translator(1, channels=(4, 8, 8)), residual_translator(1, width=4, blocks=1)])
def test_no_image_depends_on_another(net):
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 1))
    params, apply = jax.jit(net.init)(jax.random.key(1), x), jax.jit(net.apply)
    np.testing.assert_allclose(apply(params, x)[:1], apply(params, x.at[1].set(0.5))[:1], atol=1e-5)


def test_red_cnn_shares_no_layer_and_without_weights_leaves_the_image():
    net, x = red_cnn(4), jax.random.uniform(jax.random.key(0), (1, 24, 24, 1), minval=-1.0)
    params = jax.jit(net.init)(jax.random.key(1), x)
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
    assert len(kernels) == 10
    assert sum(kernel.size for kernel in kernels) == 25 * (2 * 4 + 8 * 16)
    np.testing.assert_array_equal(net.apply(jax.tree.map(jnp.zeros_like, params), x), x)
    with pytest.raises(ValueError, match=str(LEAST_SIDE)):
        net.init(jax.random.key(1), x[:, :16, :16])


def test_the_published_sizes_of_low_dose_networks():
    assert counted(red_cnn(), (1, 64, 64, 1)) == pytest.approx(1.849, abs=1e-3)  # 25 (2 * 96 + 8 * 96^2) + 9 * 96 + 1
    assert counted(plain_cnn(), (1, 64, 64, 1)) == pytest.approx((9 * (64 + 6 * 32**2) + 7 * 32 + 1) / 1e6, abs=1e-6)
    assert counted(dose_critic(), (1, 64, 64, 1)) > 64 / 8 * 64 / 8 * 256 * 1024 / 1e6


def test_a_residual_network_begins_with_the_image_itself():
    net, x = plain_cnn(4, 3, residual=True), jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
    np.testing.assert_array_equal(net.apply(net.init(jax.random.key(1), x), x), x)
