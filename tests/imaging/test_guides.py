"""What editing starts from: a hole to fill, and a coarse guide."""

import numpy as np

from jaxgen.imaging.inpainting import square_hole
from jaxgen.imaging.smoothing import coarse

RNG = np.random.default_rng(0)


def test_the_hole_is_a_square_of_half_the_side():
    mask = square_hole(32)
    assert mask.shape == (32, 32, 1)
    assert (mask == 0).sum() == 16 * 16
    assert (mask[4:20, 12:28] == 0).all()


def test_the_coarse_image_has_the_same_averages():
    x = RNG.normal(size=(2, 64, 64, 1))
    guide = coarse(x)
    assert guide.shape == x.shape
    np.testing.assert_allclose(guide[1, 4:8, 8:12], x[1, 4:8, 8:12].mean())
    np.testing.assert_allclose(coarse(guide), guide)
