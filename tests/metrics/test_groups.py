"""Metrics by group, against values by hand."""

import numpy as np

from jaxgen.metrics import auroc, by_group, f1_scores, worst_and_gap


def test_the_score_of_a_group_is_that_of_its_examples_alone():
    rng = np.random.default_rng(0)
    group, score, truth = rng.integers(0, 3, 200), rng.normal(size=200), rng.integers(0, 2, 200)
    found = by_group(lambda s, y: float(auroc(s, y)), group, score, truth)
    for one, value in found.items():
        positive, negative = score[(group == one) & (truth == 1)], score[(group == one) & (truth == 0)]
        np.testing.assert_allclose(value, np.mean(positive[:, None] > negative), rtol=1e-5)


def test_the_gap_is_that_of_the_best_and_the_worst():
    assert worst_and_gap({0: 0.5, 3: 0.875, 4: 0.75}) == (0.5, 0.375)
    assert np.isnan(worst_and_gap({0: 0.5, 1: float("nan")})).all()


def test_f1_by_hand():
    predicted = [[1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1]]
    truth = [[1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_allclose(f1_scores(predicted, truth), [4 / 5, 0, 0])
