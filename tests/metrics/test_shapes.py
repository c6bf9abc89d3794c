import numpy as np
import pytest

from jaxgen.metrics.shapes import dice_of, roughness, shape_errors, spread_of, surface_area


def box(*sides, size=16):
    mask = np.zeros((size,) * 3, bool)
    mask[tuple(slice(2, 2 + n) for n in sides)] = True
    return mask


def test_the_surface_of_a_box():
    assert surface_area(box(3, 4, 5)) == 2 * (3 * 4 + 3 * 5 + 4 * 5)
    assert surface_area(np.ones((2, 2, 2))) == 24
    assert surface_area(np.zeros((2, 2, 2))) == 0


def test_what_is_rough():
    ball = np.linalg.norm(np.indices((24, 24, 24)) - 11.5, axis=0) < 9
    holes = ball & (np.random.default_rng(0).random(ball.shape) < 0.9)
    assert roughness(ball) < 1.2 < roughness(holes)
    assert roughness(np.zeros((4, 4, 4))) == 1


def test_errors_against_the_true_shape():
    same = shape_errors(box(4, 4, 4), box(4, 4, 4))
    assert same == {"dice": 1, "volume_error": 0, "surface_error": 0, "roughness_error": 0}
    for found in (box(4, 4, 6), box(4, 4, 2)):  # too much and too little count alike
        errors = shape_errors(found, box(4, 4, 4))
        assert errors["volume_error"] == 0.5
        assert errors["surface_error"] == pytest.approx(32 / 96)
    assert shape_errors(box(4, 4, 2), box(4, 4, 4))["dice"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="nothing"):
        shape_errors(box(1, 1, 1), np.zeros((16, 16, 16)))


def test_dice_and_spread():
    assert dice_of(np.zeros(3), np.zeros(3)) == 1
    masks = np.stack([box(4, 4, 4), box(4, 4, 4), box(4, 4, 2)])
    assert spread_of(masks) == pytest.approx(1 - (1 + 2 * 2 / 3) / 3)
