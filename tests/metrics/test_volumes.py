import numpy as np
import pytest

from jaxgen.metrics import frechet_distance
from jaxgen.metrics.features import Extractor, extract, frechet, pixels
from jaxgen.metrics.volumes import PLANES, by_planes, extract_slices, slices

VOLUMES = np.random.default_rng(0).uniform(-1, 1, (5, 6, 8, 10, 1)).astype(np.float32)


def value(a, b):
    return frechet(a, b).value


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_made_on_demand_are_the_slices(axis):
    for options in ({"share": 1.0}, {"share": 0.5, "step": 2}, {"share": 0.01}):
        whole = slices(VOLUMES, axis, **options)
        found = extract_slices(pixels(), VOLUMES, axis, batch=7, **options)
        np.testing.assert_array_equal(found.values, whole.reshape(len(whole), -1))
    n = VOLUMES.shape[axis + 1]
    np.testing.assert_array_equal(slices(VOLUMES, axis, share=1.0)[n], np.take(VOLUMES[1], 0, axis=axis))
    assert len(slices(VOLUMES, axis)) == 5 * n // 2


def test_the_middle_is_taken():
    ramp = np.broadcast_to(np.arange(10.0)[:, None, None, None], (1, 10, 2, 2, 1))
    assert slices(ramp, 0, share=0.4)[:, 0, 0, 0].tolist() == [3, 4, 5, 6]


def test_a_difference_along_one_axis_shows_in_the_planes_that_hold_it():
    """Shuffling slices along the first axis leaves the set of its slices as it was, and no other plane's."""
    order = np.random.default_rng(1).permutation(6)
    real = VOLUMES + 3 * np.linspace(-1, 1, 6, dtype=np.float32)[:, None, None, None]
    shuffled = real[:, order]
    found = by_planes(value, pixels(), real, shuffled, share=1.0)
    assert found.planes["yz"] == pytest.approx(0, abs=1e-3)
    assert min(found.planes["xz"], found.planes["xy"]) > 1
    assert found.mean == pytest.approx(np.mean(list(found.planes.values())))
    assert tuple(found.planes) == PLANES


def test_features_of_whole_volumes_take_the_same_road():
    mean = Extractor("mean", lambda params, v: v.mean((1, 2, 3)))
    features = extract(mean, VOLUMES, batch=2)
    np.testing.assert_allclose(features.values[:, 0], VOLUMES.mean((1, 2, 3, 4)), rtol=1e-4, atol=1e-6)
    shifted = extract(mean, VOLUMES + 0.5, batch=2)
    assert value(features, shifted) == pytest.approx(0.25, rel=1e-4)
    assert frechet_distance(features.values, shifted.values) == value(features, shifted)


def test_bad_input():
    with pytest.raises(ValueError, match="needs volumes"):
        slices(VOLUMES[..., 0], 0)
    with pytest.raises(ValueError, match="axis 0 to 2"):
        extract_slices(pixels(), VOLUMES, 3)
    with pytest.raises(ValueError, match="share in"):
        slices(VOLUMES, 0, share=0)
