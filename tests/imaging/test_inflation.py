import numpy as np
import pytest

from jaxgen.imaging.inflation import cylinder, fit_thickness, inflated


def disc(size=33, radius=12.0):
    return np.hypot(*(np.indices((size, size)) - size // 2)) < radius


@pytest.mark.parametrize("thickness", [0.5, 1.0])
def test_a_disc_becomes_an_ellipsoid(thickness):
    x, y, z = np.indices((33, 33, 33)) - 16
    ball = x**2 + y**2 + (z / thickness) ** 2 < 12**2
    found = inflated(disc(), 33, thickness)
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.97
    np.testing.assert_array_equal(found, found[:, :, ::-1])


def test_a_cylinder_is_as_thick_everywhere():
    heights = cylinder(disc(), 33, 0.5).sum(2)
    assert set(np.unique(heights)) == {0, 13}
    np.testing.assert_array_equal(heights > 0, disc())


def test_the_border_of_the_image_is_outside():
    assert inflated(np.ones((9, 9)), 9, 1.0)[0, 4].sum() < inflated(np.ones((9, 9)), 9, 1.0)[4, 4].sum()


@pytest.mark.parametrize("make", [inflated, cylinder])
def test_the_thickness_is_found_again(make):
    outlines = np.stack([disc(radius=r) for r in (8.0, 12.0)])
    volumes = np.stack([make(mask, 33, 0.7) for mask in outlines])
    assert fit_thickness(make, outlines, volumes) == pytest.approx(0.7, abs=0.051)
