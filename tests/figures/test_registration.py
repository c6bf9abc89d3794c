"""Figures of registered pairs, of images and of volumes."""

import numpy as np
import pytest

from jaxgen.figures.registration import registered_pairs, trajectory


def shown(figure):
    figure.figure.canvas.draw()
    return [np.asarray(image.get_array()) for image in figure.figure.axes[0].get_images()]


@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 6)])
def test_moved_images_and_moved_lines(shape):
    rng = np.random.default_rng(0)
    moving, fixed = rng.uniform(-1, 1, (2, 2, *shape, 1)).astype(np.float32)
    flow = np.zeros((2, *shape, len(shape)), np.float32)
    flow[..., 0] = 1
    pictures = shown(registered_pairs(moving, fixed, {"none": 0 * flow, "down": flow}))
    slices = [moving[0], fixed[0]] if len(shape) == 2 else [moving[0, :, :, 3], fixed[0, :, :, 3]]
    assert len(pictures) == 12
    np.testing.assert_array_equal(pictures[0], slices[0][..., 0])
    np.testing.assert_array_equal(pictures[2], slices[1][..., 0])
    np.testing.assert_array_equal(pictures[4], slices[0][..., 0])
    np.testing.assert_array_equal(pictures[8][:-1], slices[0][1:, :, 0])
    lines, moved = pictures[6], pictures[10]
    assert (lines[8] == 1).all()
    assert (moved[7] == 1).all()
    assert lines[7].min() == -1


def test_a_way_ends_at_the_moved_image_and_shows_the_error():
    moving, fixed = np.random.default_rng(0).uniform(-1, 1, (2, 1, 8, 8, 1)).astype(np.float32)
    still = np.zeros((3, 1, 8, 8, 2), np.float32)
    pictures = shown(trajectory(moving, fixed, still))
    np.testing.assert_array_equal(pictures[2], moving[0, ..., 0])
    np.testing.assert_array_equal(pictures[3], fixed[0, ..., 0])
    np.testing.assert_allclose(pictures[4], np.abs(moving - fixed)[0, ..., 0] - 1)
    np.testing.assert_array_equal(pictures[7], -1)
