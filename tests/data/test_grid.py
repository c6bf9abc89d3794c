import numpy as np

from jaxgen.data.grid import Grid
from jaxgen.data.source import ArraySource

RNG = np.random.default_rng(0)


def test_tiles_and_whole_images_know_the_same_places():
    images, masks = RNG.random((2, 12, 8, 1)).astype(np.float32), RNG.random((2, 12, 8)) > 0.5
    grid = Grid((4, 4), 0, (0.0, 100.0), coordinates=True)
    tiles = grid.tiles(ArraySource({"image": images, "mask": masks}), target="binary")
    whole, _ = grid.image({"image": images[1]}, "b")
    assert whole.shape == (12, 8, 3)
    np.testing.assert_allclose(whole[:, 0, 1], np.linspace(-1, 1, 12), atol=1e-6)
    np.testing.assert_allclose(whole[0, :, 2], np.linspace(-1, 1, 8), atol=1e-6)
    assert len(tiles) == 12
    corners = [(r, c) for r in (0, 4, 8) for c in (0, 4)]
    for i, (row, column) in enumerate(corners, 6):
        found = tiles[i]["image"].astype(np.float32)
        np.testing.assert_allclose(
            found, whole[row : row + 4, column : column + 4], atol=2e-3
        )  # held in half precision


def test_places_of_volumes_are_those_after_their_voxels_were_made_alike():
    volume = {"image": RNG.random((6, 4, 4, 1)).astype(np.float32), "spacing": np.array([2.0, 1.0, 1.0])}
    grid = Grid((4, 4, 4), 0, (0.0, 100.0), spacing=(1.0, 1.0, 1.0), coordinates=True)
    seen, spacing = grid.image(volume, "a")
    assert seen.shape == (12, 4, 4, 4)
    np.testing.assert_allclose(seen[:, 0, 0, 1], np.linspace(-1, 1, 12), atol=1e-6)
    assert tuple(spacing) == (2.0, 1.0, 1.0)
