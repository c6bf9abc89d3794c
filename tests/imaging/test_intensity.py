import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging import intensity

KEYS = jax.random.split(jax.random.key(0), 300)
VARIATIONS = [intensity.random_brightness, intensity.random_contrast, intensity.random_gamma]


def images(b=300, c=2):
    return jnp.asarray(np.random.default_rng(0).uniform(-0.9, 0.9, (b, 4, 5, c)), jnp.float32)


def test_the_range_is_that_of_all_pixels_of_a_channel():
    rng = np.random.default_rng(1)
    several = [rng.normal(size=(*rng.integers(3, 9, 2), 3)) for _ in range(4)]
    pixels = np.concatenate([x.reshape(-1, 3) for x in several])
    several[0][0, 0] = [np.nan, np.inf, -np.inf]
    pixels[0] = np.nan
    low, high = intensity.percentile_range(several, 1, 99)
    np.testing.assert_allclose(low, np.nanpercentile(pixels, 1, axis=0), rtol=1e-6)
    np.testing.assert_allclose(high, np.nanpercentile(pixels, 99, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "limits", "message"),
    [
        ([], (0, 100), "at least one"),
        ([np.full((2, 1), np.nan)], (0, 100), "finite"),
        ([np.ones((2, 1))], (5, 5), "lower"),
    ],
)
def test_a_range_that_cannot_be_measured(values, limits, message):
    with pytest.raises(ValueError, match=message):
        intensity.percentile_range(values, *limits)


def test_the_unit_range_and_back():
    low, high = jnp.array([-1000.0, 0.0]), jnp.array([3000.0, 65535.0])
    x = low + (high - low) * jnp.linspace(0, 1, 7)[:, None]
    unit = intensity.to_unit_range(x, low, high)
    np.testing.assert_allclose(unit, np.broadcast_to(np.linspace(-1, 1, 7)[:, None], (7, 2)), atol=1e-6)
    np.testing.assert_allclose(intensity.from_unit_range(unit, low, high), x, rtol=1e-5, atol=1e-2)


def test_clipping_and_a_constant_channel():
    x = jnp.array([-5.0, 5.0, 15.0])[:, None]
    assert intensity.to_unit_range(x, 0, 10).ravel().tolist() == [-1, 0, 1]
    assert intensity.to_unit_range(x, 0, 10, clip=False).ravel().tolist() == [-2, 0, 2]
    assert intensity.to_unit_range(x, 5, 5).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize("vary", VARIATIONS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_draws_belong_to_their_example(vary, per_channel):
    x = images()
    whole = vary(KEYS, x, 0.3, per_channel=per_channel)
    part = jax.jit(lambda k, v: vary(k, v, 0.3, per_channel=per_channel))(KEYS[7:9], x[7:9])
    np.testing.assert_allclose(whole[7:9], part, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vary(KEYS, x, 0.0), x, atol=1e-6)


def spread(number, amount):
    """Uniform on [-amount, amount]: both ends are reached, and the mean is zero."""
    assert np.abs(number).max() <= amount * (1 + 1e-3)
    assert np.abs(number).max() > 0.95 * amount
    assert abs(number.mean()) < 4 * amount / np.sqrt(3 * number.size)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_law_of_each_variation(per_channel):
    x = images()
    shift = np.asarray(intensity.random_brightness(KEYS, x, 0.2, per_channel=per_channel) - x)
    factor = np.asarray(intensity.random_contrast(KEYS, x, 0.2, per_channel=per_channel).std((1, 2)) / x.std((1, 2)))
    bent = np.asarray(intensity.random_gamma(KEYS, x, 0.2, per_channel=per_channel))
    exponent = np.log((bent + 1) / 2) / np.log((np.asarray(x) + 1) / 2)
    for number in (shift[:, 0, 0], np.log(factor), np.log(exponent[:, 0, 0])):
        spread(number, 0.2)
        assert np.allclose(number[:, 0], number[:, 1], atol=1e-3) != per_channel
    np.testing.assert_allclose(exponent, np.broadcast_to(exponent[:, :1, :1], exponent.shape), rtol=2e-3)


def test_contrast_keeps_the_mean_of_each_channel():
    x = images()
    out = intensity.random_contrast(KEYS, x, 0.5)
    np.testing.assert_allclose(out.mean((1, 2)), x.mean((1, 2)), atol=1e-5)
