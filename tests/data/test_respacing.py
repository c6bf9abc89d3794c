"""Voxels brought to one size and back, and the shape of patches."""

import numpy as np
import pytest

from jaxgen.data.grid import Grid
from jaxgen.data.respacing import RespacedSource, patch_shape, spacing_of, to_shape, training_grid
from jaxgen.data.source import ArraySource
from jaxgen.errors import UserError

RNG = np.random.default_rng(0)


class Volumes:
    """Volumes of any sizes."""

    def __init__(self, *examples):
        self.examples, self.names = examples, [f"v{i}" for i in range(len(examples))]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return self.examples[i]


def volume(shape, spacing):
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 2
    return {"image": RNG.random((*shape, 1)).astype(np.float32), "mask": mask, "spacing": np.array(spacing)}


def test_volumes_are_brought_to_the_median_voxel_and_masks_stay_whole_numbers():
    source = Volumes(volume((8, 8, 4), (1, 1, 2)), volume((4, 8, 4), (2, 1, 2)), volume((8, 8, 8), (1, 1, 1)))
    spacing, largest = training_grid(source, "here")
    assert (spacing, largest) == ((1, 1, 2), (8, 8, 4))
    seen = RespacedSource(source, spacing)
    assert [seen[i]["image"].shape for i in range(3)] == [(8, 8, 4, 1)] * 3
    assert all(np.unique(seen[i]["mask"]).tolist() == [0, 2] for i in range(3))
    assert seen[1]["mask"][:4].all()
    assert seen[0]["image"] is source[0]["image"]
    raters = {**volume((4, 8, 4), (2, 1, 2)), "masks": np.ones((3, 4, 8, 4), np.uint8)}
    assert RespacedSource(Volumes(raters), spacing)[0]["masks"].shape == (3, 8, 8, 4)


def test_maps_go_back_to_the_grid_of_their_file():
    maps = RNG.random((2, 3, 8, 4, 6, 5))
    back = to_shape(maps, (4, 4, 12))
    assert back.shape == (2, 3, 4, 4, 12, 5)
    np.testing.assert_allclose(back.mean((2, 3, 4)), maps.mean((2, 3, 4)), atol=0.02)
    assert to_shape(maps, (8, 4, 6)) is maps


def test_a_grid_gives_the_image_that_the_network_sees():
    grid = Grid((8, 8, 4), 6, (0.0, 100.0), None, (1.0, 1.0, 2.0))
    image, spacing = grid.image(volume((4, 8, 4), (2, 1, 2)), "v")
    assert (image.shape, spacing, grid.overlap) == ((8, 8, 4, 1), (2, 1, 2), (4, 4, 2))
    assert len(grid.tiles(Volumes(volume((8, 8, 8), (1, 1, 1))))) == 1
    flat = ArraySource({"image": np.zeros((1, 9, 9, 1)), "mask": np.zeros((1, 9, 9))})
    assert Grid((8, 8), 99, (0.0, 100.0)).image(flat[0], "v")[1] == 1.0


@pytest.mark.parametrize(
    ("size", "spacing", "want"),
    [
        (32, (1, 1, 1), (32, 32, 32)),
        (32, (1, 1, 4), (32, 32, 8)),
        (96, (1, 1, 1), (40, 56, 40)),
        (32, (5, 1, 1), (8, 32, 32)),
    ],
)
def test_patches_have_like_extents_and_fit_into_the_volumes(size, spacing, want):
    assert patch_shape(size, spacing, (35, 51, 40), 8) == want


def test_what_has_no_patch_or_no_voxel_size():
    with pytest.raises(UserError, match="at most 35 x 51 x 40 voxels; use at most 40,56,40"):
        patch_shape((48, 48, 40), (1, 1, 1), (35, 51, 40), 8)
    assert patch_shape((40, 48, 40), (1, 1, 1), (35, 51, 40), 8) == (40, 48, 40)
    with pytest.raises(UserError, match=r"v7: does not say how large its voxels are; give millimetres .* --spacing"):
        spacing_of({}, "v7")
    with pytest.raises(UserError, match=r"v7: voxels of .* mm"):
        spacing_of({"spacing": np.array([1.0, 0.0, 1.0])}, "v7")
    assert spacing_of({}, "v7", (1.0, 1.0, 2.0)) == (1, 1, 2)
    assert spacing_of({"spacing": np.full(3, 4.0)}, "v7", (1.0, 1.0, 2.0)) == (4, 4, 4)  # what a file says holds
