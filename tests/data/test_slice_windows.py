import numpy as np
import pytest

from jaxgen.data import ArraySource
from jaxgen.data.slice_windows import SliceWindows

VOLUMES = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 6, 2), np.uint8)
SOURCE = ArraySource({"image": VOLUMES, "source": VOLUMES[..., :1], "mask": VOLUMES[..., 0]})


def test_every_window_is_there_once_and_lies_as_slices_do():
    windows = SliceWindows(SOURCE, 6, 4)
    assert len(windows) == len(windows.names) == len(set(windows.names)) == 9
    for i in range(9):
        volume, start = divmod(i, 3)
        example = windows[i]
        assert example["image"].shape == (4, 5, 4, 2)
        for z in range(4):
            np.testing.assert_array_equal(example["image"][z], VOLUMES[volume, :, :, start + z].swapaxes(0, 1))
            np.testing.assert_array_equal(example["mask"][z], VOLUMES[volume, :, :, start + z, 0].T)
    np.testing.assert_array_equal(windows[-1]["source"], windows[8]["source"])
    with pytest.raises(IndexError):
        windows[9]


def test_single_slices_and_whole_volumes():
    slices, whole = SliceWindows(SOURCE, 6), SliceWindows(SOURCE, 6, 6)
    assert (len(slices), len(whole)) == (18, 3)
    assert (slices.names[7], whole.names[1]) == ("1[1]", "1[0:6]")
    np.testing.assert_array_equal(slices[7]["image"], whole[1]["image"][1])
