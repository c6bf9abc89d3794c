import numpy as np
import pytest

from jaxgen.metrics.memorisation import memorisation_ratio, nearest_neighbours

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
