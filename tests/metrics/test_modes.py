import numpy as np
import pytest

from jaxgen.data import planar
from jaxgen.metrics.modes import mode_coverage


def test_the_law_itself_covers_all_of_its_modes():
    """Within 3 deviations in the plane lies 1 - exp(-9/2) of a normal law; the divergence is chi squared / (2 n)."""
    law, n = planar.lattice(), 20_000
    found = mode_coverage(law.draw(np.random.default_rng(0), n)[0], law.modes, 0.05)
    assert found.covered == 25
    expected = 1 - np.exp(-4.5)
    assert abs(found.quality - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    assert abs(2 * n * found.divergence - 24) < 4 * np.sqrt(2 * 24)


def test_a_collapsed_sample():
    law = planar.ring()
    points = law.modes[[0, 0, 0, 3]]
    found = mode_coverage(points, law.modes, 0.2)
    assert (found.covered, found.quality) == (2, 1.0)
    assert found.divergence == pytest.approx(0.75 * np.log(0.75 * 8) + 0.25 * np.log(0.25 * 8))
    np.testing.assert_array_equal(found.frequencies, [0.75, 0, 0, 0.25, 0, 0, 0, 0])


def test_points_between_the_modes_cover_none():
    law = planar.ring()
    found = mode_coverage(np.zeros((50, 2)), law.modes, 0.2)
    assert (found.covered, found.quality) == (0, 0.0)


def test_a_mode_must_hold_the_share_of_its_due():
    centres, points = np.array([[0.0], [1.0]]), np.repeat([0.0, 1.0], [95, 5])[:, None]
    assert mode_coverage(points, centres, 0.1).covered == 2  # a tenth of a half is 5 of 100
    assert mode_coverage(points, centres, 0.1, least=0.2).covered == 1
    even = mode_coverage(points, centres, 0.1, weights=[0.95, 0.05], least=1.0)
    assert (even.covered, even.divergence) == (2, 0.0)


@pytest.mark.parametrize(
    ("points", "weights"), [(np.zeros((0, 1)), None), (np.zeros((3, 2)), None), (np.zeros((3, 1)), [0.5, 0.6])]
)
def test_what_cannot_be_counted_is_refused(points, weights):
    with pytest.raises(ValueError, match=r"wanted|sum to 1"):
        mode_coverage(points, np.zeros((2, 1)), 1.0, weights=weights)
