"""The sparsification error, compared with the curves written out."""

import numpy as np
import pytest

from jaxgen.metrics.sparsification import sparsification_error


def by_hand(uncertainty, wrong):
    """One order without ties."""
    kept = wrong[np.argsort(uncertainty)]
    curve, best = ([np.mean(values[:k]) for k in range(1, len(wrong) + 1)] for values in (kept, np.sort(wrong)))
    return np.mean(np.array(curve) - best) / np.mean(wrong)


def test_it_is_the_area_between_the_curves():
    rng = np.random.default_rng(0)
    wrong, uncertainty = rng.random(50) < 0.3, rng.random(50)
    assert sparsification_error(uncertainty, wrong) == pytest.approx(by_hand(uncertainty, wrong.astype(float)))
    assert sparsification_error(wrong + 0.1 * uncertainty, wrong) == 0
    assert sparsification_error(uncertainty - wrong, wrong) > 1


def test_ties_are_the_mean_over_their_orders():
    rng = np.random.default_rng(0)
    wrong, uncertainty = rng.random(12) < 0.4, rng.integers(0, 3, 12)
    drawn = [by_hand(uncertainty + 0.5 * rng.random(12), wrong.astype(float)) for _ in range(4000)]
    assert sparsification_error(uncertainty, wrong) == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 4000**0.5)
    constant = sparsification_error(np.zeros(1000), np.arange(1000) < 100)
    assert constant == pytest.approx(-0.9 * np.log(0.9) / 0.1, abs=0.001), "of a tenth, which is wrong"


def test_what_has_no_value():
    assert np.isnan(sparsification_error(np.arange(3.0), np.zeros(3)))
    assert np.isnan(sparsification_error(np.array([0.0, np.nan]), np.array([0, 1])))
    with pytest.raises(ValueError, match="uncertainties of"):
        sparsification_error(np.zeros(2), np.zeros(3))
