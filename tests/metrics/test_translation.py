import numpy as np
import pytest

from jaxgen.metrics.noise_texture import (
    contrast_to_noise,
    false_structures,
    local_std_error,
    noise_power,
    noise_power_distance,
)
from jaxgen.metrics.translation import intensity_levels, lesion_contrast, nearest_level, patches, tissue_dice


def test_k_means_of_separate_intensities_are_their_means():
    rng = np.random.default_rng(0)
    groups = [rng.normal(m, 0.02, n) for m, n in ((-1, 500), (-0.3, 50), (0.2, 200), (0.9, 100))]
    np.testing.assert_allclose(intensity_levels(np.concatenate(groups)), [g.mean() for g in groups], atol=1e-9)


def test_tissues_told_by_levels():
    levels = np.array([-1.0, 0.0, 1.0])
    truth = np.array([[[-1.0, 0.0, 0.0, 1.0]]])
    assert tissue_dice(truth + 0.2, truth, levels) == 1
    found = np.array([[[-1.0, 0.0, 1.0, 1.0]]])  # of 0 one of two is right, of 1 one too many
    assert tissue_dice(found, truth, levels) == pytest.approx(2 / 3)
    assert nearest_level(found, levels).tolist() == [[[0, 1, 2, 2]]]


def test_the_contrast_of_a_lesion_is_what_was_added():
    x, mask = np.full((2, 20, 20), 0.3), np.zeros((2, 20, 20), bool)
    mask[0, 8:12, 8:12] = True
    found = lesion_contrast(x - 0.25 * mask, mask)
    np.testing.assert_allclose(found[0], -0.25)
    assert np.isnan(found[1])


def test_patches_leave_out_what_is_constant():
    x = np.zeros((1, 8, 9, 1))
    x[0, 5, 1] = 1
    assert patches(x, 4).shape == (1, 4, 4, 1)
    np.testing.assert_array_equal(patches(x, 4)[0], x[0, 4:8, :4])


def test_the_power_of_white_noise_is_its_variance_and_that_of_a_wave_at_its_frequency():
    rng = np.random.default_rng(0)
    white = 3 * rng.standard_normal((200, 32, 32))
    np.testing.assert_allclose(noise_power(white)[2:], 9, rtol=0.1)
    wave = np.cos(2 * np.pi * 5 / 32 * np.arange(32))[None, None] * np.ones((1, 32, 1))
    assert noise_power(wave).argmax() == 5
    assert noise_power_distance(2 * white, white) == pytest.approx(3)


def test_local_standard_deviations_and_contrast_to_noise():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 40, 40))
    assert local_std_error(0.25 * x, x) == pytest.approx(0.75)
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 18:22, 18:22] = True
    quiet, loud = (contrast_to_noise(s * x * ~mask + 3 * mask, mask) for s in (0.5, 1.0))
    assert quiet / loud == pytest.approx(2, rel=0.15)
    assert np.isnan(contrast_to_noise(x, 0 * mask))


def test_false_structures_are_what_is_as_large_as_a_lesion():
    noise = np.random.default_rng(2).standard_normal((4, 48, 48))
    lesion, pixel, shade = (np.zeros((4, 48, 48)) for _ in range(3))
    lesion[:, 22:27, 22:27], pixel[:, 24, 24], shade[:] = 1, 5, 1  # the first two have the same energy
    size = {name: false_structures(x, noise) for name, x in {"lesion": lesion, "pixel": pixel, "shade": shade}.items()}
    assert size["lesion"] > 5 * size["pixel"]
    assert size["shade"] == pytest.approx(0, abs=1e-12)
    assert false_structures(3 * noise, noise) == pytest.approx(9)
    some = lesion * np.array([1, 0, 0, 1])[:, None, None]
    assert false_structures(some, noise, some > 0) == 0
    assert np.isnan(false_structures(lesion, noise, lesion > 0))
