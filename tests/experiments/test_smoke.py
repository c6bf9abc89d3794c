"""Every experiment's `smoke` is run by some test of this folder, in the precision of its `full`."""

import json
from pathlib import Path

import pytest

from jaxgen import experiment
from jaxgen.cli import main


@pytest.mark.parametrize("name", experiment.names())
def test_smoke_runs_in_the_precision_of_full(name):
    """The fixture of this folder sees to the precision; here it is held that none is left out of the tests."""
    presets = experiment.find(name).presets
    if "full" in presets:
        assert presets["smoke"].precision == presets["full"].precision
    runs = [file.read_text() for file in Path(__file__).parent.glob("test_*.py")]
    marks = ('"--preset", "smoke"', 'runner.train(trilemma.EXPERIMENT, "smoke"')
    assert any(name in text and any(mark in text for mark in marks) for text in runs)


def test_two_moons(tmp_path):
    assert main(["run", "two_moons", "--preset", "smoke", "--workdir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_the_presets_are_those_of_full(smoke_in_the_precision_of_full):
    assert "ddpm" in smoke_in_the_precision_of_full
    assert "kspace_cold_diffusion" in smoke_in_the_precision_of_full
