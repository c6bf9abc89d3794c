"""What a model that diverged leaves, NaN or infinity, has no finite metric: NaN, or one clear error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import metrics
from jaxgen.metrics import segmentation
from jaxgen.metrics.energy import energy_distance

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 40, 4)).astype(np.float32)
IMAGES = RNG.random((4, 16, 16, 1)).astype(np.float32)
BAD = (np.nan, np.inf, -np.inf)


def spoiled(x, bad, index=(3,)):
    x = np.array(x)
    x[index] = bad
    return x


def numbers(value):
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(value)])


DISTANCES = {
    "frechet": metrics.frechet_distance,
    "frechet of few": lambda a, b: metrics.frechet_distance(a[:4], b[:4]),
    "kernel": lambda a, b: metrics.kernel_distance(a, b),
    "discrepancy": lambda a, b: metrics.maximum_mean_discrepancy(a, b, bandwidth=1.0),
    "classifier": lambda a, b: metrics.classifier_test(a, b, permutations=3),
    "authenticity": metrics.authenticity,
    "modes": lambda a, b: metrics.mode_coverage(a, [[0.0] * 4, [5.0] * 4], 1.0),
    "copying": lambda a, b: metrics.copying_test(a, b, C),
    "memorisation": lambda a, b: metrics.memorisation_ratio(a, b, C),
    "wasserstein": lambda a, b: metrics.sliced_wasserstein(jax.random.key(0), jnp.asarray(a), jnp.asarray(b)),
    "energy": lambda a, b: energy_distance(jnp.asarray(a), jnp.asarray(b)),
    "within class": lambda a, b: metrics.within_class_distance(a),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", list(DISTANCES))
def test_distances_of_sets(name, bad):
    assert np.isfinite(numbers(DISTANCES[name](A, B))).all()
    for index in ((3,), (3, 2)):
        try:
            found = DISTANCES[name](spoiled(A, bad, index), B)
        except ValueError as error:
            assert "NaN" in str(error)  # noqa: PT017
        else:
            count = numbers(found)
            assert not np.isfinite(count).any()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_likeness_of_images(metric, bad):
    found = np.asarray(metric(spoiled(IMAGES, bad, (1, 5, 5)), IMAGES[::-1], data_range=1.0))
    assert not np.isfinite(found[1])
    assert np.isfinite(found[[0, 2, 3]]).all()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("index", [(0,), (7,), slice(None)])
def test_calibration(bad, index):
    p, y = np.linspace(0, 1, 20).astype(np.float32), np.arange(20) % 2
    for function in (metrics.expected_calibration_error, metrics.brier_score):
        assert np.isfinite(function(p, y))
        assert not np.isfinite(function(spoiled(p, bad, index), y))
        assert np.isnan(function(p, spoiled(y.astype(np.float32), bad, index)))
    assert np.isnan(metrics.expected_calibration_error(spoiled(p, bad, index), y))
    assert np.isnan(metrics.reliability_curve(spoiled(p, bad, index), y).frequency).all()


@pytest.mark.parametrize("bad", BAD)
def test_intervals_of_samples(bad):
    samples, truth, where = RNG.normal(size=(5, 30)), RNG.normal(size=30), np.arange(30) != 4
    for function in (metrics.interval_coverage, metrics.interval_widening):
        want = function(samples, truth, where=where)
        assert np.isfinite(want)
        assert np.isnan(function(spoiled(samples, bad, (2, 3)), truth, where=where))
        assert np.isnan(function(samples, spoiled(truth, bad), where=where))
        assert function(spoiled(samples, bad, (2, 4)), truth, where=where) == want, "it does not count"
    assert np.isnan(metrics.interval_coverage(samples, truth, widening=float("nan")))


@pytest.mark.parametrize("bad", BAD)
def test_bootstrap_intervals(bad):
    for statistic in (np.mean, np.ptp, lambda x: np.mean(x) ** 2):
        assert not np.isfinite(numbers(metrics.bootstrap_interval(statistic, spoiled(A[:, 0], bad)))[1:]).any()
    assert np.isnan(metrics.jackknife_error(np.mean, spoiled(A[:, 0], bad)))


def test_masks():
    mask = np.array([[1.0, 0.0, 1.0], [1.0, np.nan, 0.0]])
    for function in (metrics.dice, metrics.iou):
        for pair in ((mask, mask[::-1]), (mask, np.ones_like(mask)), (np.ones_like(mask), mask)):
            found = np.asarray(function(*pair))
            assert np.isnan(found[1])
        assert np.isfinite(function(mask, np.ones_like(mask))[0])
        assert np.isnan(function(mask, np.ones_like(mask), pooled=True))
    for function in (segmentation.hausdorff95, segmentation.average_surface_distance):
        with pytest.raises(ValueError, match="NaN"):
            function(mask, np.ones_like(mask))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("function", [metrics.precision_recall, metrics.density_coverage])
def test_manifolds(function, bad):
    assert np.isfinite(function(A, B)).all()
    for index in ((3,), (3, 2), slice(None)):
        for pair in ((spoiled(A, bad, index), B), (A, spoiled(B, bad, index))):
            with pytest.raises(ValueError, match="NaN or infinity"):
                function(*pair)


MASKS = (RNG.random((3, 8, 8)) > 0.5).astype(np.float32)
OF_SETS = {
    "iou of pairs": lambda a, b: metrics.pairwise_iou(jnp.asarray(a), jnp.asarray(b))[:, 1],
    "energy": lambda a, b: metrics.generalized_energy_distance(a, b),
    "energy, unbiased": lambda a, b: metrics.generalized_energy_distance(a, b, unbiased=True),
    "energy, weighted": lambda a, b: metrics.generalized_energy_distance(a, b, reference_weights=np.ones(3) / 3),
    "best dice": metrics.maximum_dice_matching,
    "matched iou": metrics.matched_iou,
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", list(OF_SETS))
def test_sets_of_masks(name, bad):
    function, other = OF_SETS[name], MASKS[::-1].copy()
    assert np.isfinite(numbers(function(MASKS, other))).all()
    assert np.isnan(numbers(function(MASKS, spoiled(other, bad, (1, 2, 2))))).all()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("index", [(1, 2, 2), (1,)])
def test_masks_with_infinity(bad, index):
    mask = spoiled(MASKS, bad, index)
    for function in (metrics.dice, metrics.iou):
        assert np.isnan(function(mask, MASKS)).tolist() == [False, True, False]
        assert np.isnan(function(MASKS, mask, pooled=True))
    for distance in (
        segmentation.hausdorff95,
        segmentation.average_surface_distance,
        segmentation.component_count_error,
    ):
        with pytest.raises(ValueError, match="NaN or infinity"):
            distance(mask, MASKS)
    with pytest.raises(ValueError, match="NaN or infinity"):
        segmentation.surface_dice(MASKS, mask, 1.0)
