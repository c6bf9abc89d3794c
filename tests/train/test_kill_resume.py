import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_resume.py")


@pytest.mark.parametrize(
    "kills",
    [pytest.param(3, marks=pytest.mark.thorough), pytest.param(20, marks=pytest.mark.slow)],
    ids=["three kills", "twenty kills"],
)
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, kills):
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path / "runs"), "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{kills} kills, ")
    assert last.endswith(" 0 differ")
    assert int(last.split()[2]) >= kills // 3, last
