"""Volumes with one dented cell."""

import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.phantoms import dimpled3d
from jaxgen.data.phantoms.dimpled import THICK


def test_the_middle_slice_is_as_bright_as_the_cell_is_thick():
    examples = [dimpled3d(0, i, 32) for i in range(40)]
    seen = [example["mask"][:, :, 16] > 0 for example in examples]
    bright = [e["image"][:, :, 16, 0][inside].mean() for e, inside in zip(examples, seen, strict=True)]
    thick = [e["mask"].sum() / inside.sum() for e, inside in zip(examples, seen, strict=True)]
    assert np.corrcoef(bright, thick)[0, 1] > 0.95
    outlines = [inside.sum() for inside in seen]
    assert abs(np.corrcoef(outlines, thick)[0, 1]) < 0.5, "the outline says little of it"


def test_cells_are_in_one_piece_about_the_middle_and_dented():
    for i in range(20):
        mask = dimpled3d(1, i, 48)["mask"]
        heights = mask.sum(2)
        assert not mask[[0, -1]].any()
        assert not mask[:, :, [0, -1]].any()
        assert heights.max() <= THICK[1] * 48 + 1
        np.testing.assert_array_equal(np.abs(np.diff(mask.astype(int), axis=2)).sum(2), 2 * (heights > 0))
    dented = [dimpled3d(2, i, 48)["mask"].sum(2) for i in range(20)]
    assert np.mean([heights.max() > 1.2 * heights[22:26, 22:26].mean() for heights in dented]) > 0.3


def test_it_is_data_and_refuses_images():
    splits = load("cell3d_phantom/16x24x20", spatial=3, optional=("mask",))
    assert splits.test[0]["image"].shape == (16, 24, 20, 1)
    assert (len(splits.train), len(splits.test)) == (1000, 256)
    for size in (15, (16, 16)):
        with pytest.raises(ValueError, match="three axes of 16 voxels"):
            dimpled3d(0, 0, size)
