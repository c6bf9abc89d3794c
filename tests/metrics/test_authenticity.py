import numpy as np
import pytest

from jaxgen.metrics.authenticity import authenticity

RNG = np.random.default_rng(0)


def test_noisy_copies_are_not_authentic_and_strangers_are():
    train = RNG.normal(size=(200, 8))
    assert authenticity(train, train) == 0
    assert authenticity(train[:50] + 1e-3 * RNG.normal(size=(50, 8)), train) == 0
    assert authenticity(100 + RNG.normal(size=(30, 8)), train) == 1


def test_a_half_of_copies_lowers_the_share_of_new_examples_by_half():
    train, new = RNG.normal(size=(2, 400, 4))
    of_new = authenticity(new, train)
    assert authenticity(np.concatenate([new, train]), train) == pytest.approx(of_new / 2)


def test_new_examples_of_a_law_in_one_dimension():
    """The gaps A and B on either side of a new point u, and C beyond its nearest point r, are alike exponential.

    u is authentic if min(A, B) exceeds C, the least of three: with the probability one third.
    """
    rng = np.random.default_rng(1)
    found = [authenticity(rng.uniform(size=(200, 1)), rng.uniform(size=(200, 1))) for _ in range(50)]
    assert abs(np.mean(found) - 1 / 3) < 4 * np.std(found, ddof=1) / np.sqrt(50) + 0.01


def test_bad_input():
    with pytest.raises(ValueError, match="two training"):
        authenticity(np.zeros((3, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="width"):
        authenticity(np.zeros((3, 2)), np.zeros((4, 3)))
