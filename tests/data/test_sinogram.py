"""Sinograms that a person brings: what is read with them, and what is wrong with those that are refused."""

import numpy as np
import pytest

from jaxgen.data.sinogram import read_sinogram
from jaxgen.errors import UserError
from jaxgen.imaging.hounsfield import WATER


def test_angles_and_geometry_come_as_metadata(tmp_path):
    y, angles = np.random.default_rng(0).random((2, 5, 8)), np.arange(5) * 0.8
    fan = {"source_distance": 1000.0, "detector_distance": 500.0, "spacing": 3.0}
    np.savez(tmp_path / "a.npz", sinogram=y, angles=angles, pixel_mm=2.0, **fan)
    image = read_sinogram(tmp_path / "a.npz")
    assert image.array.shape == (5, 8, 2, 1), "the measurement alone, slices before the channel"
    np.testing.assert_allclose(image.array[..., 1, 0], y[1] / (WATER * 0.2), rtol=1e-6)
    np.testing.assert_allclose(image.meta["angles"], angles, rtol=1e-6)
    geometry = image.meta["geometry"]
    assert geometry.curvature == pytest.approx(1 / 500)
    assert geometry.spacing == pytest.approx(1.0), "where rays pass the middle, in pixels"
    np.savez(tmp_path / "b.npz", sinogram=y[0], angles=angles)
    image = read_sinogram(tmp_path / "b.npz")
    assert (image.array.shape, image.meta["geometry"]) == ((5, 8, 1), (0.0, 1.0))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "detector_distance": 1.0}, "without `source_distance`"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "spacing": np.ones(2)}, "must be one number"),
        ({"sinogram": np.zeros((4, 6))}, "holds no `angles`"),
        ({"sinogram": np.zeros((6, 4)), "angles": np.zeros(4)}, "does not fit"),
        ({"sinogram": np.zeros((4, 6), complex), "angles": np.zeros(4)}, "not real"),
        ({"sinogram": np.full((4, 6), np.nan), "angles": np.zeros(4)}, "NaN"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.arange(4) * 45}, "degrees"),
        ({"sinogram": np.zeros((4, 6)), "angles": np.zeros(4), "pixel_mm": -1.0}, "positive"),
    ],
)
def test_bad_sinograms(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_sinogram(tmp_path / "bad.npz")
