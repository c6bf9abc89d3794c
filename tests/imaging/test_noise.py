import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.imaging.noise import coarse_noise, mask_blocks, simplex_noise

NOISES = {
    "coarse": lambda key, shape: coarse_noise(key, shape, 4),
    "simplex": lambda key, shape: simplex_noise(key, shape, octaves=3, wavelength=8.0),
    "one octave": lambda key, shape: simplex_noise(key, shape, octaves=1, wavelength=8.0),
}
SHAPES = {2: (64, 24, 16, 1), 3: (16, 16, 12, 8, 1)}


@pytest.fixture(scope="module")
def drawn():
    made = {}
    for name, noise in NOISES.items():
        for rank, shape in SHAPES.items():
            make = jax.jit(lambda keys, noise=noise, shape=shape: noise(keys, (len(keys), *shape[1:])))
            made[name, rank] = np.asarray(make(jax.random.split(jax.random.key(0), shape[0])))
    return made


CASES = [(name, rank) for name in NOISES for rank in SHAPES]


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_mean_and_variance(drawn, name, rank):
    x = drawn[name, rank]
    assert x.shape == SHAPES[rank]
    of_each = x.reshape(len(x), -1)
    error = of_each.mean(1).std(ddof=1) / np.sqrt(len(x))
    assert abs(of_each.mean()) < 4 * error
    square = (of_each**2).mean(1)
    error = square.std(ddof=1) / np.sqrt(len(x))
    if name != "coarse":
        assert abs(square.mean() - 1) < 4 * error
        return
    # By the weights of the interpolation themselves, along each axis.
    want = 1.0
    for n in SHAPES[rank][1:-1]:
        weights = np.asarray(jax.image.resize(jnp.eye(4), (n, 4), "linear"))
        want *= (weights**2).sum(1).mean()
    assert abs(square.mean() - want) < 4 * error


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_neighbours_are_alike_and_far_pixels_are_not(drawn, name, rank):
    """A pixel's step against its size: white noise has the ratio 2."""
    x = drawn[name, rank]
    for axis in range(1, rank + 1):
        step = np.diff(x, axis=axis)
        assert np.median(step**2) < 0.5 * np.mean(x**2)
    far = np.mean(x[:, :4] * x[:, 10:14]) / np.mean(x**2)
    assert abs(far) < 0.35


def test_every_pixel_of_simplex_noise_has_the_same_law(drawn):
    """No corner where the noise is always zero, as an origin that never moves would have."""
    x = drawn["one octave", 2][..., 0]
    quarters = [np.mean(x[:, a : a + 12, b : b + 8] ** 2, (1, 2)) for a in (0, 12) for b in (0, 8)]
    for quarter in quarters:
        assert abs(quarter.mean() - 1) < 4 * quarter.std(ddof=1) / np.sqrt(len(quarter))
    assert np.mean(x[:, 0, 0] ** 2) > 0.4


def test_simplex_noise_is_smooth():
    """Magnified, a step is in proportion to the distance: the sum over corners has no jumps between simplices."""
    for shape in ((2, 96, 96, 1), (1, 48, 48, 8, 1)):
        draw = jax.jit(lambda width, shape=shape: simplex_noise(jax.random.key(3), shape, octaves=1, wavelength=width))
        x, finer = np.asarray(draw(48.0)), np.asarray(draw(96.0))
        steps = np.abs(np.diff(x, axis=1))
        assert steps.max() < 0.3
        assert np.abs(np.diff(finer, axis=1)).max() < 0.6 * steps.max()


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_an_image_s_noise_is_that_of_its_key(drawn, name, rank):
    n = SHAPES[rank][0]
    keys = jax.random.split(jax.random.key(0), n)
    amid_others = jnp.concatenate([jax.random.split(jax.random.key(1), n - 2), keys[3:5]])
    again = jax.jit(lambda keys: NOISES[name](keys, SHAPES[rank]))(amid_others)
    np.testing.assert_allclose(again[-2:], drawn[name, rank][3:5], atol=1e-5)
    assert not np.allclose(drawn[name, rank][0], drawn[name, rank][1])


def test_channels_are_independent():
    for noise in (lambda k, s: coarse_noise(k, s, 4), lambda k, s: simplex_noise(k, s, octaves=2, wavelength=8.0)):
        x = np.asarray(jax.jit(lambda key, noise=noise: noise(key, (32, 8, 8, 2)))(jax.random.key(0)))
        product = (x[..., 0] * x[..., 1]).mean((1, 2))
        assert abs(product.mean()) < 4 * product.std(ddof=1) / np.sqrt(len(product))


def test_blocks_are_left_out_whole():
    x = jnp.ones((400, 6, 7, 2))
    mask = jax.jit(lambda keys: mask_blocks(keys, x, 0.3, block=3, value=-1.0))
    masked = np.asarray(mask(jax.random.split(jax.random.key(0), 400)))
    assert set(np.unique(masked)) == {-1.0, 1.0}
    np.testing.assert_array_equal(masked[..., 0], masked[..., 1])
    for rows in (slice(0, 3), slice(3, 6)):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 7)):
            block = masked[:, rows, columns, 0].reshape(400, -1)
            assert (block == block[:, :1]).all()
    share = (masked == -1).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / (400 * 6))  # six blocks an image, of different sizes
    np.testing.assert_array_equal(mask_blocks(jax.random.key(0), x, 0.0), x)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        coarse_noise(jax.random.key(0), (1, 8, 8, 1), 9)
    with pytest.raises(ValueError, match="do not fit"):
        coarse_noise(jax.random.key(0), (1, 8, 8, 1), (4,))
    with pytest.raises(ValueError, match="rank 2 or 3"):
        simplex_noise(jax.random.key(0), (1, 8, 1))
    with pytest.raises(ValueError, match="one key an image"):
        simplex_noise(jax.random.split(jax.random.key(0), 3), (2, 8, 8, 1))
