"""The release report of a run on the command line, and the cards that go with its samples."""

import json

import numpy as np
import pytest

from jaxgen.app import cards
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.medical.privacy.report import check, to_json

CHECKS = [check("copies", 0.02, 0.05), check("verifier AUC", None, 0.97, least=True, reason="no second visits")]
RELEASE = {
    **to_json(CHECKS),
    "number": 7,
    "asked": 9,
    "origin": "a clinic",
    "licence": "CC0-1.0",
    "training_images": 120,
    "intended_use": "tests",
    "acceptance": {"normal": {"asked": 9, "drawn": 30, "accepted": 7, "rate": 7 / 30}},
}
ABOUT = {"experiment": "private_xray", "preset": "small", "changed": ["steps"], "command": "jaxgen run private_xray"}


@pytest.fixture
def folder(tmp_path):
    cards.write_release(tmp_path, RELEASE)
    cards.write_cards(tmp_path, RELEASE, ABOUT)
    return tmp_path


def test_the_cards_say_what_is_known(folder):
    data, model = ((folder / name).read_text() for name in (cards.DATA_CARD, cards.MODEL_CARD))
    for text in (data, model):
        for word in ("a clinic", "CC0-1.0", "preset small, with steps changed", "tests", "release: incomplete"):
            assert word in text
        assert "not run: no second visits" in text
    assert "7 of 9" in data
    assert "| normal | 9 | 30 | 7 |" in data
    assert "**training images**: 120" in model
    assert "`jaxgen run private_xray`" in model


def test_what_is_not_known_is_said_to_be_so():
    assert cards.data_card(to_json([]), {}).count("not stated") >= 4
    assert "release: incomplete" in cards.model_card(to_json([]), {})


def test_without_a_report_none_is_written(tmp_path):
    cards.write_release(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_samples_take_the_checks_of_their_run_and_of_one_not_evaluated_none(folder, tmp_path_factory):
    own = {"number": 3, "asked": 4, "acceptance": {}}
    found = cards.with_report(own, folder)
    assert found["checks"] == RELEASE["checks"]
    assert (found["number"], found["acceptance"], found["licence"]) == (3, {}, "CC0-1.0")
    alone = cards.with_report(own, tmp_path_factory.mktemp("run"))
    assert alone["verdict"] == "incomplete"
    assert "not run: the run has not been evaluated" in cards.data_card(alone, ABOUT)
    assert cards.with_report({}, folder) == {}


@pytest.mark.parametrize("part", ["", "samples.npz"])
def test_the_report_is_read_from_a_run_or_its_samples(folder, part):
    text = "\n".join(cards.release_lines(str(folder / part)))
    assert "copies         0.02    <= 0.05   passed" in text
    assert text.endswith("release: incomplete")


def test_no_report_or_a_damaged_one_ends_in_a_line(folder, tmp_path):
    with pytest.raises(UserError, match="it has no release report"):
        cards.release_lines(str(tmp_path / "elsewhere"))
    (folder / cards.RELEASE).write_text(json.dumps({"checks": [{"name": "copies", "state": "passed"}]}))
    with pytest.raises(UserError, match="no release report: 'value'"):
        cards.release_lines(str(folder))


def test_compare_prints_it_after_its_table(folder, capsys):
    rng = np.random.default_rng(0)
    for name in ("real", "samples"):
        np.savez(folder / f"{name}.npz", images=rng.integers(0, 255, (30, 6, 6), np.uint8))
    sets = [str(folder / "real.npz"), str(folder / "samples.npz")]
    assert main(["compare", *sets, "--release", "--no-cache"]) == 0
    said = capsys.readouterr().out
    assert said.index("Frechet distance") < said.index("release: incomplete")
    assert main(["compare", *sets, "--no-cache"]) == 0
    assert "release" not in capsys.readouterr().out
    assert main(["compare", *sets[::-1], "--release", "--no-cache"]) == 2
    assert "it has no release report" in capsys.readouterr().err
