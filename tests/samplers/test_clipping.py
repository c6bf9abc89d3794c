import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.samplers import clip, dynamic_threshold


def identity(x, t):
    return x


X = 2 * jax.random.normal(jax.random.key(0), (3, 8, 8, 2)).at[0].multiply(0.1)


def test_clip():
    np.testing.assert_array_equal(clip(identity, -0.5, 0.7)(X, 0.3), np.clip(X, -0.5, 0.7))


@pytest.mark.parametrize("maximum", [np.inf, 1.5])
def test_dynamic_threshold_example_by_example(maximum):
    got = jax.jit(lambda x: dynamic_threshold(identity, 0.9, maximum)(x, 0.3))(X)
    for x, ours in zip(np.asarray(X), got, strict=True):
        m = min(max(np.quantile(np.abs(x), 0.9), 1.0), maximum)
        np.testing.assert_allclose(ours, np.clip(x, -m, m) / m, rtol=1e-6)
    np.testing.assert_array_equal(got[0], X[0])  # within [-1, 1]: left alone
    assert float(jnp.abs(got).max()) <= 1


def test_dynamic_threshold_channel_by_channel():
    got = dynamic_threshold(identity, 0.9, channelwise=True)(X * jnp.array([1.0, 3.0]), 0.3)
    for c, scale in enumerate((1, 3)):
        alone = dynamic_threshold(identity, 0.9)(scale * X[..., c : c + 1], 0.3)
        np.testing.assert_allclose(got[..., c : c + 1], alone, rtol=1e-6)


def test_types_stay_and_a_maximum_of_one_is_plain_clipping():
    assert dynamic_threshold(identity)(X.astype(jnp.bfloat16), 0.3).dtype == jnp.bfloat16
    np.testing.assert_array_equal(dynamic_threshold(identity, maximum=1.0)(X, 0.3), clip(identity)(X, 0.3))
