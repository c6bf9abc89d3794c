"""Sampling plans: what they keep of the real proportions, and what they even out."""

import numpy as np
import pytest

from jaxgen.medical.synthesis import as_seen, fair, inverse, quotas

COUNTS = np.array([[80, 20, 1], [20, 80, 0], [3, 5, 7]])


@pytest.mark.parametrize("plan", [as_seen, fair, inverse])
def test_a_plan_sums_to_one_and_asks_for_nothing_that_was_never_seen(plan):
    shares = plan(COUNTS)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(shares > 0, COUNTS > 0)


def test_a_fair_plan_keeps_the_labels_and_evens_out_the_groups_of_each():
    shares = fair(COUNTS)
    np.testing.assert_allclose(shares.sum(1), COUNTS.sum(1) / COUNTS.sum())
    np.testing.assert_allclose(shares[0], shares[0, 0])
    np.testing.assert_allclose(shares[1, :2], shares[1, 0])


def test_an_inverse_plan_is_in_proportion_to_one_over_the_counts():
    shares, groups = inverse(COUNTS), COUNTS.sum(0)
    np.testing.assert_allclose(shares.sum(0) * groups, shares.sum(0)[0] * groups[0])
    np.testing.assert_allclose(shares[:, 0] * COUNTS[:, 0], shares[0, 0] * COUNTS[0, 0])


def test_quotas_are_whole_sum_to_n_and_are_nearest():
    rng = np.random.default_rng(0)
    for n in (0, 1, 7, 1000):
        plan = rng.dirichlet(np.ones(12)).reshape(3, 4)
        numbers = quotas(plan, n)
        assert numbers.sum() == n
        assert np.abs(numbers - n * plan).max() < 1
        rest = n * plan - np.floor(n * plan)
        more = numbers > np.floor(n * plan)
        assert not more.any() or rest[more].min() >= rest[~more].max()


@pytest.mark.parametrize(
    "wrong", [lambda: fair([1, 2]), lambda: fair([[0, 0]]), lambda: fair([[-1, 2]]), lambda: quotas([0.5], 3)]
)
def test_what_is_no_table_of_counts_is_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        wrong()
