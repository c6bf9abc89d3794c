"""Radiographs of people who come several times, and pairs of their images."""

import numpy as np
import pytest

from jaxgen.data import ArraySource, Splits, load
from jaxgen.data.phantoms import cxr2d, cxr_visits, measure_radiograph
from jaxgen.data.phantoms.chest_visits import KINDS
from jaxgen.data.visits import PairedVisits, first_people, pairs_of, people_of, require_visits, strangers_of
from jaxgen.errors import UserError


def source(patients, **more):
    n = len(patients)
    return ArraySource({"image": np.arange(n * 4.0).reshape(n, 2, 2, 1), **more}, patients=patients)


def test_visits_of_a_person_share_the_code_and_nothing_else():
    first, second, third, other = (cxr_visits(0, i) for i in (3, 4, 5, 6))
    for visit in (second, third):
        np.testing.assert_array_equal(first["covariates"], visit["covariates"])
        assert np.abs(first["image"] - visit["image"]).max() > 0.05
    assert (first["covariates"] != other["covariates"]).all()
    np.testing.assert_array_equal(first["covariates"], cxr2d(0, 1)["code"])


def test_the_class_is_what_is_measured_in_the_image():
    found = [cxr_visits(1, i) for i in range(120)]
    seen = [[finding.name for finding in measure_radiograph(one["image"]).findings] for one in found]
    right = [
        names == ([] if one["label"] == 0 else [KINDS[one["label"]]]) for one, names in zip(found, seen, strict=True)
    ]
    assert np.mean(right) > 0.95
    assert np.bincount([one["label"] for one in found], minlength=6).min() >= 10


def test_the_set_has_people_each_in_one_split():
    splits = load("visits_phantom/16", wants=("image", "label"), optional=("covariates",))
    people = [set(part.patients) for part in splits[:3]]
    assert [len(found) for found in people] == [600, 100, 200]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    assert len(splits.train) == 1800
    assert splits.label_names == KINDS
    assert len(splits.covariate_names) == 12
    assert first_people(splits.train, 2).covariates.shape == (6, 12)


def test_pairs_hold_two_images_of_one_person_and_each_pair_once():
    people = np.array([0, 1, 0, 2, 0, 1])
    assert sorted(map(tuple, pairs_of(people).tolist())) == [(0, 2), (0, 4), (1, 5), (2, 4)]
    assert len(pairs_of(people, most=1)) == 2
    assert len(pairs_of(np.arange(3))) == len(pairs_of(np.zeros(0, int))) == 0
    made = PairedVisits(source(["p", "q", "p", "r", "p", "q"]))
    for i in range(4):
        first, second = pairs_of(people)[i]
        assert made[i]["owner"] == people[first]
        assert made[i]["image"][0, 0, 0] == 4 * first
        assert made[i]["other"][0, 0, 0] == 4 * second


def test_strangers_are_two_people():
    people = np.repeat(np.arange(4), 3)
    found = strangers_of(people, 500, seed=0)
    assert found.shape == (500, 2)
    assert (people[found[:, 0]] != people[found[:, 1]]).all()
    assert len(np.unique(people[found], axis=0)) == 12
    assert len(strangers_of(np.zeros(3, int), 5, seed=0)) == 0


def test_people_are_numbered_as_they_come():
    assert people_of(source(["z", "a", "z", "m"])).tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match="names no patients"):
        people_of(ArraySource({"label": np.arange(2)}))


@pytest.mark.parametrize(
    ("train", "validation", "label", "message"),
    [
        (None, ["v", "v"], None, "no patients are named; add an array `patient`"),
        (["p", "p"], ["v", "v"], None, "the training data are of one patient"),
        (["p", "q", "r"], ["v", "v"], None, "no patient has two training images"),
        (["p", "p", "q"], ["v", "w"], None, "no patient has two validation images"),
        (["p", "p", "q"], ["v", "v"], [0, 0, 1], "class 'ill' has one training image"),
    ],
)
def test_data_that_no_verifier_learns_from_are_refused_in_one_line(train, validation, label, message):
    more = {} if label is None else {"label": np.array(label)}
    part = source(["p"] * 3 if train is None else train, **more)
    if train is None:
        part = ArraySource(part.arrays)
    other = source(validation)
    splits = Splits(part, other, other, label_names=() if label is None else ("well", "ill"))
    with pytest.raises(UserError, match=message) as error:
        require_visits(splits, "--data x.npz")
    assert str(error.value).startswith("--data x.npz: ")
    assert "\n" not in str(error.value)


def test_enough_is_not_refused():
    part, other = source(["p", "p", "q"], label=np.array([0, 0, 0])), source(["v", "v"])
    require_visits(Splits(part, other, other, label_names=("well", "ill")), "--data x.npz")


def test_an_npz_of_one_patient_is_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (9, 16, 16), np.uint8)
    np.savez(tmp_path / "one.npz", images=images, patient=np.zeros(9, int))
    with pytest.raises(UserError, match="only 1 patient"):
        load(tmp_path / "one.npz", wants=("image",))
