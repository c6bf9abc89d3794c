"""Every score against its definition, written out with loops over pixels."""

import itertools
import math

import numpy as np
import pytest

from jaxgen.medical.segmentation import scores

RNG = np.random.default_rng(0)
SIZES = [(7, 9), (8, 8), (12, 5)]
TRUTHS = [RNG.random(s) < 0.4 for s in SIZES]
MASKS = [RNG.random(s) < 0.5 for s in SIZES]


def surface(mask):
    """Pixels with a face neighbour outside, or at the frame."""
    padded = np.pad(mask, 1)
    return [
        p for p in np.argwhere(mask) if not all(padded[tuple(p + 1 + d)] for d in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    ]


def distances(a, b):
    return [min(math.dist(p, q) for q in surface(b)) for p in surface(a)]


def components(mask):
    left = {tuple(p) for p in np.argwhere(mask).tolist()}
    count = 0
    while left:
        count, front = count + 1, [left.pop()]
        while front:
            i, j = front.pop()
            for q in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if q in left:
                    left.remove(q)
                    front.append(q)
    return count


def test_masks():
    got = scores.score_masks(MASKS, TRUTHS)
    pairs = list(zip(MASKS, TRUTHS, strict=True))
    both, sizes = [(a & b).sum() for a, b in pairs], [a.sum() + b.sum() for a, b in pairs]
    sided = [(distances(a, b), distances(b, a)) for a, b in pairs]
    want = {
        "dice": np.mean([2 * k / n for k, n in zip(both, sizes, strict=True)]),
        "dice_pooled": 2 * sum(both) / sum(sizes),
        "iou": np.mean([k / (n - k) for k, n in zip(both, sizes, strict=True)]),
        "hausdorff95": np.mean([max(np.percentile(x, 95), np.percentile(y, 95)) for x, y in sided]),
        "surface_distance": np.mean([np.mean(x + y) for x, y in sided]),
        "component_error": np.mean([abs(components(a) - components(b)) for a, b in pairs]),
        "missed": 0,
        "false_alarms": 0,
    }
    assert got == pytest.approx(want, rel=1e-5)


def test_empty_masks():
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    both = scores.score_masks([empty], [empty])
    assert (both["dice"], both["dice_pooled"], both["iou"], both["component_error"]) == (1, 1, 1, 0)
    assert math.isnan(both["hausdorff95"])
    mixed = scores.score_masks([empty, full], [full, full])
    assert (mixed["dice"], mixed["hausdorff95"], mixed["component_error"]) == (0.5, pytest.approx(32**0.5 / 2), 0.5)
    assert (mixed["missed"], mixed["false_alarms"]) == (1, 0)


def disc(row, column, radius, side=40):
    return np.hypot(*(np.indices((side, side)) - np.array([row, column]).reshape(2, 1, 1))) <= radius


DISCS = [disc(20, 20, 8), disc(12, 25, 6), disc(28, 14, 3)]


@pytest.mark.parametrize("metric", ["hausdorff95", "surface_distance"])
@pytest.mark.parametrize("near", [disc(30, 16, 3), disc(0, 39, 1), disc(39, 39, 0)])
def test_a_missed_object_is_worse_than_one_found_badly(metric, near):
    found = scores.score_masks([*DISCS[:2], near], DISCS)
    missed = scores.score_masks([*DISCS[:2], np.zeros((40, 40), bool)], DISCS)
    assert missed[metric] > found[metric]
    assert missed[metric] == pytest.approx(np.hypot(40, 40) / 3)
    assert (found["missed"], missed["missed"]) == (0, 1)


def test_a_false_alarm_is_worse_than_an_empty_mask():
    empty = np.zeros((40, 40), bool)
    right = scores.score_masks([*DISCS[:2], empty], [*DISCS[:2], empty])
    wrong = scores.score_masks([*DISCS[:2], DISCS[2]], [*DISCS[:2], empty])
    assert (right["hausdorff95"], right["missed"], right["false_alarms"]) == (0, 0, 0)
    assert wrong["hausdorff95"] == pytest.approx(np.hypot(40, 40) / 3)
    assert (wrong["missed"], wrong["false_alarms"]) == (0, 1)


def test_the_penalty_of_a_volume_is_in_millimetres_and_of_each_image_s_own_size():
    volume = np.zeros((10, 20, 30), bool)
    volume[4:6, 4:6, 4:6] = True
    moved = np.roll(volume, 1, 0)
    spacing = (5.0, 1.0, 0.5)
    found = scores.score_masks([volume], [moved], spacing=spacing)
    assert found["hausdorff95"] == pytest.approx(5.0)
    lost = scores.score_masks([0 * volume > 0, 0 * volume[2:8] > 0], [volume, volume[2:8]], spacing=spacing)
    diagonals = [np.linalg.norm([50, 20, 15]), np.linalg.norm([30, 20, 15])]
    assert lost["hausdorff95"] == lost["surface_distance"] == pytest.approx(np.mean(diagonals))
    assert lost["missed"] == 2


def test_maps_that_are_no_numbers_have_no_error():
    bad = np.full((6, 6), 0.1)
    bad[0, 0] = np.nan
    assert math.isnan(scores.eikonal_error([np.full((6, 6), 0.1), bad], 5.0))
    assert math.isnan(scores.score_uncertainty([bad], [bad > 0], [bad > 1]))
    assert math.isnan(scores.score_probability([bad], [bad > 1])["ece"])
    assert math.isnan(scores.score_probability([bad], [bad > 1])["brier"])
    assert math.isnan(scores.score_cases([0.1, np.inf, 0.3], [0.9, 0.8, 0.7]))


def test_uncertainties_are_ranked_in_double_precision():
    near = 0.5 + np.array([[1e-12, 2e-12, 0.0, 3e-12]])
    masks, truths = [np.array([[True, True, False, True]])], [np.array([[False, True, False, False]])]
    assert scores.score_uncertainty([near], masks, truths) == 0.75


def test_uncertainty_is_the_share_of_pairs_in_order():
    uncertainty = [RNG.integers(0, 6, s) / 5 for s in SIZES]  # with ties
    score = np.concatenate([u.ravel() for u in uncertainty])
    wrong = np.concatenate([(a != b).ravel() for a, b in zip(MASKS, TRUTHS, strict=True)])
    pairs = [(x > y) + 0.5 * (x == y) for x, y in itertools.product(score[wrong], score[~wrong])]
    assert scores.score_uncertainty(uncertainty, MASKS, TRUTHS) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert math.isnan(scores.score_uncertainty(uncertainty, TRUTHS, TRUTHS))


def test_probability():
    probability = [RNG.random(s) for s in SIZES]
    p, y = (np.concatenate([x.ravel() for x in a]) for a in (probability, TRUTHS))
    error = 0.0
    for k in range(15):
        inside = (p >= k / 15) & (p < (k + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(y[inside].mean() - p[inside].mean())
    want = {"ece": error, "brier": np.mean((p - y) ** 2)}
    assert scores.score_probability(probability, TRUTHS) == pytest.approx(want, rel=1e-4)


def test_cases():
    u, d = [0.3, 0.1, 0.7, 0.2], [0.8, 0.9, 0.3, 0.95]
    x, y = np.array(u) - np.mean(u), (1 - np.array(d)) - np.mean(1 - np.array(d))
    assert scores.score_cases(u, d) == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))
    assert math.isnan(scores.score_cases([0.1, 0.1], [0.3, 0.4]))
    assert math.isnan(scores.score_cases([0.1], [0.3]))


def test_eikonal_error():
    maps = [RNG.uniform(-1, 1, s) for s in SIZES]
    errors = []
    for d in maps:
        norm = np.hypot(*np.gradient(15 * d))
        errors += np.abs(norm - 1)[np.abs(d) < 0.9].tolist()
    assert scores.eikonal_error(maps, 15.0) == pytest.approx(np.mean(errors), rel=1e-4)
    i, j = np.mgrid[:40, :40]
    cone = np.clip((np.hypot(i + 50, j + 50) - 100) / 30, -1, 1)  # a circle's distances, far from its centre
    assert scores.eikonal_error([cone], 30.0) < 1e-3
    assert math.isnan(scores.eikonal_error([np.ones((4, 4))], 15.0))


def test_readers():
    samples = [RNG.random((3, *s)) < 0.5 for s in SIZES]
    readers = [RNG.random((2, *s)) < 0.5 for s in SIZES]

    def mean_distance(a, b):
        return np.mean([1 - (x & y).sum() / (x | y).sum() for x, y in itertools.product(a, b)])

    want = [
        2 * mean_distance(s, r) - mean_distance(s, s) - mean_distance(r, r)
        for s, r in zip(samples, readers, strict=True)
    ]
    assert scores.score_raters(samples, readers) == pytest.approx(np.mean(want), rel=1e-4)
