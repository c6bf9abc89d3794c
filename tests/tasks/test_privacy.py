"""Private images: who learns from whom, what the report says, and a run on images of a user."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.synthesis.private_xray import EXPERIMENT
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.privacy.checks import release_checks
from jaxgen.tasks.privacy import data

SMOKE = EXPERIMENT.presets["smoke"]


@pytest.fixture(scope="module")
def run():
    splits = data.load(SMOKE)
    return Run(SMOKE, data.measure(SMOKE, splits), {}, splits)


def test_the_generators_are_not_told_the_codes(run):
    assert run.facts.covariates == ()
    assert len(run.facts.classes) == 6


def test_the_over_trained_generator_learns_from_a_few_people_and_the_other_from_all(run):
    few, everyone = (data.members_of(run, name) for name in (data.COPYING, data.REGULAR))
    assert len(set(few.patients)) == SMOKE.copying_people
    assert len(few) == 3 * SMOKE.copying_people
    assert len(everyone) == len(run.splits.train)
    assert data.examples_of(run, data.COPYING).arrays["image"].dtype == np.uint8


def test_pairs_for_training_are_of_one_person(run):
    pairs = data.pairs(run)
    patients = run.splits.train.patients
    assert len(pairs) == 600 * 3
    for i in (0, 7, 1799):
        row = pairs[i]
        first = run.splits.train.names.index(pairs.names[i])
        assert list(dict.fromkeys(patients))[row["owner"]] == patients[first]
        assert (row["image"] != row["other"]).any()


def test_classes_are_asked_for_as_often_as_they_are_there(run):
    label = np.array([int(run.splits.train[i]["label"]) for i in range(len(run.splits.train))])
    asked = data.labels_like(run.splits.train, 600)
    np.testing.assert_allclose(np.bincount(asked) / 600, np.bincount(label) / len(label), atol=0.01)


def test_a_size_that_the_networks_do_not_divide_is_refused():
    with pytest.raises(UserError, match="--size must be a multiple of 64 with these --people-channels"):
        dataclasses.replace(SMOKE, size=32, people_channels=(8, 8, 8, 8, 8, 8))


NEW = {"alike": 0.1, "correlated": 0.05, "linked": 0.04}
GOOD = NEW | {"pixel_ratio": 1.0, "copies": 0.02}
ROWS = {
    "verifier, unseen people": {"auc": 0.99},
    "copying, unfiltered": {"copies": 0.9, "linked": 0.8},
    "copying, new images": NEW | {"copies": 0.01},
    "generator, two stages": GOOD,
    "generator, new images": NEW | {"copies": 0.02},
}
REAL = {name: {kind: rate for kind, rate in row.items() if kind != "copies"} for name, row in ROWS.items()}


def states(rows, n=40):
    """The checks where n of 40 images asked for came through."""
    checks = release_checks(rows, ("copying", "generator"), 0.5, [n / 40], n, 8)
    return {one.name: (one.state, one.reason) for one in checks}


def test_all_checks_pass_where_all_is_well():
    assert {state for state, _ in states(ROWS).values()} == {"passed"}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"verifier, unseen people": {"auc": 0.9}}, "verifier AUC, unseen people"),
        ({"copying, unfiltered": {"copies": 0.1}}, "over-trained generator: copies seen"),
        ({"generator, two stages": GOOD | {"copies": 0.1}}, "copies by known codes"),
        ({"generator, two stages": GOOD | {"alike": 0.2}}, "linked by the embedding alone"),
        ({"generator, two stages": GOOD | {"pixel_ratio": 0.5}}, "nearest training image, pixels"),
    ],
)
def test_each_check_can_fail(change, failed):
    found = {name: state for name, (state, _) in states(ROWS | change).items()}
    assert found[failed] == "failed"
    assert list(found.values()).count("failed") == 1


def test_a_test_that_takes_strangers_for_training_people_is_not_counted():
    """Shares are above those of new images; where these are most of all images, the check was not run."""
    blind = {name: row | {"alike": 0.9} for name, row in ROWS.items() if name.startswith("generator")}
    state, reason = states(ROWS | blind)["linked by the embedding alone"]
    assert (state, reason) == ("not run", "it takes 90% of new images for images of training people")


def test_real_people_have_no_known_codes_and_the_report_says_so():
    rows = {name: row for name, row in REAL.items() if name != "verifier, unseen people"}
    found = states(rows)
    assert found["copies by known codes"] == ("not run", "the people of real images have no known codes")
    assert found["verifier AUC, unseen people"] == ("not run", "no second visits of test patients")
    assert found["over-trained generator: copies seen"][0] == "passed"


def test_with_too_few_images_nothing_passes_by_itself():
    rows = ROWS | {"generator, two stages": {"images": 3}}
    found = states(rows, n=3)
    for name in ("copies by known codes", "linked by the embedding alone", "nearest training image, pixels"):
        assert found[name] == ("not run", "3 images passed the filter, 8 are the least")
    assert found["accepted share of the rarest class"][0] == "failed"


@pytest.mark.slow
def test_images_of_a_user_without_classes(tmp_path, capsys):
    """People with a bright square each, of three images; no codes, no classes."""
    rng, people = np.random.default_rng(0), np.repeat(np.arange(40), 3)
    images = rng.integers(0, 60, (120, 16, 16), np.uint8)
    for i, person in enumerate(people):
        images[i, 2 + person % 8 : 6 + person % 8, 2 + person // 8 : 6 + person // 8] = 220
    np.savez(tmp_path / "mine.npz", images=images, patient=people)
    folder = tmp_path / "run"
    flags = ["--preset", "smoke", "--data", str(tmp_path / "mine.npz"), "--workdir", str(folder), "--quiet"]
    assert main(["run", "private_xray", *flags]) == 0
    report = json.loads((folder / "release.json").read_text())
    found = {one["name"]: one for one in report["checks"]}
    assert found["copies by known codes"]["state"] == "not run"
    assert found["verifier AUC, unseen people"]["value"] is not None
    assert report["verdict"] in ("failed", "incomplete")
    assert main(["sample", str(folder), "--n", "6"]) == 0
    card = (folder / "samples" / "data_card.md").read_text()
    assert "private_xray, preset smoke" in card
    assert "not run: the people of real images have no known codes" in card
    assert (folder / "samples" / "model_card.md").is_file()
    with np.load(folder / "samples" / "samples.npz") as file:
        passed = len(file["images"])
    assert f"**images**: {passed} of 6" in card
    capsys.readouterr()
    np.savez(tmp_path / "real.npz", images=images)
    assert main(["compare", str(tmp_path / "real.npz"), str(folder), "--release", "--no-cache"]) in (0, 2)
