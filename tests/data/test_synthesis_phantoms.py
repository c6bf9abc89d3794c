"""The phantoms of skin, tissue and operations: their truth is measured, their proportions are those they state."""

import numpy as np
import pytest
from scipy import ndimage

from jaxgen.data import load
from jaxgen.data.phantoms import cataract2d, derm2d, measure_tissue, measure_tools, patho2d, phantom_source, scene_of
from jaxgen.data.phantoms.instruments import OFTEN, SELDOM
from jaxgen.data.phantoms.skin import KINDS


@pytest.mark.parametrize("phantom", [derm2d, patho2d, cataract2d])
def test_a_size_below_16_is_refused(phantom):
    with pytest.raises(ValueError, match="16 pixels"):
        phantom(0, 0, 15)


def stacked(name, n, size=32):
    examples = [phantom_source(name, n, 7, size)[i] for i in range(n)]
    return {entry: np.stack([example[entry] for example in examples]) for entry in examples[0]}


def test_tools_are_measured_exactly():
    drawn = stacked("cataract2d", 150)
    np.testing.assert_array_equal(measure_tools(drawn["image"]), drawn["labels"])
    near = np.stack([ndimage.binary_dilation(mask, iterations=2) for mask in drawn["mask"]])
    blank = measure_tools(np.where(near[..., None], (0.58, 0.42, 0.38), drawn["image"]))
    assert blank.sum() == 0


def test_rare_sets_of_tools_are_rare_in_training_data_and_a_half_of_their_phase_in_test_data():
    for training, low, high in ((True, 0.003, 0.02), (False, 0.42, 0.58)):
        scenes = [scene_of(0, i, training=training) for i in range(3000)]
        of_phase = [scene for scene in scenes if scene.phase in SELDOM]
        assert low < np.mean([scene.tools == SELDOM[scene.phase] for scene in of_phase]) < high
        assert {scene.tools for scene in scenes if scene.phase not in SELDOM} == {
            tools for phase, tools in enumerate(OFTEN) if phase not in SELDOM
        }


def test_hospitals_are_told_by_their_colours_and_tumours_by_their_nuclei():
    drawn = stacked("patho2d", 200)
    found = measure_tissue(drawn["image"])
    hospital = drawn["covariates"][:, 0]
    assert np.mean(found["hospital"] == hospital) > 0.98
    for one in range(4):
        covered, tumour = found["covered"][hospital == one], drawn["label"][hospital == one] == 1
        assert np.mean(covered[tumour][:, None] > covered[~tumour]) > 0.85


def test_a_hospital_tells_much_of_a_tumour_in_training_data_alone():
    for name, expected in (("patho2d_training", (0.8, 0.2)), ("patho2d", (0.5, 0.5))):
        drawn = stacked(name, 400, 16)
        hospital = drawn["covariates"][:, 0]
        shares = [drawn["label"][hospital == one].mean() for one in (0, 1)]
        np.testing.assert_allclose(shares, expected, atol=0.15)
    splits = load("tissue_phantom/16", wants=("image", "label"), optional=("covariates",))
    counts = [np.bincount(part.arrays["covariates"][:, 0].astype(int), minlength=4) for part in splits[:3]]
    assert counts[0][3] == counts[1][3] == 0
    assert counts[0][2] < 0.05 * counts[0].sum()
    assert counts[2].min() > 0.15 * counts[2].sum()


def test_kinds_of_lesions_differ_in_what_they_say():
    drawn = stacked("derm2d", 150)
    inside = drawn["mask"][..., None] > 0
    mean = (drawn["image"] * inside).sum((1, 2)) / inside.sum((1, 2))
    around = (drawn["image"] * ~inside).sum((1, 2)) / (~inside).sum((1, 2))
    redness = (mean[:, 0] - mean[:, 1:].mean(-1)) / around.mean(-1)
    of_kind = {kind: redness[drawn["label"] == k].mean() for k, kind in enumerate(KINDS)}
    assert max(of_kind, key=of_kind.get) == "angioma"
    assert set(drawn["covariates"][:, 0]) == {0, 1, 2}
