"""Slices of volumes as examples: which slice is which, and what is held in memory."""

import numpy as np
import pytest

from jaxgen.data import plane_slices, resized
from jaxgen.data.plane_slices import PlaneSlices, require_slices
from jaxgen.data.source import ArraySource, Splits
from jaxgen.errors import UserError

RANGE = ((0.0,), (1.0,))


class Counting(ArraySource):
    """Volumes that count how often they are read."""

    reads = 0

    def __getitem__(self, i):
        self.reads += 1
        return super().__getitem__(i)


def volumes(n=2, shape=(4, 5, 6)):
    return Counting({"image": np.random.default_rng(0).random((n, *shape, 1))}, patients=["p", "q"][:n])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_examples_are_the_slices_across_the_axis(axis):
    source = volumes()
    slices = PlaneSlices(source, axis, (4, 5, 6), RANGE)
    whole = resized(source, (4, 5, 6), RANGE, dtype=np.uint8).arrays["image"]
    depth = (4, 5, 6)[axis]
    assert len(slices) == len(slices.names) == len(slices.patients) == 2 * depth
    for i in (0, depth - 1, depth, 2 * depth - 1):
        np.testing.assert_array_equal(slices[i]["image"], np.take(whole[i // depth], i % depth, axis))
    np.testing.assert_array_equal(slices[-1]["image"], slices[2 * depth - 1]["image"])
    assert slices.patients[depth - 1 : depth + 1] == ["p", "q"]
    assert slices.names[depth] == "1, slice 0"


def test_volumes_are_read_once_as_long_as_there_is_room(monkeypatch):
    source = volumes()
    slices = PlaneSlices(source, 0, (4, 5, 6), RANGE)
    assert source.reads == 0
    for i in (0, 4):
        slices[i]
    once = source.reads
    for i in range(8):
        slices[i]
    assert source.reads == once
    monkeypatch.setattr(plane_slices, "HELD_BYTES", 120)
    slices = PlaneSlices(source, 0, (4, 5, 6), RANGE)
    for i in range(8):
        slices[i]
    assert source.reads - once == once / 2 * (1 + 4), "there is room for one of the two"


def test_thin_volumes_are_refused():
    splits = Splits(volumes(), volumes(1), volumes(1, (4, 5, 2)))
    require_slices(splits, 2, "--data here")
    with pytest.raises(UserError, match=r"^--data here: 0 has 2 slices along z; at least 3 are needed$"):
        require_slices(splits, 3, "--data here")
