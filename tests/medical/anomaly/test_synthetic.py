import numpy as np
import pytest
from scipy import ndimage

from jaxgen.medical.anomaly.synthetic import paste_anomalies

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 32, 32, 1)).astype(np.float32)
WITHIN = np.broadcast_to(np.square(np.indices((32, 32)) - 15.5).sum(0) < 200, (60, 32, 32))


def test_an_anomaly_lies_in_the_foreground_and_nothing_else_changes():
    images, masks = paste_anomalies(0, X, WITHIN)
    assert images.dtype == np.float32
    assert (masks <= WITHIN).all()
    assert masks.any((1, 2)).all()
    changed = (images != X).any(-1)
    assert not changed[~masks].any()
    assert changed[masks].mean() > 0.9
    assert [ndimage.label(mask)[1] for mask in masks].count(1) > 40, "mostly one piece"


def test_it_grows_with_the_radius_and_is_a_function_of_seed_and_index():
    areas = [paste_anomalies(0, X, WITHIN, radius=(r, r))[1].sum((1, 2)).mean() for r in (2, 4, 8)]
    assert areas[0] < areas[1] < areas[2]
    images, masks = paste_anomalies(3, X, WITHIN)
    again, _ = paste_anomalies(3, X[:7], WITHIN[:7])
    np.testing.assert_array_equal(images[:7], again)
    assert (paste_anomalies(4, X, WITHIN)[1] != masks).any()
    with pytest.raises(ValueError, match="no foreground"):
        paste_anomalies(0, X[:1], 0 * WITHIN[:1])
