"""What methods say of test images, and the table that compares them."""

import numpy as np
import pytest

from jaxgen.medical.segmentation.cases import Case, of_maps, of_probability, table
from jaxgen.medical.segmentation.scores import score_masks

RNG = np.random.default_rng(0)
TRUTH = np.zeros((8, 8), bool)
TRUTH[2:5, 2:6] = True


def case(maps, probability, raters=TRUTH[None]):
    predictions = {"unet": of_probability(probability), "flow": of_maps(maps)}
    return Case.of("a", np.zeros((8, 8, 1)), raters, predictions)


@pytest.fixture
def maps():
    return RNG.uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32)


def test_rows_of_methods_and_of_single_members(maps):
    found = table([case(m, RNG.random((8, 8))) for m in maps])
    assert set(found) == {"unet", "flow", "flow_single", "test_images"}
    assert found["test_images"] == 2
    singles = [score_masks([m[k] <= 0 for m in maps], [TRUTH, TRUTH])["dice"] for k in range(3)]
    assert found["flow_single"]["dice"] == pytest.approx(np.mean(singles))
    assert found["flow"]["dice"] == pytest.approx(score_masks([m.mean(0) <= 0 for m in maps], [TRUTH, TRUTH])["dice"])
    assert "error_auroc_mean" in found["flow"]
    assert not {"error_auroc_mean", "ged"} & set(found["unet"])
    assert "eikonal_error" not in found["flow_single"]
    assert table([case(m, RNG.random((8, 8))) for m in maps], truncate=5.0)["flow_single"]["eikonal_error"] > 0


def test_several_raters(maps):
    raters = np.stack([TRUTH, TRUTH, ~TRUTH])
    cases = [case(m, RNG.random((8, 8)), raters) for m in maps]
    np.testing.assert_array_equal(cases[0].truth, TRUTH)
    found = table(cases)
    assert all(found[row]["ged"] > 0 for row in ("unet", "flow", "flow_single"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_segmentation_that_diverged(bad, maps):
    """Masks of NaN are empty: without a word they would be masks like others."""
    fine = case(maps[0], RNG.random((8, 8)))
    maps[1, 0, 0, 0] = bad
    one = table([fine, case(maps[1], RNG.random((8, 8)))], truncate=5.0)
    for name in ("flow", "flow_single"):
        assert one[name].pop("diverged") == 0.5
        assert np.isnan(list(one[name].values())).all()
    assert np.isfinite(one["unet"]["dice"])
    assert "diverged" not in one["unet"]
    probability = np.full((8, 8), bad)
    assert table([fine, case(maps[0], probability)])["unet"]["diverged"] == 0.5


def test_masks_that_miss_everything(maps):
    lost = table([case(maps[0], RNG.random((8, 8))), case(np.ones((3, 8, 8), np.float32), np.zeros((8, 8)))])
    for name in ("unet", "flow", "flow_single"):
        assert lost[name]["missed"] == 1, name
        assert lost[name]["hausdorff95"] > np.hypot(8, 8) / 2, name
    assert "diverged" not in lost["flow"]
