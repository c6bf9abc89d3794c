"""Editing of images: what is measured of the result, and the guide and the hole that it starts from."""

import types

import numpy as np
import pytest

from jaxgen.tasks import editing

RNG = np.random.default_rng(0)


def test_psnr_by_hand_and_where_pixels_count():
    truth = np.zeros((2, 4, 4, 1))
    x = truth + 0.2
    assert editing.psnr(x, truth) == pytest.approx(20)
    x[:, :2] = 0.02
    half = np.zeros((4, 4, 1))
    half[:2] = 1
    assert editing.psnr(x, truth, half) == pytest.approx(40)
    assert editing.psnr(truth + 5, truth + 1) == pytest.approx(10 * np.log10(4e10)), "values are cut to [-1, 1]"
    x[0, 0, 0] = np.nan
    assert np.isnan(editing.psnr(x, truth))


def test_the_hole_is_a_square_of_half_the_side():
    mask = editing.square_hole(32)
    assert mask.shape == (32, 32, 1)
    assert (mask == 0).sum() == 16 * 16
    assert (mask[4:20, 12:28] == 0).all()


def test_the_coarse_image_has_the_same_averages():
    x = RNG.normal(size=(2, 64, 64, 1))
    guide = editing.coarse(x)
    assert guide.shape == x.shape
    np.testing.assert_allclose(guide[1, 4:8, 8:12], x[1, 4:8, 8:12].mean())
    np.testing.assert_allclose(editing.coarse(guide), guide)


def test_realism_is_one_for_held_out_images_and_nan_for_what_diverged():
    extract = lambda x: x.reshape(len(x), -1)  # noqa: E731
    train, held_out = RNG.normal(size=(20, 4, 4, 1)), RNG.normal(size=(9, 4, 4, 1))
    real = types.SimpleNamespace(extract=extract, train_features=extract(train), held_out=held_out)
    realism = editing.realism_of(real)
    assert realism(held_out) == 1
    assert realism(train[:3]) < 1e-6
    assert np.isnan(realism(np.full((3, 4, 4, 1), np.inf)))
