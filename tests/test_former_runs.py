"""Runs of the version before: facts, fields and stages that have another name since open, go on and are evaluated."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from jaxgen.app.cli import main
from jaxgen.app.opening import open_trained
from jaxgen.consent import given
from jaxgen.train import Reporter, fingerprint

CHANGES = {
    "    top: float\n": '    brightest: float\n    renamed = {"top": "brightest"}\n',
    "Brightest(top=": "Brightest(brightest=",
    "facts.top": "facts.brightest",
    "    noise: float = option(0.2,": '    spread: float = option(0.2, formerly="noise", help=',
    "config.noise": "config.spread",
    "def stage(name, sees_image):": 'def stage(name, sees_image, formerly=""):',
    "return StageSpec(name, build)": "return StageSpec(name, build, formerly=formerly)",
    'stage("constant", False)': 'stage("offset", False, "constant")',
    'run.params["constant"]["net"]["bias"] if': 'run.params["offset"]["net"]["bias"] if',
    'run.params[name] if name == "logistic" else {"net": {**run.params[name]["net"], "scale": 0.0}}': (
        'run.params[name] if name == "logistic" else {"net": {**run.params["offset"]["net"], "scale": 0.0}}'
    ),
}


@pytest.fixture
def experiment(toy_file, tmp_path):
    """A user's experiment of the version before, and a function that brings it to the version of now."""
    path = tmp_path / "mine.py"
    before = toy_file.read_text()
    path.write_text(before)

    def renew():
        text = before
        for old, new in CHANGES.items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)

    return path, renew


def run(path, folder, *flags):
    return main(["run", str(path), "--preset", "smoke", "--quiet", "--workdir", str(folder), *flags])


def prints(folder):
    with given(code=True):
        opened = open_trained(folder)
    return {name: fingerprint(params) for name, params in opened.run.params.items()}, opened


def test_a_finished_run_opens_under_the_new_names(experiment, tmp_path, capsys):
    path, renew = experiment
    folder = tmp_path / "run"
    assert run(path, folder, "--noise", "0.3") == 0
    before, _ = prints(folder)
    renew()
    now, opened = prints(folder)
    assert now == {"offset": before["constant"], "logistic": before["logistic"]}
    assert opened.run.config.spread == 0.3
    assert opened.run.facts.brightest > 0
    assert main(["eval", str(folder), "--trust-code", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()
    assert main(["sample", str(folder), "--trust-code", "--n", "2"]) == 0
    PIL.Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "a.png")
    assert main(["apply", str(folder), str(tmp_path / "a.png"), "--trust-code", "--out", str(tmp_path / "masks")]) == 0
    assert run(path, folder, "--noise", "0.3") == 0
    assert "is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["constant", "logistic"])
@pytest.mark.parametrize("by_folder", [True, False])
def test_an_unfinished_run_goes_on_bit_for_bit(experiment, tmp_path, monkeypatch, stage, by_folder):
    path, renew = experiment
    assert run(path, tmp_path / "whole") == 0
    want, _ = prints(tmp_path / "whole")
    log = Reporter.log

    def stops(self, record, image=b""):
        log(self, record, image)
        if (record["stage"], record["step"]) == (stage, 10):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "log", stops)
        assert run(path, tmp_path / "run") == 143
    assert not (tmp_path / "run" / "metrics.json").exists()
    renew()
    if by_folder:
        assert main(["run", str(tmp_path / "run"), "--trust-code", "--quiet"]) == 0
    else:
        assert run(path, tmp_path / "run") == 0
    assert (tmp_path / "run" / "metrics.json").read_bytes() == (tmp_path / "whole" / "metrics.json").read_bytes()
    got, _ = prints(tmp_path / "run")
    assert got == {"offset": want["constant"], "logistic": want["logistic"]}
    assert sorted(place.name for place in (tmp_path / "run" / "checkpoints").iterdir()) == ["constant", "logistic"]


def test_a_new_run_has_the_new_names_and_the_same_random_numbers(experiment, tmp_path):
    path, renew = experiment
    assert run(path, tmp_path / "before") == 0
    renew()
    assert run(path, tmp_path / "now") == 0
    assert sorted(place.name for place in (tmp_path / "now" / "checkpoints").iterdir()) == ["logistic", "offset"]
    assert (tmp_path / "now" / "metrics.json").read_bytes() == (tmp_path / "before" / "metrics.json").read_bytes()
    saved = json.loads((tmp_path / "now" / "constants.json").read_text())
    assert set(saved) == {"brightest"}
    config = json.loads((tmp_path / "now" / "config.json").read_text())["config"]
    assert "noise" not in config
    assert config["spread"] == 0.2


@pytest.mark.parametrize(("file", "old"), [("constants.json", "top"), ("config.json", "noise")])
def test_a_name_that_was_never_one_is_one_line(experiment, tmp_path, capsys, file, old):
    path, renew = experiment
    assert run(path, tmp_path / "run") == 0
    renew()
    place = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy")) / file
    place.write_text(place.read_text().replace(f'"{old}"', '"nonsense"'))
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "copy"), "--trust-code"]) == 2
    error = capsys.readouterr().err
    assert "nonsense" in error
    assert error.count("\n") == 1
