import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.medical.anomaly import detection, dice_threshold, evaluate_detection, healthy_threshold
from jaxgen.metrics import auroc, average_precision


def cases(n=12, side=16, noise=1.0, seed=0):
    """Discs of lesion that score higher, one a case; the last case is healthy."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(4, side - 4, (n, 2, 1, 1))
    mask = np.square(np.indices((side, side))[None] - centre).sum(1) < 9
    mask[-1] = False
    return 2 * mask + noise * rng.normal(size=mask.shape), mask


def test_every_number_of_a_table_is_what_it_says():
    score, mask = cases()
    found = evaluate_detection(score, mask, threshold=1.5)
    pairs = [(jnp.asarray(s, jnp.float32), jnp.asarray(m)) for s, m in zip(score, mask, strict=True)]
    whole = jnp.asarray(score, jnp.float32), jnp.asarray(mask)
    assert found.average_precision == pytest.approx(float(average_precision(*whole)), abs=1e-6)
    assert found.auroc == pytest.approx(float(auroc(*whole)), abs=1e-6)
    by_case = [float(average_precision(*pair)) for pair in pairs[:-1]]
    assert found.average_precision_case == pytest.approx(np.mean(by_case), abs=1e-6)
    above = score >= 1.5
    assert found.dice == pytest.approx(2 * (above & mask).sum() / (above.sum() + mask.sum()))
    dices = [2 * (a & m).sum() / (a.sum() + m.sum()) for a, m in zip(above[:-1], mask[:-1], strict=True)]
    assert found.dice_case == pytest.approx(np.mean(dices))
    assert found.best_dice >= found.dice
    assert np.isnan(evaluate_detection(score, mask).dice)


def test_counts_by_case_hold_all_pixels_and_give_average_precision():
    score, mask = cases()
    counts = detection.case_counts(score, mask)
    np.testing.assert_array_equal(counts.lesion.sum(1), mask.sum((1, 2)))
    np.testing.assert_array_equal(counts.healthy.sum(1), (~mask).sum((1, 2)))
    exact = evaluate_detection(score, mask).average_precision
    assert detection.average_precision_interval(counts, resamples=2).value == pytest.approx(exact, abs=1e-6)
    coarse = detection.average_precision_interval(detection.case_counts(score, mask, levels=64), resamples=2).value
    assert abs(coarse - exact) < 1 / 64
    # A resample is the cases named, each as often as it is named.
    drawn = np.array([0, 0, 3, 5, 5, 5])
    again = evaluate_detection(score[drawn], mask[drawn]).average_precision
    assert detection._average_precision(counts, drawn) == pytest.approx(again, abs=1e-6)
    with pytest.raises(ValueError, match="nothing to find"):
        detection.case_counts(score, np.zeros_like(mask))
    with pytest.raises(ValueError, match="masks of"):
        evaluate_detection(score, mask[:3])


def test_intervals_are_over_cases_and_pairs_are_kept():
    score, mask = cases(n=40)
    counts = detection.case_counts(score, mask)
    interval = detection.average_precision_interval(counts)
    assert interval.low < interval.value < interval.high
    twice = detection.case_counts(np.concatenate([score] * 4), np.concatenate([mask] * 4))
    narrow = detection.average_precision_interval(twice)
    assert narrow.high - narrow.low == pytest.approx((interval.high - interval.low) / 2, rel=0.25)
    # The same noise for both: the difference is far surer than either alone.
    worse = detection.case_counts(score - 0.3 * mask, mask)
    gain = detection.average_precision_gain(counts, worse)
    assert gain.low > 0
    with pytest.raises(ValueError, match="same ones"):
        detection.average_precision_gain(counts, twice)
    assert gain.high - gain.low < 0.5 * (interval.high - interval.low)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0,), (0, 3, 3), (-1,), (-1, 0, 0)])
def test_a_map_that_is_no_number_has_no_metric(bad, where):
    """A whole map or one pixel, of an ill case or of the healthy one."""
    score, mask = cases()
    score[where] = bad
    found = evaluate_detection(score, mask, threshold=0.5)
    assert np.isnan(found).all()
    assert np.isnan(dice_threshold(score, mask)).all()
    counts = detection.case_counts(score, mask)
    assert np.isnan(detection.average_precision_interval(counts, resamples=3)).all()
    good = detection.case_counts(*cases())
    assert np.isnan(detection.average_precision_gain(counts, good, resamples=3)).all()
    assert np.isnan(detection.average_precision_gain(good, counts, resamples=3)).all()
    assert np.isnan(healthy_threshold(score, np.ones_like(mask)))


@pytest.mark.parametrize(
    "squeeze",
    [
        lambda s: 1 + 1e-12 * s,
        lambda s: np.float32(1e-42) * np.round(100 * (s + 10)).astype(np.float32),
        lambda s: 1e290 * s,
    ],
)
def test_maps_are_ranked_in_their_own_precision(squeeze):
    score, mask = cases()
    score = np.round(100 * score) / 100
    near = squeeze(score)
    np.testing.assert_allclose(evaluate_detection(near, mask), evaluate_detection(score, mask), rtol=1e-6)
    counts, squeezed = detection.case_counts(score, mask), detection.case_counts(near, mask)
    np.testing.assert_array_equal(counts.lesion, squeezed.lesion)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, jnp.bfloat16, bool])
def test_maps_of_any_type(dtype):
    score, mask = cases()
    score = np.clip(np.round(20 * (score + 3)), 0, 255)
    score = (score > 80 if dtype is bool else score).astype(dtype)
    want = evaluate_detection(score.astype(np.float64), mask, threshold=0.5)
    np.testing.assert_allclose(evaluate_detection(score, mask, threshold=0.5), want, rtol=1e-6)
