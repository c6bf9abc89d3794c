import numpy as np

from jaxgen.metrics.slice_jump import excess_jump, slice_jump

RNG = np.random.default_rng(0)


def test_jumps_are_along_the_slices_alone():
    flat = np.broadcast_to(RNG.normal(size=(2, 5, 6, 1, 1)), (2, 5, 6, 4, 1))
    assert slice_jump(flat) == 0
    np.testing.assert_allclose(slice_jump(flat + np.array([0.0, 0.3, 0.0, 0.3])[:, None]), 0.3)


def test_flicker_is_excess_and_smoothing_is_less_than_nothing():
    truth = np.cumsum(RNG.normal(size=(2, 8, 8, 16, 1)), axis=3)
    assert excess_jump(truth, truth) == 0
    assert excess_jump(truth + RNG.normal(size=truth.shape), truth) > 0.2
    smooth = (truth[:, :, :, :-1] + truth[:, :, :, 1:]) / 2
    assert excess_jump(smooth, truth[:, :, :, 1:]) < -0.1
