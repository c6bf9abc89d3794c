"""Tiles of images and maps of their masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data.segmentation import SegmentationTiles, augment_tiles, masks_of, scale_image
from jaxgen.data.source import ArraySource
from jaxgen.errors import UserError
from jaxgen.imaging.tiles import tiling


class Listed:
    """Examples of any sizes."""

    def __init__(self, examples):
        self.examples, self.names = examples, [f"case {i}" for i in range(len(examples))]

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return self.examples[i]


def blobs(rng, shape):
    """Random objects, many of them cut by the frame."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(1, 4))
    return field > np.quantile(field, rng.uniform(0.3, 0.98))


def truncated_distance(mask, delta, convention):
    """The definition, for one mask, by SciPy."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, -1.0 if mask.all() else 1.0)
    if convention == "symmetric":
        inside, outside = (ndimage.distance_transform_edt(m) - 0.5 for m in (mask, ~mask))
    else:
        surface = mask & ~ndimage.binary_erosion(mask, border_value=1)
        inside = outside = ndimage.distance_transform_edt(~surface)
    return np.clip(np.where(mask, -inside, outside) / delta, -1, 1)


@pytest.mark.parametrize("convention", ["boundary_zero", "symmetric"])
def test_a_tile_has_the_distances_of_the_whole_image(convention):
    """However it is cut, also where objects end at the frame and where the image is smaller than the tile."""
    rng, size, delta = np.random.default_rng(0), 12, 4.5
    examples = []
    for k in range(40):
        shape = (*rng.integers(3, 45, 2),)
        mask = blobs(rng, shape) if k > 1 else np.full(shape, k == 1)
        examples.append({"image": rng.integers(0, 255, (*shape, 1), np.uint8), "mask": mask.astype(np.uint8)})
    tiles = SegmentationTiles(
        Listed(examples), size, percentiles=(0, 100), truncate=delta, convention=convention, overlap=3
    )
    count = 0
    for number, example in enumerate(examples):
        mask = example["mask"] > 0
        padded = np.pad(mask, [(0, max(size - n, 0)) for n in mask.shape], mode="edge")
        whole = truncated_distance(padded, delta, convention)
        inside = truncated_distance(mask, delta, convention)
        np.testing.assert_allclose(whole[: mask.shape[0], : mask.shape[1]], inside, atol=1e-6)
        for a, b in tiling(mask.shape, size, 3).starts:
            tile = tiles[count]
            assert tile["distance"].dtype == tile["image"].dtype == np.float16
            np.testing.assert_allclose(tile["distance"][..., 0, 0], whole[a : a + size, b : b + size], atol=6e-4)
            np.testing.assert_array_equal(tile["distance"][..., 0, 0] <= 0, padded[a : a + size, b : b + size])
            assert tiles.names[count] == f"case {number}"
            count += 1
    assert count == len(tiles) > 100


def test_images_are_scaled_whole_and_then_cut():
    image = np.random.default_rng(0).integers(0, 4000, (20, 9, 2)).astype(np.uint16)
    tiles = SegmentationTiles(Listed([{"image": image, "mask": np.zeros((20, 9))}]), 8, percentiles=(1, 99))
    low, high = np.percentile(image.reshape(-1, 2), [1, 99], axis=0)
    want = np.clip(2 * (image - low) / (high - low) - 1, -1, 1)
    np.testing.assert_allclose(tiles[1]["image"], want[:8, 1:9], atol=1e-3)
    given = SegmentationTiles(
        Listed([{"image": image, "mask": np.zeros((20, 9))}]),
        8,
        percentiles=(1, 99),
        value_range=([0, 0], [4000, 2000]),
    )
    want = np.clip(image / [2000, 1000] - 1, -1, 1)
    np.testing.assert_allclose(given[0]["image"], want[:8, :8], atol=1e-3)
    assert not scale_image(np.full((3, 3, 1), 7), (0, 100)).any()


def test_readers_come_last_and_the_binary_target():
    rng = np.random.default_rng(1)
    masks = np.stack([blobs(rng, (10, 14)) for _ in range(3)])
    source = ArraySource({"image": np.zeros((1, 10, 14, 1), np.uint8), "masks": masks[None] * 5})
    np.testing.assert_array_equal(masks_of(source[0])[..., 0], masks)
    tiles = {
        target: SegmentationTiles(source, 8, percentiles=(0, 100), truncate=3, target=target)[3]["distance"]
        for target in ("distance", "binary")
    }
    for k in range(3):
        whole = truncated_distance(masks[k], 3, "boundary_zero")
        np.testing.assert_allclose(tiles["distance"][..., k, 0], whole[2:, 6:], atol=6e-4)
        np.testing.assert_array_equal(tiles["binary"][..., k, 0], np.where(masks[k], -1, 1)[2:, 6:])


@pytest.mark.parametrize(("channels", "raters", "says"), [(3, 1, "3 channels and 1 masks"), (1, 2, "1 channels and 2")])
def test_images_that_are_not_alike_are_refused(channels, raters, says):
    examples = [
        {"image": np.zeros((8, 8, c), np.uint8), "masks": np.zeros((r, 8, 8))}
        for c, r in ((1, 1), (1, 1), (channels, raters))
    ]
    with pytest.raises(UserError, match=f"case 2: has {says}.*but case 0 has 1 and 1"):
        SegmentationTiles(Listed(examples), 8, percentiles=(0, 100))


def test_augmentation_keeps_images_and_distances_together_and_picks_any_rater():
    image = np.random.default_rng(0).random((64, 6, 6, 1)).astype(np.float16)
    distance = np.concatenate([image + k for k in range(3)], axis=-1)
    keys = jax.random.split(jax.random.key(0), 64)
    out = augment_tiles(keys, {"image": image, "distance": distance[..., None]})
    assert out["image"].dtype == jnp.float32
    assert out["distance"].shape == (64, 6, 6, 1)
    rater = np.asarray(out["distance"] - out["image"]).reshape(64, -1)
    np.testing.assert_allclose(rater, np.round(rater[:, :1]) + 0 * rater, atol=2e-3)
    assert set(np.round(rater[:, 0])) == {0, 1, 2}
    moved = np.abs(np.asarray(out["image"]) - image).reshape(64, -1).max(axis=1) > 1e-3
    assert 0.7 < moved.mean() < 1  # 7 of the 8 symmetries of a square move it


def test_tiles_of_images_alone():
    source = ArraySource(
        {"image": np.random.default_rng(0).random((2, 8, 8, 1)), "mask": np.zeros((2, 8, 8), np.uint8)}
    )
    tiles = SegmentationTiles(source, 4, percentiles=(0, 100), target=None)
    whole = SegmentationTiles(source, 4, percentiles=(0, 100), target="binary")
    assert len(tiles) == len(whole) == 8
    assert set(tiles[3]) == {"image"}
    np.testing.assert_array_equal(tiles[3]["image"], whole[3]["image"])
    batch = {"image": jnp.asarray(np.stack([tiles[i]["image"] for i in (0, 1)]))}
    keys = jax.random.split(jax.random.key(0), 2)
    turned = augment_tiles(keys, batch)
    both = augment_tiles(keys, batch | {"distance": jnp.zeros((2, 4, 4, 1, 1))})
    assert set(turned) == {"image"}
    np.testing.assert_array_equal(turned["image"], both["image"])


def test_volumes_of_several_classes_have_a_distance_each_in_units_of_the_finest_side():
    rng, spacing = np.random.default_rng(2), (1.0, 1.0, 2.5)
    numbers = np.zeros((10, 9, 7), np.uint8)
    for k in (1, 2):
        numbers[blobs(rng, numbers.shape) & (numbers == 0)] = k
    example = {"image": rng.random((10, 9, 7, 2)), "mask": numbers, "spacing": np.multiply(0.4, spacing)}
    tiles = SegmentationTiles(Listed([example]), (8, 8, 4), percentiles=(0, 100), truncate=3, classes=2)
    assert len(tiles) == 8
    assert tiles[7]["image"].shape == (8, 8, 4, 2)
    for k in (1, 2):
        mask = numbers == k
        surface = mask & ~ndimage.binary_erosion(mask, border_value=1)
        far = ndimage.distance_transform_edt(~surface, sampling=spacing)
        want = np.clip(np.where(mask, -far, far) / 3, -1, 1)
        np.testing.assert_allclose(tiles[7]["distance"][..., 0, k - 1], want[2:, 1:, 3:], atol=6e-4)


def test_volumes_are_turned_in_a_plane_of_equal_sides_and_mirrored_only_if_asked():
    batch = {"image": np.random.default_rng(0).random((32, 4, 6, 6, 1)), "distance": np.zeros((32, 4, 6, 6, 2, 3))}
    keys = jax.random.split(jax.random.key(0), 32)
    still = augment_tiles(keys, batch, flips=False, quarter_turns=False)
    np.testing.assert_allclose(still["image"], batch["image"], atol=1e-6)
    assert still["distance"].shape == (32, 4, 6, 6, 3)
    turned = np.asarray(augment_tiles(keys, batch, flips=False)["image"])
    same_planes = np.sort(turned.reshape(32, 4, -1)) - np.sort(batch["image"].reshape(32, 4, -1))
    np.testing.assert_allclose(same_planes, 0, atol=1e-6)  # the first axis keeps its place
    assert 0.5 < (np.abs(turned - batch["image"]).reshape(32, -1).max(1) > 1e-3).mean() < 1
