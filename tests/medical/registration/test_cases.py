"""Measures of registered pairs against pairs whose answer is known."""

import importlib.util

import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.medical.registration import optical_flow as module
from jaxgen.medical.registration.cases import correlation, label_overlap, pair_metrics, trajectory_metrics
from jaxgen.medical.registration.optical_flow import has_optical_flow, optical_flow


def blob(row, column, shape=(24, 24), width=4.0):
    y, x = np.indices(shape)
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / width**2).astype(np.float32)[None, ..., None]


def test_overlap_after_a_shift_of_labels():
    moving, fixed = np.zeros((2, 1, 10, 10), np.uint8)
    moving[:, 2:4, 2:6], moving[:, 6:8, 2:6] = 1, 2
    fixed[:, 3:5, 2:6], fixed[:, 7:9, 2:6] = 1, 2
    still = np.zeros((1, 10, 10, 2), np.float32)
    shift = still - np.array([1, 0], np.float32)
    assert label_overlap(still, moving, fixed, 3)[:, :2].tolist() == [[0.5, 0.5]]
    assert label_overlap(shift, moving, fixed, 3)[:, :2].tolist() == [[1.0, 1.0]]
    assert np.isnan(label_overlap(shift, moving, fixed, 3)[0, 2]), "a structure that neither has"
    found = pair_metrics(shift, moving, fixed, 3, still)
    assert {name: value.tolist() for name, value in found.items()} == {"dice": [1.0], "folds": [0.0], "epe": [1.0]}


def test_folds_are_a_percentage_of_the_foreground():
    flow = np.zeros((1, 10, 10, 2), np.float32)
    flow[0, 5:, :, 0] = -3  # rows 4 and 5 step backwards
    mask = np.zeros((1, 10, 10), np.uint8)
    mask[:, 3:8] = 1
    found = pair_metrics(flow, mask, mask, 1)
    assert "epe" not in found
    assert found["folds"].item() == pytest.approx(100 * 2 / 5)


def test_correlation_is_pearsons():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 5, 5))
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected)
    assert correlation(0 * a, b).tolist() == [0, 0, 0]


def test_a_way_that_goes_straight_there_and_one_that_does_not():
    moving, fixed = blob(10, 10), blob(10, 14)
    flow = np.zeros((1, 24, 24, 2), np.float32) - np.array([0, 4], np.float32)
    shares = np.linspace(0, 1, 5)
    straight = np.stack([share * flow for share in shares])
    found = trajectory_metrics(straight, moving, fixed)
    assert found["monotone"].item() == 1
    assert found["rest"].item() < 1e-12
    assert found["cosine"].item() == pytest.approx(1)
    aside = np.stack([flow, -flow, flow, flow, 2 * flow])
    found = trajectory_metrics(aside, moving, fixed)
    assert found["monotone"].item() == 0
    assert found["rest"].item() == pytest.approx(0.5)
    assert found["cosine"].item() == pytest.approx(1 / 3)


@pytest.mark.skipif(not has_optical_flow(), reason="scikit-image is not installed")
def test_optical_flow_points_as_ours_does():
    moving, fixed = 2 * blob(10, 10) - 1, 2 * blob(11.5, 12) - 1
    flow = optical_flow(moving, fixed)
    inside = fixed[..., 0] > 0
    np.testing.assert_allclose(flow[inside].mean(0), [-1.5, -2], atol=0.2)
    assert flow.dtype == np.float32


def test_without_scikit_image_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not has_optical_flow()
    with pytest.raises(UserError, match=r"pip install 'jaxgen\[registration\]'"):
        module.optical_flow(blob(1, 1), blob(1, 1))
