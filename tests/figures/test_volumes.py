"""Volumes as images, and reconstructions of them in rows."""

import numpy as np

from jaxgen.figures.reconstruction import compared_planes
from jaxgen.figures.volumes import middle, planes
from jaxgen.medical.reconstruction.cases import Case

VOLUME = np.arange(24.0).reshape(2, 3, 4, 1)


def test_planes_are_middle_slices_with_their_second_axis_upwards():
    across_x, across_y, across_z = planes(VOLUME)
    np.testing.assert_array_equal(across_x, VOLUME[1].swapaxes(0, 1)[::-1])
    np.testing.assert_array_equal(across_y[-1, :, 0], VOLUME[:, 1, 0, 0])
    np.testing.assert_array_equal(across_z, middle(VOLUME[None])[0])


def test_volumes_are_compared_in_three_planes_each():
    truth = np.random.default_rng(0).random((5, 6, 7, 8, 1))
    case = Case(None, truth, None, "3x thick slices", 1.0, (0.0, 1.0))
    figure = compared_planes(case, {"ours": truth, "ours, sd": 0 * truth})
    (axes,) = figure.figure.axes
    assert len(axes.images) == 3 * 3 * 3
    assert [text.get_text() for text in axes.texts] == [
        "truth",
        "ours",
        "ours, sd",
        *("across x", "across y", "across z") * 3,
    ]
    assert figure.caption.startswith("Test volumes, 3x thick slices; of samplers one sample")
