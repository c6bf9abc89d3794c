import numpy as np
import pytest

from jaxgen.metrics.precision_recall import density_coverage, precision_recall

RNG = np.random.default_rng(0)


def clusters(centres, n, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(c, 0.1, size=(n, 2)) for c in centres])


def test_dropped_modes_cost_recall_and_coverage_but_no_precision():
    real, samples = clusters([0, 10, 20, 30], 50, 1), clusters([0, 10], 100, 2)
    precision, recall = precision_recall(real, samples)
    density, coverage = density_coverage(real, samples)
    assert precision > 0.8
    assert recall == pytest.approx(0.5, abs=0.1)
    assert coverage == pytest.approx(0.5, abs=0.1)
    assert density > 0.8


def test_invented_modes_cost_precision_but_no_recall():
    real, samples = clusters([0, 10], 100, 1), clusters([0, 10, 20, 30], 50, 2)
    precision, recall = precision_recall(real, samples)
    assert precision == pytest.approx(0.5, abs=0.1)
    assert recall > 0.8


def test_against_loops():
    real, samples, k = RNG.normal(size=(30, 3)), RNG.normal(size=(20, 3)), 2
    reach = lambda x: [sorted(np.linalg.norm(x - p, axis=1))[k] for p in x]  # noqa: E731
    inside = lambda p, x, r: [np.linalg.norm(p - q) <= s for q, s in zip(x, r, strict=True)]  # noqa: E731
    in_real = np.array([inside(p, real, reach(real)) for p in samples])
    in_samples = np.array([inside(p, samples, reach(samples)) for p in real])
    assert precision_recall(real, samples, k) == (in_real.any(1).mean(), in_samples.any(1).mean())
    assert density_coverage(real, samples, k) == (in_real.sum() / (k * 20), in_real.any(0).mean())


LINE = np.arange(10.0)[:, None]
TIES = {
    "on the grid": (LINE, LINE[:5], 1),
    "a copy of the data": (RNG.normal(size=(40, 6)).astype(np.float32), None, 3),
    "two copies of the data": (np.repeat(RNG.normal(size=(20, 3)), 2, axis=0), None, 1),
    "one image drawn again and again": (np.ones((8, 4)), np.ones((6, 4)), 3),
    "whole numbers": (RNG.integers(0, 3, (50, 3)).astype(float), RNG.integers(0, 3, (40, 3)).astype(float), 3),
    "far away": (1e4 + RNG.integers(0, 3, (50, 3)) / 7, 1e4 + RNG.integers(0, 3, (40, 3)) / 7, 3),
}


@pytest.mark.parametrize("name", TIES)
def test_samples_at_the_radius_are_outside_for_density_and_inside_for_precision(name):
    """Naeem et al. count ``d < r``, Kynkaanniemi et al. ``d <= r``; by differences, exactly, where there are ties."""
    real, samples, k = TIES[name]
    samples = real if samples is None else samples
    a, b = (np.asarray(x, np.float64) for x in (real, samples))
    square = lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1)  # noqa: E731
    reach = lambda x: np.sort(square(x, x), 1)[:, k]  # noqa: E731
    near = 1e-9 * max(np.abs(square(a, b)).max(), 1)  # numbers such as 1/7 are equal but for rounding
    inside = square(a, b) < reach(a)[:, None] - near
    assert density_coverage(real, samples, k) == (inside.sum() / (k * len(b)), inside.any(1).mean())
    precision = (square(a, b) <= reach(a)[:, None] + near).any(0).mean()
    recall = (square(a, b) <= reach(b)[None] + near).any(1).mean()
    assert precision_recall(real, samples, k) == (precision, recall)


def test_ties_by_hand():
    assert density_coverage(LINE, LINE[:5], 1) == (1.0, 0.5)  # each sample lies in the ball of its own copy alone
    assert density_coverage(np.ones((8, 4)), np.ones((6, 4)), 3) == (0.0, 0.0)  # balls without extent hold nothing
    assert precision_recall(np.ones((8, 4)), np.ones((6, 4)), 3) == (1.0, 1.0)


def test_far_from_the_origin_and_in_several_blocks():
    real, samples = RNG.normal(size=(1500, 2)), RNG.normal(size=(1100, 2))
    near, far = (precision_recall(real + c, samples + c) for c in (0, 1e5))
    assert near == far


def test_too_few_examples():
    with pytest.raises(ValueError, match="3 examples have no 3 neighbours"):
        precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))


def test_equal_laws_have_the_expected_density_and_coverage():
    """Density 1; coverage 1 - (n - 1) ... (n - k) / ((n + m - 1) ... (n + m - k)), lemma 2 of Naeem et al."""
    n, m, k = 60, 40, 3
    found = [density_coverage(*np.split(np.random.default_rng(i).normal(size=(n + m, 4)), [n]), k) for i in range(200)]
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(200)
    coverage = 1 - np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
    assert abs(mean[0] - 1) < 4 * error[0]
    assert abs(mean[1] - coverage) < 4 * error[1]
