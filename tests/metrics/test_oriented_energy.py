"""Features of images without labels: held-out images are nearest, then good samples, then poor ones."""

import numpy as np
import pytest

from jaxgen.baselines import gaussian_images
from jaxgen.imaging.smoothing import gaussian_filter
from jaxgen.metrics import extract, frechet_distance, oriented_energy
from jaxgen.metrics.sample_sets import Whitened

RNG = np.random.default_rng(0)


def discs(rng, n, side=32):
    """Upright images that look alike: a bright disc, whose place and size vary, above a dark bar."""
    rows, columns = np.mgrid[:side, :side] / side
    y, x = rng.uniform(0.3, 0.5, (2, n, 1, 1))
    inside = (rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(0.1, 0.25, (n, 1, 1)) ** 2
    image = -0.5 + inside * rng.uniform(0.5, 1, (n, 1, 1)) - 0.4 * (rows > 0.8)
    return image[..., None] + 0.03 * rng.normal(size=(n, side, side, 1))


def energies(images):
    return extract(oriented_energy(), images).values


@pytest.fixture(scope="module")
def distance():
    train = discs(RNG, 300)
    features = Whitened(energies, train)
    known = features(train)
    return train, lambda x: frechet_distance(known, features(x))


def test_poor_samples_are_farther_than_good_ones_and_these_than_real_images(distance):
    train, far = distance
    real, n = discs(RNG, 100), 100
    held_out = far(real)
    good = far(gaussian_filter(real, 0.3))
    poor = {
        "a Gaussian of images": gaussian_images(train, n, 0),
        "blurred": gaussian_filter(real, 1.0),
        "noisy": real + 0.1 * RNG.normal(size=real.shape),
        "a few, repeated": real[RNG.integers(0, 5, n)],
        "upside down": real[:, ::-1],
    }
    assert held_out < 6
    assert held_out < good
    assert {name for name, x in poor.items() if far(x) < 2 * good} == set()


def test_noise_is_seen_where_real_images_are_blank():
    """Features that hardly vary on real images neither blow up nor drop out."""
    blank = lambda x: np.where(np.arange(32)[:, None, None] < 8, -1.0, x)  # noqa: E731
    train, real = blank(discs(RNG, 300)), blank(discs(RNG, 100))
    features = Whitened(energies, train)
    noisy = np.where(real == -1, real + 0.05 * RNG.normal(size=real.shape), real)
    near, far = (frechet_distance(features(train), features(x)) for x in (real, noisy))
    assert 2 * near < far < 1000


@pytest.mark.parametrize("side", [8, 11, 64])
def test_images_of_any_size_and_colour(side):
    found = energies(RNG.uniform(-1, 1, (3, side, side, 2)))
    octaves = {8: 1, 11: 1, 64: 4}[side]
    assert found.shape == (3, 2 * (80 * octaves + 64))
    assert np.isfinite(found).all()


def test_volumes_have_more_orientations():
    volumes = RNG.uniform(-1, 1, (2, 8, 16, 8, 1))
    assert energies(volumes).shape == (2, (3 + 6 + 1) * 4**3 + 8**3)
    assert np.abs(energies(volumes) - energies(volumes[:, :, ::-1])).mean() > 0.05


def test_a_set_without_variety_has_features():
    same = np.zeros((5, 8, 8, 1))
    assert Whitened(energies, same)(same).shape[0] == 5
    assert np.isfinite(Whitened(energies, same)(same)).all()
    with pytest.raises(TypeError, match="no classes"):
        Whitened(energies, same).classes(same)
