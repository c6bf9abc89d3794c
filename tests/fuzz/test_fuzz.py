"""Damaged and odd files end in one clear line or in the right values: no traceback, no hang, bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.worker import KINDS

pytest.importorskip("pydicom")
pytest.importorskip("h5py")

ROOT = Path(__file__).parents[2]
CASES = {"png": 1700, "tiff": 1700, "nifti": 1300, "nifti-gz": 500, "dicom": 1700, "npz": 1200, "h5": 700}
CASES |= {"json": 700, "checkpoint": 500}


def failures(kind: str, count: int, seed: int) -> list[dict]:
    """What a process of its own found wrong; a crash or a hang of the process is one more failure."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.worker", kind, "0", str(count), str(seed)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60 + 2 * count)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not lines or lines[-1].get("done") != count:
        lines.append({"kind": kind, "wrong": f"the process ended early: {done.returncode}, {done.stderr[-1000:]}"})
    return [line for line in lines if "wrong" in line]


def test_the_cases_are_ten_thousand_and_of_every_kind():
    assert set(CASES) == set(KINDS)
    assert sum(CASES.values()) == 10_000


@pytest.mark.parametrize(
    "kind", ["png", "tiff", "nifti", "dicom", "npz", "h5", pytest.param("json", marks=pytest.mark.thorough)]
)
def test_a_few_damaged_and_odd_files(kind):
    assert failures(kind, 25, seed=1) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_and_odd_files(kind):
    assert failures(kind, CASES[kind], seed=2) == []
