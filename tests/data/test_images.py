"""Images of one size: resizing, fitting, converting and scaling."""

import numpy as np
import pytest

from jaxgen.data.images import convert_channels, fit_shape, measure_range, nearest, resize, resized
from jaxgen.data.source import ArraySource
from jaxgen.errors import UserError
from jaxgen.imaging import to_unit_range

RNG = np.random.default_rng(0)


class Uneven:
    """Images of different sizes."""

    def __init__(self, images, **entries):
        self._images, self._entries = images, entries
        self.names = [f"n{i}" for i in range(len(images))]

    def __len__(self):
        return len(self._images)

    def __getitem__(self, i):
        return {"image": self._images[i], **{key: values[i] for key, values in self._entries.items()}}


@pytest.mark.parametrize("shape", [(12, 8), (6, 12, 9)])
def test_by_a_whole_factor_it_is_the_mean_of_blocks(shape):
    image = RNG.normal(size=(*shape, 2)).astype(np.float32)
    sides = (shape[0] // 3, shape[1] // 2, *(s // 3 for s in shape[2:]))
    blocks = image.reshape(*(n for side, old in zip(sides, shape, strict=True) for n in (side, old // side)), 2)
    expected = blocks.mean(axis=tuple(range(1, 2 * len(shape), 2)))
    np.testing.assert_allclose(resize(image, sides), expected, atol=1e-6)


def test_by_any_factor_it_is_the_mean_over_areas():
    """The same by way of the least common multiple: every pixel 4 times, then blocks of 7."""
    image = RNG.normal(size=(7, 1)).astype(np.float32)
    np.testing.assert_allclose(resize(image, [4]), np.repeat(image, 4, axis=0).reshape(4, 7, 1).mean(1), atol=1e-6)


@pytest.mark.parametrize("sides", [(5, 7), (7, 3), (1, 1)])
def test_shrinking_keeps_the_mean(sides):
    image = RNG.normal(size=(11, 9, 1)).astype(np.float32)
    np.testing.assert_allclose(resize(image, sides).mean(), image.mean(), atol=1e-6)


def test_growing_interpolates_a_line_exactly_and_keeps_within_the_ends():
    line = np.arange(6.0)[:, None]
    grown = resize(line, [18])[:, 0]
    expected = np.clip((np.arange(18) + 0.5) / 3 - 0.5, 0, 5)
    np.testing.assert_allclose(grown, expected, atol=1e-6)


def test_the_same_size_changes_nothing():
    image = RNG.integers(0, 255, (5, 6, 3), dtype=np.uint8)
    assert (resize(image, (5, 6)) == image).all()
    assert (nearest(image, (5, 6)) == image).all()


def test_resizing_against_pillow():
    image_module = pytest.importorskip("PIL.Image")
    image = RNG.random((30, 22)).astype(np.float32)
    theirs = np.asarray(image_module.fromarray(image).resize((11, 10), image_module.Resampling.BOX))
    np.testing.assert_allclose(resize(image[..., None], (10, 11))[..., 0], theirs, atol=1e-6)
    theirs = np.asarray(image_module.fromarray(image).resize((44, 75), image_module.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(image[..., None], (75, 44))[..., 0], theirs, atol=1e-5)


def test_fit():
    image = np.arange(2 * 7).reshape(2, 7, 1)
    padded = fit_shape(image, (4, 4), "pad", -1)
    assert padded.shape == (7, 7, 1)
    assert (padded[2:4] == image).all()
    assert (np.delete(padded, [2, 3], axis=0) == -1).all()
    assert fit_shape(image, (4, 4), "crop", -1)[..., 0].tolist() == [[2, 3], [9, 10]]
    assert fit_shape(image, (4, 8), "crop", -1).shape == (2, 4, 1)
    assert fit_shape(image, (4, 4), "stretch", -1) is image
    assert fit_shape(np.zeros((3, 5, 4, 2)), (8, 8, 8), "pad", 0).shape == (5, 5, 5, 2)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("spatial", [2, 3])
def test_images_of_any_size_become_one_source(fit, spatial):
    images = [RNG.integers(0, 256, (*RNG.integers(5, 20, spatial), 1), dtype=np.uint8) for _ in range(7)]
    masks = [(image[..., 0] > 99).astype(np.uint8) for image in images]
    source = resized(Uneven(images, mask=masks, label=np.arange(7), extra=images), 8, ((0,), (255,)), fit=fit)
    assert isinstance(source, ArraySource)
    assert set(source.arrays) == {"image", "mask", "label"}
    assert source.arrays["image"].shape == (7, *(8,) * spatial, 1)
    assert source.arrays["image"].dtype == np.float32
    assert source.arrays["mask"].shape == (7, *(8,) * spatial)
    assert set(np.unique(source.arrays["mask"])) == {0, 1}
    assert source.arrays["label"].tolist() == list(range(7))
    assert source.names[3] == "n3"
    assert np.abs(source.arrays["image"]).max() <= 1


def test_padding_is_the_low_end():
    image = np.full((2, 6, 1), 9, np.int16)
    result = resized(Uneven([image]), 6, ((-5,), (9,)))[0]["image"][..., 0]
    assert (result[2:4] == 1).all()
    assert (np.delete(result, [2, 3], axis=0) == -1).all()


def test_values_are_cut_at_the_range_and_a_constant_channel_is_0():
    image = np.stack([np.arange(4.0).reshape(2, 2), np.full((2, 2), 3.0)], axis=-1)
    result = resized(Uneven([image]), 2, ((1, 3), (2, 3)))[0]["image"]
    assert result[..., 0].tolist() == [[-1, -1], [1, 1]]
    assert (result[..., 1] == 0).all()


def test_8_bits_are_brought_back_on_the_device():
    source = ArraySource({"image": RNG.integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)})
    stored = resized(source, 6, ((0,), (255,)), dtype=np.uint8).arrays["image"]
    assert stored.dtype == np.uint8
    assert (stored == source.arrays["image"]).all()
    exact = resized(source, 6, ((0,), (255,))).arrays["image"]
    np.testing.assert_allclose(to_unit_range(stored, 0, 255), exact, atol=1e-6)
    half = resized(source, 4, ((0,), (255,)), dtype=np.float16).arrays["image"]
    assert half.dtype == np.float16
    with pytest.raises(ValueError, match="float64"):
        resized(source, 6, ((0,), (255,)), dtype=np.float64)


def test_colour_and_grey():
    grey, colour = np.full((4, 4, 1), 8, np.uint8), np.full((4, 4, 3), [255, 0, 0], np.uint8)
    mixed = Uneven([grey, colour])
    assert resized(mixed, 4, ((0,), (255,)), channels=3).arrays["image"].shape == (2, 4, 4, 3)
    red = resized(mixed, 4, ((0,), (255,)), channels=1)[1]["image"]
    np.testing.assert_allclose(red, 2 * 0.299 - 1, atol=1e-6)
    for call in (lambda: resized(mixed, 4, ((0,), (255,))), lambda: measure_range(mixed)):
        with pytest.raises(UserError, match="n1: 3 channels, but n0 has 1; ask for 1 channel"):
            call()
    assert measure_range(mixed, (0, 100), channels=3) == ((8.0, 0.0, 0.0), (255.0, 8.0, 8.0))
    with pytest.raises(ValueError, match="2 channels cannot become 3"):
        convert_channels(np.zeros((2, 2, 2)), 3)


def test_images_and_volumes_do_not_mix():
    with pytest.raises(UserError, match="n1: has 3 spatial axes, but 2 are wanted"):
        resized(Uneven([np.zeros((4, 4, 1)), np.zeros((4, 4, 4, 1))]), (4, 4), ((0,), (1,)))


def test_a_range_is_that_of_all_images():
    images = [np.full((2, 2, 2), [i, 10 * i], np.float32) for i in range(11)]
    assert measure_range(Uneven(images), (0, 100)) == ((0.0, 0.0), (10.0, 100.0))
    assert measure_range(Uneven(images), (10, 90)) == ((1.0, 10.0), (9.0, 90.0))
    assert measure_range(Uneven(images), (0, 100), most=3) == ((0.0, 0.0), (10.0, 100.0))
    with pytest.raises(ValueError, match="range of 1 and 2"):
        resized(Uneven(images), 2, ((0,), (1, 2)))
