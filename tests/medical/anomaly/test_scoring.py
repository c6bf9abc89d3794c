import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.losses.perceptual import perceptual_distance
from jaxgen.medical.anomaly import scoring

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 3, 8, 8, 2)).astype(np.float32)


def test_residuals_are_the_same_in_numpy_and_jax():
    for residual, power in ((scoring.absolute_residual, 1), (scoring.squared_residual, 2)):
        want = np.mean(np.abs(X.astype(float) - Y) ** power, -1)
        np.testing.assert_allclose(residual(X, Y), want, rtol=1e-5)
        np.testing.assert_allclose(residual(jnp.asarray(X), jnp.asarray(Y)), want, rtol=1e-5)


def test_the_perceptual_map_averages_to_the_perceptual_distance():
    # Layers of the image's own size, and of half of it: linear enlargement by 2 keeps the mean but for the border.
    whole, pooled = (lambda x: (x,)), (lambda x: (x.reshape(-1, 4, 2, 4, 2, 2).mean((2, 4)),))
    for layers, tolerance in ((whole, 1e-5), (pooled, 0.15)):
        found = scoring.perceptual_residual(layers, jnp.asarray(X), jnp.asarray(Y))
        assert found.shape == (3, 8, 8)
        want = perceptual_distance(layers, jnp.asarray(X), jnp.asarray(Y))
        np.testing.assert_allclose(found.mean((1, 2)), want, rtol=tolerance)


def test_the_median_is_that_of_each_window():
    score = RNG.normal(size=(2, 6, 7))
    found = scoring.median_filter(score, 3)
    padded = np.pad(score, ((0, 0), (1, 1), (1, 1)), "symmetric")
    for i in range(6):
        for j in range(7):
            np.testing.assert_array_equal(found[:, i, j], np.median(padded[:, i : i + 3, j : j + 3], (1, 2)))
    volume = RNG.normal(size=(1, 4, 4, 4))
    assert scoring.median_filter(volume, 3)[0, 1, 2, 1] == np.median(volume[0, :3, 1:, :3])
    with pytest.raises(ValueError, match="odd"):
        scoring.median_filter(score, 4)


def test_erosion_takes_layers_off_and_leaves_each_example_alone():
    disc = (np.square(np.indices((21, 21)) - 10).sum(0) < 64)[None].repeat(2, 0)
    disc[1] = False
    once, twice = scoring.erode(disc), scoring.erode(disc, 2)
    assert (once <= disc).all()
    distance = ndimage.distance_transform_cdt(disc[0], "taxicab")
    np.testing.assert_array_equal(once[0], distance > 1)
    np.testing.assert_array_equal(twice[0], distance > 2)
    assert not once[1].any()
    np.testing.assert_array_equal(scoring.erode(disc, 0), disc)


def test_a_clean_map_is_nothing_outside():
    score, within = RNG.uniform(size=(2, 9, 9)), RNG.uniform(size=(2, 9, 9)) < 0.5
    found = scoring.clean(score, within)
    assert (found[~within] == 0).all()
    np.testing.assert_array_equal(found[within], scoring.median_filter(score)[within])


def test_a_healthy_threshold_is_exceeded_by_the_share_asked_for():
    score, within = RNG.normal(size=(5, 40, 40)), RNG.uniform(size=(5, 40, 40)) < 0.5
    threshold = scoring.healthy_threshold(score, within, rate=0.1)
    assert abs((score[within] > threshold).mean() - 0.1) < 1 / within.sum()
    with pytest.raises(ValueError, match="foreground"):
        scoring.healthy_threshold(score, np.zeros_like(within))


@pytest.mark.parametrize("ties", [False, True])
def test_the_dice_threshold_is_the_best_of_all(ties):
    score, mask = RNG.normal(size=(3, 5, 5)), RNG.uniform(size=(3, 5, 5)) < 0.3
    score = np.round(score) if ties else score

    def dice(threshold):
        above = score >= threshold
        return 2 * (mask & above).sum() / (mask.sum() + above.sum())

    threshold, best = scoring.dice_threshold(score, mask)
    assert best == pytest.approx(max(dice(t) for t in score.ravel()))
    assert best == pytest.approx(dice(threshold))


def test_small_components_go():
    mask = np.zeros((2, 6, 6), int)
    mask[0, :2, :2] = 1
    mask[0, 4, 4] = 1
    mask[1, 0, 0] = mask[1, 1, 1] = 1  # two that share a corner
    kept = scoring.remove_small(mask, 2)
    assert kept[0].sum() == 4
    assert not kept[0, 4, 4]
    assert not kept[1].any()
    assert scoring.remove_small(mask, 2, connectivity=2)[1].sum() == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_cleaned_away(bad):
    """A median would pass over one pixel, and a model that diverged would have a clean map."""
    score, within = np.ones((2, 8, 8)), np.ones((2, 8, 8))
    score[0, 4, 4] = bad
    found = scoring.clean(score, within)
    assert np.isnan(found[0, 3:6, 3:6]).all()
    assert np.isfinite(found[0]).sum() == 64 - 9
    assert (found[1] == 1).all(), "other images are as they were"
    assert np.isnan(scoring.clean(score, within, width=1)[0, 4, 4])
    assert np.isnan(scoring.clean(np.full((1, 4, 4), bad), np.zeros((1, 4, 4)))).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("residual", [scoring.absolute_residual, scoring.brighter_residual, scoring.squared_residual])
def test_a_restored_image_that_is_no_number_is_not_healthy(bad, residual):
    x, restored = np.zeros((1, 2, 1)), np.array([[[0.0], [bad]]])
    for one, other in ((x, restored), (restored, x)):
        found = residual(one, other)[0]
        assert found[0] == 0
        assert not np.isfinite(found[1])
