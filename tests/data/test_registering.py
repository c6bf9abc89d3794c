"""Pairs of images with grids of their own, registered by a field that is known."""

import numpy as np
import pytest

from jaxgen.data.image import Image
from jaxgen.data.registering import in_network, register_images
from jaxgen.errors import UserError


def smooth(x, y, z):
    """A smooth image of the place in millimetres."""
    return np.sin(x / 9) + np.cos(y / 7) + np.sin(z / 8 + x / 20)


def seen(shape, affine):
    place = np.tensordot(affine[:3, :3], np.indices(shape), 1) + affine[:3, 3][:, None, None, None]
    return Image(smooth(*place)[..., None].astype(np.float32), affine, {})


def turned(degrees, spacing, origin):
    a = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) * spacing
    affine[:3, 3] = origin
    return affine


FIXED = turned(0, (1.0, 1.0, 2.0), (0, 0, 0))
MOVING = turned(25, (1.2, 1.0, 1.5), (4, -6, -3))


def none(moving, fixed):
    return np.zeros((*fixed.shape[:-1], fixed.ndim - 1))


def test_affines_alone_bring_an_image_to_the_grid_of_another():
    moving, fixed = seen((40, 40, 30), MOVING), seen((20, 24, 14), FIXED)
    found = register_images(moving, fixed, none)
    inside = ((found.place > 0) & (found.place < np.array([39, 39, 29])[:, None, None, None])).all(0)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(
        found.warped(moving.array[..., 0])[inside], fixed.array[..., 0][inside], atol=0.02
    )  # linear interpolation
    assert found.outside == pytest.approx(1 - inside.mean(), abs=0.1)


def test_the_field_is_in_voxels_of_the_fixed_image_and_sees_it_resampled():
    moving, fixed = seen((40, 40, 30), MOVING), seen((20, 24, 14), FIXED)

    def find(there, here):
        assert there.shape == here.shape
        return np.broadcast_to(np.array([1.0, 0.0, -1.0]), (20, 24, 14, 3))  # 1 mm along x, -2 mm along z

    found = register_images(moving, fixed, find)
    x, y, z = np.indices((20, 24, 14))
    inside = ((found.place > 0) & (found.place < np.array([39, 39, 29])[:, None, None, None])).all(0)
    np.testing.assert_allclose(
        found.warped(moving.array[..., 0])[inside], smooth(x + 1, y, 2 * z - 2)[inside], atol=0.02
    )


def test_labels_stay_labels_and_nothing_is_where_the_image_is_not():
    moving = seen((10, 10, 10), np.eye(4))
    labels = np.random.default_rng(0).integers(1, 6, (10, 10, 10)).astype(np.uint8)
    shifted = np.eye(4)
    shifted[0, 3] = 5
    found = register_images(moving, seen((10, 10, 10), shifted), none)
    there = found.warped(labels, order=0)
    np.testing.assert_array_equal(there[:5], labels[5:])
    assert not there[5:].any()
    assert there.dtype == np.uint8
    assert found.outside == 0.5
    np.testing.assert_array_equal(found.warped(moving.array[..., 0])[5:], moving.array.min())


def test_what_cannot_be_registered_is_refused():
    volume, picture = seen((10, 10, 10), np.eye(4)), Image(np.zeros((8, 8, 1)), None, {})
    away = np.eye(4)
    away[0, 3] = 100
    wrong = {
        "share 0% of the voxels": (volume, seen((10, 10, 10), away)),
        "3 axes, the fixed one 2": (volume, picture),
        "8 x 8 and 9 x 8": (picture, Image(np.zeros((9, 8, 1)), None, {})),
        "not both say where": (volume, volume._replace(affine=None)),
    }
    for message, pair in wrong.items():
        with pytest.raises(UserError, match=message):
            register_images(*pair, none)


@pytest.mark.parametrize("shape", [(30, 20), (20, 41)])
def test_a_field_comes_back_from_the_networks_grid(shape):
    """A linear field of places in [0, 1] over the padded image is found at the right pixels, in the right unit."""
    side, padded = 16, max(shape)
    _, back = in_network([np.zeros((*shape, 1))], (side, side), ((0.0,), (1.0,)))
    centres = (np.arange(side) + 0.5) / side
    flow = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1)
    found = back(flow) / (padded / side)
    starts = [(padded - n) // 2 for n in shape]
    for axis in range(2):
        expected = (np.arange(shape[axis]) + starts[axis] + 0.5) / padded
        expected = np.clip(expected, centres[0], centres[-1])
        line = np.moveaxis(found[..., axis], axis, 0)
        np.testing.assert_allclose(line, np.broadcast_to(expected[:, None], line.shape), atol=1e-5)


def test_images_are_padded_and_scaled_as_in_training():
    from jaxgen.data import ArraySource, resized

    image = np.random.default_rng(0).uniform(0, 300, (20, 31, 1)).astype(np.float32)
    (seen_by,), _ = in_network([image], (16, 16), ((10.0,), (250.0,)))
    expected = resized(ArraySource({"image": image[None]}), (16, 16), ((10.0,), (250.0,))).arrays["image"][0]
    np.testing.assert_allclose(seen_by, expected, atol=1e-5)
