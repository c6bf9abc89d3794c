import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.nets.inception import _mean_pool, inception, resize_corner

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


def shapes():
    return jax.eval_shape(inception().init, jax.random.key(0), IMAGE)


def test_it_has_the_published_number_of_weights():
    """21,785,568 in the convolutions and normalisations of torchvision's Inception v3, less its auxiliary head.

    Its 94 convolutions have no bias; a scale and a shift each are one bias here.
    """
    leaves = jax.tree.leaves_with_path(shapes())
    kernels = [leaf.size for path, leaf in leaves if path[-1].key == "kernel"]
    biases = [leaf.size for path, leaf in leaves if path[-1].key == "bias"]
    assert len(kernels) == len(biases) == 94
    assert sum(kernels) + 2 * sum(biases) == 21_785_568


@pytest.mark.parametrize("width", [64, 192, 768, 2048])
def test_features_are_as_wide_as_asked_for(width):
    out = jax.eval_shape(lambda p, x: inception().apply(p, x, width), shapes(), IMAGE)
    assert (out.shape, out.dtype) == ((1, width), jnp.float32)


@pytest.mark.parametrize(("height", "width"), [(299, 40), (1, 7), (310, 600)])
def test_resizing_puts_the_corner_on_the_corner(height, width):
    """A ramp stays a ramp in steps of n / 299, until the last pixel, which is repeated."""
    ramp = jnp.arange(height, dtype=jnp.float32)[:, None] + 10 * jnp.arange(width, dtype=jnp.float32)
    found = resize_corner(ramp[None, :, :, None], 299)[0, :, :, 0]
    steps = [np.minimum(np.arange(299) * n / 299, n - 1) for n in (height, width)]
    np.testing.assert_allclose(found, steps[0][:, None] + 10 * steps[1], rtol=1e-5, atol=2e-3)


def test_the_mean_at_the_frame_is_over_pixels_that_there_are():
    found = _mean_pool(jnp.arange(9.0).reshape(1, 3, 3, 1))[0, :, :, 0]
    assert found[0, 0] == (0 + 1 + 3 + 4) / 4
    assert found[1, 1] == 4
    assert found[1, 2] == (1 + 2 + 4 + 5 + 7 + 8) / 6


def test_bad_input():
    with pytest.raises(ValueError, match="colour images"):
        jax.eval_shape(inception().apply, shapes(), jnp.zeros((1, 32, 32, 1)))
    with pytest.raises(ValueError, match="not 100"):
        jax.eval_shape(lambda p, x: inception().apply(p, x, 100), shapes(), IMAGE)
