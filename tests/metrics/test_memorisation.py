import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from jaxgen.metrics.memorisation import copying_test, memorisation_ratio, nearest_neighbours

RNG = np.random.default_rng(0)


def test_nearest_neighbours_against_loops_and_far_from_the_origin():
    samples, train = 1e3 + RNG.normal(size=(300, 5)), 1e3 + RNG.normal(size=(40, 5))
    distance, index = nearest_neighbours(samples, train)
    all_distances = np.linalg.norm(samples[:, None] - train[None], axis=-1)
    np.testing.assert_array_equal(index, all_distances.argmin(1))
    np.testing.assert_allclose(distance, all_distances.min(1), rtol=1e-9)


def test_copies_are_near_and_new_draws_as_far_as_held_out_ones():
    train, held_out, new = RNG.normal(size=(3, 400, 3))
    copies = train[:200] + 1e-3 * RNG.normal(size=(200, 3))
    assert memorisation_ratio(copies, train, held_out) < 0.02
    assert memorisation_ratio(new, train, held_out) == pytest.approx(1, abs=0.15)


def test_copying_test_against_scipy():
    train, held_out, new = np.random.default_rng(1).normal(size=(3, 90, 2))
    train, held_out, new = (x.round(1) for x in (train, held_out, new))  # ties
    found = copying_test(new[:70], train, held_out)
    ours, theirs = (nearest_neighbours(x, train)[0] for x in (new[:70], held_out))
    expected = mannwhitneyu(theirs, ours, use_continuity=False, method="asymptotic")
    assert found.closer == pytest.approx(expected.statistic / (70 * 90))
    assert 2 * norm.sf(abs(found.z)) == pytest.approx(expected.pvalue)


def test_copying_test_sees_a_few_copies_that_medians_do_not():
    draws = np.random.default_rng(2)
    train, held_out, new = draws.normal(size=(3, 1000, 4))
    honest = copying_test(new, train, held_out)
    assert abs(honest.z) < 4
    assert abs(honest.copies - 0.01) < 4 * np.sqrt(2 * 0.01 / 1000)
    new[:200] = train[:200] + 1e-4 * draws.normal(size=(200, 4))
    some = copying_test(new, train, held_out)
    assert some.z > 4
    assert some.copies >= 0.2
    assert some.closer == pytest.approx(0.5 * 0.8 + 0.2, abs=4 * np.sqrt(1 / (12 * 1000) * 2))
    far = copying_test(new + 100, train, held_out)
    assert (far.closer, far.copies) == (0, 0)
    assert far.z < -10


def test_copying_test_of_equal_distances():
    same = np.zeros((5, 2))
    assert copying_test(same, same, same) == (0.5, 0.0, 0.0)
