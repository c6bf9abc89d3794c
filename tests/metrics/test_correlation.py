"""Correlation at the best of small shifts: what it forgives, and what it does not."""

import numpy as np
import pytest

from jaxgen.metrics.correlation import aligned_correlation

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(3, 12, 12, 1))
REFERENCE = IMAGE[0, 4:9, 3:8]


def test_it_is_the_coefficient_of_pearson_where_nothing_moves():
    found = aligned_correlation(IMAGE, REFERENCE, (4, 3), 0)
    wanted = [np.corrcoef(one[4:9, 3:8].ravel(), REFERENCE.ravel())[0, 1] for one in IMAGE]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert abs(found[1:]).max() < 0.6


def test_brightness_contrast_and_shifts_within_reach_are_forgiven():
    moved = np.roll(5 - 0.1 * -IMAGE, (2, -1), (1, 2))
    np.testing.assert_allclose(aligned_correlation(moved, REFERENCE, (4, 3), 2)[0], 1, atol=1e-9)
    assert aligned_correlation(moved, REFERENCE, (4, 3), 1)[0] < 0.9
    np.testing.assert_allclose(aligned_correlation(-IMAGE, REFERENCE, (4, 3), 0)[0], -1, atol=1e-9)


def test_the_border_and_images_without_contrast():
    np.testing.assert_allclose(aligned_correlation(IMAGE, IMAGE[2], (0, 0), 3)[2], 1, atol=1e-9)
    assert aligned_correlation(0 * IMAGE, REFERENCE, (4, 3), 1).tolist() == [0, 0, 0]
    assert aligned_correlation(IMAGE, 0 * REFERENCE, (4, 3), 1).tolist() == [0, 0, 0]
    for reference, corner in ((REFERENCE, (8, 3)), (REFERENCE, (-1, 3)), (REFERENCE.repeat(3, -1), (4, 3))):
        with pytest.raises(ValueError, match="does not lie within images"):
            aligned_correlation(IMAGE, reference, corner, 1)
