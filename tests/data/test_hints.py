"""Hints: outlines of coloured shapes, edges of images, and those that users give."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import feature

from jaxgen.data import ArraySource, load, phantoms
from jaxgen.data.captions import coloured_caption
from jaxgen.data.coding import coded
from jaxgen.data.hints import edges
from jaxgen.data.phantoms import COLOURS, coloured2d, coloured_of, measure_coloured, outline
from jaxgen.errors import UserError


def test_coloured_shapes_are_measured_as_they_were_drawn():
    kinds = set()
    for i in range(150):
        example, shown = coloured2d(1, i, 32), coloured_of(1, i)
        seen = measure_coloured(example["image"])
        np.testing.assert_array_equal(seen.mask, example["mask"])
        np.testing.assert_array_equal(outline(seen.mask), example["control"][..., 0] == 255)
        assert (seen.colour, seen.ground) == (shown.colour, shown.ground)
        assert coloured_caption(1, i) == f"a {shown.colour} {shown.kind} on a {shown.ground} ground"
        kinds.add((shown.kind, shown.colour))
    assert len(kinds) == 4 * len(COLOURS)
    assert not measure_coloured(np.full((32, 32, 3), 0.95)).mask.any()


def test_an_outline_tells_the_shape_and_no_colour():
    """Both sides of the boundary, two pixels wide: what lies within it, filled, is the shape."""
    for i in range(40):
        example = coloured2d(0, i, 32)
        line, mask = example["control"][..., 0] > 0, example["mask"] > 0
        inner = mask & ~ndimage.binary_erosion(mask)
        assert (line & mask == inner).all()
        assert (line & ~mask == ndimage.binary_dilation(mask) & ~mask).all()


def test_edges_are_those_of_another_library_but_for_the_thinning():
    for i in range(4):
        image = phantoms.cxr2d(0, i, 64)["image"]
        image = (image - image.min()) / np.ptp(image)
        ours = edges(image)
        theirs = feature.canny(image[..., 0], 1.0, 0.05, 0.15, mode="nearest")
        near = (ndimage.binary_dilation(x, np.ones((3, 3))) for x in (theirs, ours))
        assert (ours & next(near)).sum() / ours.sum() > 0.98
        assert (theirs & next(near)).sum() / theirs.sum() > 0.7


def test_weak_edges_count_where_they_go_on_from_strong_ones():
    image = np.zeros((32, 32, 1))
    image[:, 16:] = np.linspace(1.0, 0.3, 32)[:, None, None]
    alone = image * 0.3
    assert edges(image)[4:28, 14:18].any(1).all()
    assert not edges(alone)[16:].any()
    colours = np.concatenate([0 * image, 0 * image, image], -1)
    np.testing.assert_array_equal(edges(colours), edges(image))
    assert not edges(np.full((8, 8, 1), 0.4)).any()


def save(path, control, n=12):
    images = np.random.default_rng(0).integers(0, 255, (n, 8, 8), np.uint8)
    np.savez(path, images=images, texts=np.array([f"image {i}" for i in range(n)]), control=control)
    return path


LINE = np.repeat(np.eye(8)[None], 12, 0)


@pytest.mark.parametrize("control", [LINE, (255 * LINE).astype(int), LINE[..., None] > 0])
def test_hints_of_a_user_become_bytes(tmp_path, control):
    splits = load(save(tmp_path / "x.npz", control), wants=("image", "text"), optional=("control",))
    found = splits.train[0]["control"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., 0], 255 * np.eye(8))
    assert "control" not in load(tmp_path / "x.npz", wants=("image", "text")).train[0]


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (np.zeros((12, 4, 4)), r"`control` has size \(12, 4, 4, 1\), but images \(12, 8, 8\)"),
        (np.zeros((12, 8, 8, 2)), "perhaps with 1 or 3 channels"),
        (np.full((12, 8, 8), -1.0), "numbers from 0 to 255"),
        (np.full((12, 8, 8), np.nan), "numbers from 0 to 255"),
        (np.zeros((11, 8, 8)), "`control` has 11 examples"),
    ],
)
def test_hints_that_do_not_fit_are_refused(tmp_path, control, message):
    with pytest.raises(UserError, match=message) as caught:
        load(save(tmp_path / "x.npz", control), wants=("image", "text"), optional=("control",))
    assert "x.npz" in str(caught.value)


def test_hints_are_mirrored_with_their_images():
    class Same:
        def moments(self, x):
            return x, 0 * x

    image = np.zeros((2, 4, 4, 1), np.uint8)
    image[:, 0, 0] = 255
    codes = coded(Same(), ArraySource({"image": image, "control": image}), 2, mirrored=1)
    np.testing.assert_array_equal(codes.arrays["mean"] > 0, codes.arrays["control"] > 0)
    assert len(np.unique(codes.arrays["control"], axis=0)) == 2
