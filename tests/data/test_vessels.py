"""Volumes with structures one or two voxels thick."""

import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data import load
from jaxgen.data.phantoms import phantom_source, vessels3d

CUBE = np.ones((3, 3, 3), bool)


def thick(mask):
    """The share of a mask that a cube of three voxels fits round."""
    return ndimage.binary_erosion(mask, CUBE).sum() / mask.sum()


def test_what_is_marked_is_thin_and_what_is_not_is_as_bright():
    for i in range(8):
        example = vessels3d(0, i, 48)
        image, mask, balls = example["image"][..., 0], example["mask"] > 0, example["balls"] > 0
        assert not (mask & balls).any()
        assert thick(mask) < 0.01 < 0.1 < thick(balls)
        assert image[mask].mean() == pytest.approx(1, abs=0.05)
        assert image[balls].mean() == pytest.approx(1, abs=0.05)
        assert image[~mask & ~balls].mean() == pytest.approx(0, abs=0.05)
        long = [np.ptp(np.argwhere(labels == 1), axis=0).max() for labels in [ndimage.label(mask, CUBE)[0]]]
        assert max(long) >= 40, "vessels run through the volume in one piece"


def test_half_the_resolution_loses_thin_structures_and_keeps_balls():
    kept = {"mask": [], "balls": []}
    for i in range(8):
        example = vessels3d(1, i, 48)
        for name, found in kept.items():
            truth = example[name] > 0
            share = truth.reshape(24, 2, 24, 2, 24, 2).mean((1, 3, 5))
            again = np.kron(share >= 0.5, np.ones((2, 2, 2), bool))
            found.append(2 * (again & truth).sum() / (again.sum() + truth.sum()))
    assert np.mean(kept["mask"]) < 0.7
    assert np.mean(kept["balls"]) > 0.8


def test_it_is_data_and_refuses_images():
    splits = load("vessels3d_phantom/16x24x20", spatial=3, optional=("spacing",))
    example = splits.test[0]
    assert example["image"].shape == (16, 24, 20, 1)
    assert example["mask"].max() == 1
    assert (len(splits.train), len(splits.test)) == (96, 24)
    assert (
        phantom_source("vessels3d", 2, 0, 16)[0]["image"] != phantom_source("vessels3d", 2, 1, 16)[0]["image"]
    ).any()
    for size in (15, (16, 16)):
        with pytest.raises(ValueError, match="three axes of 16 voxels"):
            vessels3d(0, 0, size)
