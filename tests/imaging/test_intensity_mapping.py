import numpy as np
import pytest

from jaxgen.imaging.intensity_mapping import histogram_match, lookup_table

LEVELS = np.linspace(-1, 1, 256)


def images(seed=0):
    """Images whose values are those of bytes, all of which occur."""
    rng = np.random.default_rng(seed)
    x = LEVELS[rng.integers(0, 256, (4, 32, 32, 1))]
    x.ravel()[:256] = LEVELS
    return x


def rising(x):
    return np.sign(x) * np.abs(x) ** 1.7 * 0.5 + 0.2


def folded(x):
    return np.cos(3 * np.pi * x)


@pytest.mark.parametrize("change", [rising, folded])
def test_a_lookup_table_recovers_any_map_of_intensities_exactly(change):
    x = images()
    found = lookup_table(x, change(x))(images(1))
    np.testing.assert_allclose(found, change(images(1)), atol=1e-6)


def test_matched_histograms_recover_a_rising_map_exactly_and_no_other():
    x = images()
    np.testing.assert_allclose(histogram_match(x, rising(x))(x), rising(x), atol=1e-6)
    assert np.abs(histogram_match(x, folded(x))(x) - folded(x)).mean() > 0.3


def test_matched_histograms_need_no_pairs_and_give_the_distribution_of_the_target():
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (2, 64, 64, 1)), rng.exponential(2, (3, 64, 64, 1))
    found = histogram_match(source, target)(source)
    shares = np.linspace(0.01, 0.99, 30)
    np.testing.assert_allclose(np.quantile(found, shares), np.quantile(target, shares), rtol=0.02)


def test_a_lookup_table_is_the_conditional_mean():
    """Two targets of one source value: the mean of them, which no other table beats."""
    x = np.array([0.0, 0.0, 1.0]).reshape(1, 3, 1)
    target = np.array([[1.0, 3.0, 5.0], [0.0, 1.0, 2.0]]).T.reshape(1, 3, 2)
    np.testing.assert_allclose(lookup_table(x, target, levels=3)(x)[0], [[2, 0.5], [2, 0.5], [5, 2]])


def test_images_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        lookup_table(np.zeros((2, 4, 4, 1)), np.zeros((3, 4, 4, 1)))
