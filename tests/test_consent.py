"""A run folder of a stranger runs no code of its own and downloads nothing, unless the user said so."""

import json
import shutil
from pathlib import Path

import pytest

from jaxgen import consent
from jaxgen.app import opening
from jaxgen.app.cli import main
from jaxgen.data import load
from jaxgen.errors import UserError


@pytest.fixture
def stranger(toy_run, tmp_path):
    """A copy of a finished run whose file leaves a mark when it is executed; nothing was agreed to."""
    path = Path(shutil.copytree(toy_run, tmp_path / "run"))
    about = json.loads((path / "config.json").read_text())
    code = Path(about["source"]).read_text()
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n{code}")
    (path / "config.json").write_text(json.dumps({**about, "source": str(tmp_path / "theirs.py")}))
    with consent.exactly(consent.Consent()):
        yield path


def change(path, **entries):
    about = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**about, **entries}))


COMMANDS = {
    "sample": ["sample", "RUN", "--n", "2", "--out", "OUT"],
    "eval": ["eval", "RUN", "--out", "OUT"],
    "apply": ["apply", "RUN", "IMAGE", "--out", "OUT"],
    "run": ["run", "RUN"],
}


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_a_command_executes_the_file_of_a_run_with_the_flag_alone(stranger, tmp_path, capsys, argv):
    import numpy as np
    import PIL.Image

    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    places = {"RUN": str(stranger), "OUT": str(tmp_path / "out"), "IMAGE": str(tmp_path / "a.png")}
    argv = [places.get(word, word) for word in argv]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the file {tmp_path / 'theirs.py'} would be executed" in error
    assert f"type: jaxgen {' '.join(argv)} --trust-code" in error
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "out").exists()
    assert main([*argv, "--trust-code"]) == 0
    assert (tmp_path / "mark").exists()


def test_report_needs_no_code(stranger, tmp_path):
    assert main(["report", str(stranger)]) == 0
    assert not (tmp_path / "mark").exists()


def test_a_run_goes_on_with_the_file_that_the_user_named_and_not_with_that_of_the_folder(stranger, toy_file, tmp_path):
    (stranger / "metrics.json").unlink()
    argv = ["run", str(toy_file), "--preset", "smoke", "--workdir", str(stranger)]
    assert main(argv) == 0
    assert not (tmp_path / "mark").exists()
    assert main(["run", "flow_sdf", "--workdir", str(stranger)]) == 2
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"source": None, "experiment": "FILE"}, "is none that comes with jaxgen"),
        ({"source": "", "experiment": "FILE"}, "is none that comes with jaxgen"),
        ({"source": None, "experiment": "../theirs"}, "is none that comes with jaxgen"),
        ({"source": None, "experiment": "_mri"}, "is none that comes with jaxgen"),
        ({"source": None, "experiment": "flow_sdff"}, "did you mean 'flow_sdf'"),
        ({"source": None, "experiment": ["flow_sdf"]}, "is none that comes with jaxgen"),
        ({"source": None, "experiment": None}, "is none that comes with jaxgen"),
        ({"source": "FOLDER"}, "is no Python file"),
        ({"source": ["FILE"]}, "is no Python file"),
        ({"source": {"a": 1}}, "is no Python file"),
        ({"source": "FILE\0.py"}, "is no Python file"),
        ({"source": True}, "is no Python file"),
    ],
    ids=str,
)
@pytest.mark.parametrize("trust", [False, True])
def test_an_experiment_is_a_built_in_name_whatever_was_agreed_to(stranger, tmp_path, entries, words, trust):
    places = {"FILE": str(tmp_path / "theirs.py"), "FOLDER": str(tmp_path)}
    change(stranger, **{k: places.get(v, v) if isinstance(v, str) else v for k, v in entries.items()})
    with consent.given(code=trust), pytest.raises(UserError, match=words) as error:
        opening.open_config(stranger)
    assert "config.json" in str(error.value)
    assert not (tmp_path / "mark").exists()


def test_what_a_program_agrees_to_ends_with_the_block(stranger, tmp_path):
    with pytest.raises(UserError, match="would be executed"):
        opening.open_config(stranger)
    with consent.given(code=True):
        assert opening.open_config(stranger)[1].name == "toy"
    with pytest.raises(UserError, match="would be executed"):
        opening.open_trained(stranger)


@pytest.fixture
def downloads(monkeypatch):
    """Names of what was asked of the network."""
    import tensorflow_datasets as tfds

    asked = []

    class Builder:
        def is_prepared(self):
            return False

        def download_and_prepare(self):
            raise OSError("no route")

    monkeypatch.setattr(tfds, "builder", lambda name, **options: asked.append(name) or Builder())
    original = Builder.download_and_prepare
    monkeypatch.setattr(Builder, "download_and_prepare", lambda self: (asked.append("network"), original(self)))
    return asked


@pytest.mark.parametrize("data", ["mnist", "mnist:3.0.1", "cifar10", "fashion_mnist"])
def test_data_of_a_run_are_not_downloaded_unless_the_user_says_so(stranger, tmp_path, capsys, downloads, data):
    change(stranger, config={**json.loads((stranger / "config.json").read_text())["config"], "data": data})
    assert main(["sample", str(stranger), "--out", str(tmp_path / "samples"), "--trust-code"]) == 0  # without data
    assert "network" not in downloads
    argv = ["eval", str(stranger), "--out", str(tmp_path / "out"), "--trust-code"]
    assert main(argv) == 2
    assert "network" not in downloads
    error = capsys.readouterr().err
    assert f"--data {data}: it is not on this disk" in error
    assert f"type: jaxgen {' '.join(argv)} --download" in error
    assert main([*argv, "--download"]) == 2
    assert "no route" in capsys.readouterr().err
    assert downloads.pop() == "network"


def test_data_that_the_user_typed_are_downloaded_and_no_other(stranger, toy_file, tmp_path, capsys, downloads):
    main(["eval", str(stranger), "--data", "mnist", "--out", str(tmp_path / "out"), "--trust-code"])
    assert "network" in downloads
    downloads.clear()
    main(["run", str(toy_file), "--data=cifar10", "--workdir", str(tmp_path / "new")])
    assert "network" in downloads
    downloads.clear()
    with consent.given(typed="cifar10"), pytest.raises(UserError, match="not on this disk"):
        load("mnist")
    assert "network" not in downloads


def test_a_program_that_opens_a_run_downloads_nothing_and_its_own_data_it_may(stranger, downloads):
    change(stranger, config={**json.loads((stranger / "config.json").read_text())["config"], "data": "mnist"})
    with consent.given(code=True):
        _, experiment, _, config = opening.open_config(stranger)
        with pytest.raises(UserError, match="not on this disk"):
            experiment.load(config)
    assert "network" not in downloads
    with pytest.raises(UserError, match="no route"):
        load("mnist")


def test_sets_that_are_on_disk_need_no_consent(stranger):
    with consent.exactly(consent.Consent(downloads=())):
        assert len(load("nuclei_dsb2018").train)


def test_help_names_the_flags(capsys):
    for command in ("apply", "sample", "eval"):
        assert main([command, "--help"]) == 0
        said = capsys.readouterr().out
        assert "--trust-code" in said
        assert "--download" in said
    assert main(["run", "two_moons", "--help"]) == 0
    assert "--download" in capsys.readouterr().out
