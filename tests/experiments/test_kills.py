"""Experiments of every kind, killed (SIGKILL) at random moments: they end bit for bit as if they had not been."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "train" / "kill_resume.py"
KILLS = 20
RUNS = {
    "ddpm": [],
    "vae": [],
    "gan": [],
    "normalizing_flow": [],
    "flow_sdf": [],
    "anomaly_latent": [],
    "mri_reconstruction": [],
    "brain_ldm": [],
    "text_to_image": [],
    "registration": [],
}
"""Generation, likelihoods, a game, segmentation, latent codes, measurements, volumes, text, pairs; several stages."""


def test_there_are_two_hundred():
    assert KILLS * len(RUNS) >= 200


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_ends_as_if_it_had_not_been(name, tmp_path):
    run = [sys.executable, "-m", "jaxgen", "run", name, "--preset", "smoke", "--quiet", "--workdir", "{workdir}"]
    run += ["--steps", "40", "--checkpoint-every", "2", "--log-every", "1", *RUNS[name]]
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "runs"), "--kills", str(KILLS), "--", *run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{KILLS} kills, ")
    assert last.endswith(" 0 differ")
