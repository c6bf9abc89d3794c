"""The figure of points in the plane."""

import numpy as np

from jaxgen.data.planar import planar_set
from jaxgen.figures.points import panels


def test_panels_for_densities_points_and_trajectories():
    known, x = planar_set("moons"), np.zeros((5, 2))
    figure = panels(
        known, "All.", densities={"model": known.log_prob}, sets={"drawn": x}, ways={"way": np.zeros((3, 5, 2))}
    )
    assert [axes.get_title() for axes in figure.figure.axes] == ["true density", "model", "drawn", "way"]
    pictures = [axes.get_images()[0].get_array() for axes in figure.figure.axes[:2]]
    np.testing.assert_array_equal(*pictures)
