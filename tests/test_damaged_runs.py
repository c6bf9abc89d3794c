"""A run folder that was damaged on its way: one line that names the file and the fix."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from jaxgen.app import opening
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.experiment import Run, chosen_number

DEEP = "[" * 100_000
CONSTANTS = [
    "[]",
    "{}",
    "5",
    '"top"',
    "null",
    '{"top": "bright"}',
    '{"top": [255]}',
    '{"top": 254.0}',
    DEEP,
    "{",
    "\xff",
]
CHOSEN = [
    "[]",
    "5",
    '{"threshold": []}',
    '{"threshold": {"a": []}}',
    '{"a": {"b": {"c": 1}}}',
    '{"a": true}',
    DEEP,
    "{,}",
]


@pytest.fixture
def copied(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def commands(copied, tmp_path):
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    out = ["--out", str(tmp_path / "out")]
    run = str(copied)
    return [["sample", run, *out], ["eval", run, *out], ["apply", run, str(tmp_path / "a.png"), *out]]


def refused(argv, capsys, name):
    capsys.readouterr()
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert name in error
    assert any(fix in error for fix in ("restore", "copy it again", "go on with", "give the path of a run")), error
    assert len(error) < 1000


@pytest.mark.parametrize("text", CONSTANTS)
def test_constants_that_are_not_those_of_the_training(commands, copied, capsys, text):
    (copied / "constants.json").write_text(text, encoding="latin-1")
    for argv in commands:
        refused(argv, capsys, "constants.json")


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("text", [*CONSTANTS, '{"top": 3.0, "more": 1}'])
def test_an_unfinished_run_does_not_go_on_with_other_constants(copied, capsys, text, checkpoints):
    (copied / "metrics.json").unlink()
    if not checkpoints:
        shutil.rmtree(copied / "checkpoints")
    (copied / "constants.json").write_text(text, encoding="latin-1")
    refused(["run", str(copied)], capsys, "constants.json")


def test_an_unfinished_run_goes_on_with_its_own_constants(copied, capsys):
    (copied / "metrics.json").unlink()
    assert main(["run", str(copied)]) == 0
    assert (copied / "metrics.json").exists()


@pytest.mark.parametrize("source", [{"a": 1}, [1], 7, True, "x.py\0", "folder", "x.txt"])
def test_a_source_that_is_no_python_file(commands, copied, capsys, source):
    about = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(about | {"source": source}))
    for argv in [*commands, ["run", str(copied)]]:
        refused(argv, capsys, "config.json: its source")


@pytest.mark.parametrize("text", CHOSEN)
def test_settings_that_jaxgen_does_not_write(commands, copied, capsys, text):
    (copied / "chosen.json").write_text(text)
    for argv in commands:
        refused(argv, capsys, "chosen.json")


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        DEEP,
        '{"config": []}',
        '{"config": {"steps": []}}',
        '{"config": {"stepz": 1}}',
        '{"config": {"steps": -1}}',
    ],
)
def test_a_configuration_that_is_none(commands, copied, capsys, config):
    about = json.loads((copied / "config.json").read_text())
    try:
        text = json.dumps(about | json.loads(config)) if config.startswith("{") else config
    except RecursionError:
        text = config
    (copied / "config.json").write_text(text)
    for argv in commands:
        refused(argv, capsys, "config.json")


@pytest.mark.parametrize("name", ["metrics.json", "figures/captions.json"])
@pytest.mark.parametrize("text", ["[]", "3", DEEP, "nope"])
def test_results_that_cannot_be_shown_again(copied, capsys, name, text):
    (copied / name).write_text(text)
    refused(["run", str(copied)], capsys, name)


@pytest.mark.parametrize(
    "text", ['{"order": []}', '{"order": {"methods": 3}}', '{"describe": [1]}', '{"describe": {"a": 1}}']
)
def test_captions_of_another_shape(copied, capsys, text):
    (copied / "figures" / "captions.json").write_text(text)
    refused(["run", str(copied)], capsys, "captions.json")


def test_a_setting_that_is_no_number():
    known = Run(None, None, chosen={"a": {"level": "high", "scale": 2}, "b": 3.0})
    assert chosen_number(known, "a", "scale", default=1) == 2
    assert chosen_number(known, "c", "scale", default=1) == 1
    assert chosen_number(known, "a", "other", default=0.5) == 0.5
    for names in (("a", "level"), ("a",), ("b", "level")):
        with pytest.raises(UserError, match=r"chosen\.json"):
            chosen_number(known, *names, default=1)


def data_files(run):
    found = sorted((run / "checkpoints").rglob("*"))
    return [file for file in found if file.is_file() and "ema" in file.parts and file.stat().st_size]


def flip(file, seed):
    content = bytearray(file.read_bytes())
    content[np.random.default_rng(seed).integers(len(content))] ^= 0x40
    file.write_bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_of_checkpoints_are_one_line_without_tracebacks(copied, tmp_path, seed):
    for file in data_files(copied):
        flip(file, seed)
    argv = [sys.executable, "-m", "jaxgen", "sample", str(copied), "--trust-code", "--out", str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "checkpoints" in done.stderr
    assert "copy it again" in done.stderr


def test_a_damaged_last_checkpoint_says_why_the_run_is_behind(commands, copied, capsys):
    for file in data_files(copied):
        if "20" in file.parts and "logistic" in file.parts:
            file.write_bytes(b"")
    for argv in commands:
        refused(argv, capsys, "checkpoints/logistic/20: this checkpoint cannot be read")


def test_an_unfinished_run_of_before_need_not_say_which_training_images_it_has(tmp_path):
    now = {"value_range": [[0.0], [255.0]], "home": "28 examples, 8a7d91bc"}
    opening.refuse_other_facts(tmp_path / "constants.json", {"value_range": [[0.0], [255.0]]}, now)
    for saved in ({}, {"home": now["home"]}, {**now, "home": "35 examples, 00000000"}, {"value_range": [[0.0], [1.0]]}):
        with pytest.raises(UserError, match=r"constants\.json"):
            opening.refuse_other_facts(tmp_path / "constants.json", saved, now)
