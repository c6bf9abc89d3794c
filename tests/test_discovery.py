"""The experiments are found and described without importing them, whatever else is called ``experiments``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgen import discovery, experiment

ROOT = Path(__file__).parent.parent


def run(*argv, cwd, code=None):
    words = ["-c", code] if code else ["-m", "jaxgen", *argv]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


def test_the_card_of_every_experiment_says_what_the_experiment_says():
    for name in discovery.names():
        found = experiment.find(name)
        assert discovery.card(name) == (found.name, found.summary, found.data, tuple(found.presets)), name


def test_list_imports_no_experiment_and_no_heavy_library(tmp_path):
    code = "import sys; from jaxgen.app.cli import main; main(['list']); print(sorted(sys.modules))"
    out = run(cwd=tmp_path, code=code).stdout
    listed, _, modules = out.rpartition("[")
    assert all(name in listed for name in discovery.names())
    heavy = (
        "jax",
        "numpy",
        "flax",
        "optax",
        "matplotlib",
        "experiments",
        "experiments.segmentation.flow_sdf",
        "jaxgen.experiment",
    )
    assert not [name for name in heavy if f"'{name}'" in modules]


def test_a_configuration_that_only_asks_what_it_can_draw_builds_no_network(monkeypatch):
    from experiments.studies import trilemma
    from jaxgen.families import any_width

    def refused(*args, **options):
        raise AssertionError("a network was built")

    for name in ("unet", "encoder", "decoder", "glow", "dcgan_generator", "cnf_model", "diffusion_model"):
        monkeypatch.setattr(any_width, name, refused)
    assert trilemma.TrilemmaConfig().families


HIDING = {
    "a package": {"experiments/__init__.py": "raise SystemExit('hidden')"},
    "a folder": {"experiments/notes.txt": ""},
    "a package with files of the same names": {
        "experiments/__init__.py": "",
        "experiments/first/two_moons.py": "X = 1",
    },
    "a module, and modules called like a library and like ours": {
        "experiments.py": "raise SystemExit('hidden')",
        "flax.py": "raise SystemExit('hidden')",
        "optax/__init__.py": "1 / 0",
        "report.py": "1 / 0",
        "errors.py": "1 / 0",
        "config.py": "1 / 0",
    },
}


@pytest.mark.parametrize("files", HIDING.values(), ids=HIDING)
def test_nothing_in_the_working_directory_hides_an_experiment(tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    out = run("list", cwd=tmp_path)
    assert all(f"{name}\n" in out.stdout for name in discovery.names()), out.stderr
    out = run("run", "two_moons", "--help", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "--steps" in out.stdout


def test_a_package_of_the_same_name_that_was_imported_before_hides_nothing(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.py").write_text("X = 3")
    (tmp_path / "experiments" / "__init__.py").write_text("")
    code = """import os, sys
sys.path.insert(0, os.getcwd())
import experiments.mine
assert os.path.realpath(experiments.mine.__file__).startswith(os.path.realpath(os.getcwd()))
from jaxgen.experiment import find
print(find('two_moons').name, experiments.mine.X)"""
    out = run(cwd=tmp_path, code=code)
    assert out.stdout.strip() == "two_moons 3", out.stderr


def test_a_users_file_imports_both_its_own_folder_and_ours(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.py").write_text("NAME = 'two_moons'")
    (tmp_path / "my.py").write_text(
        "from experiments.mine import NAME\nfrom experiments.first.two_moons import EXPERIMENT\n"
        "assert NAME == 'two_moons'\n"
    )
    out = run("run", "my.py", "--help", cwd=tmp_path)
    assert out.returncode == 0, out.stderr


@pytest.mark.thorough
def test_from_a_checkout_modules_are_commands_too(tmp_path):
    """The first trains; the others find its folder, and say the same."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    flags = ["--preset", "smoke", "--steps", "4", "--quiet", "--workdir", str(tmp_path / "run")]
    for module in ("experiments two_moons", "experiments.first.two_moons", "jaxgen run two_moons"):
        name, *rest = module.split()
        words = [sys.executable, "-m", name, *rest, *flags]
        out = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
        assert out.returncode == 0, out.stderr
        assert "Energy distance" in out.stdout
        command = json.loads((tmp_path / "run" / "config.json").read_text())["command"]
        assert command == "jaxgen run two_moons --preset smoke --steps 4"


def test_a_module_without_a_name_says_how_it_is_called():
    out = subprocess.run([sys.executable, "-m", "experiments"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert out.returncode == 2
    assert "usage: jaxgen run NAME" in out.stdout
