"""Read many damaged or odd files in one process; each failure is one JSON line on standard output.

``python -m tests.fuzz.worker KIND FIRST LAST SEED`` reads the cases FIRST to LAST - 1 of one kind of file.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxgen.errors import UserError
from tests.fuzz import arrays, dicom, nifti, png, tiff
from tests.fuzz.damage import damage

SECONDS = 10
MOST_MEMORY = 2**30
_UNDAMAGED = 0.25
_FILES = {
    "png": (".png", png.write, None),
    "tiff": (".tif", tiff.write, tiff.read),
    "nifti": (".nii", nifti.write, nifti.read),
    "nifti-gz": (".nii.gz", nifti.write, None),
    "dicom": (".dcm", dicom.write, dicom.read),
    "npz": (".npz", arrays.write_npz, arrays.read_npz),
    "h5": (".h5", arrays.write_h5, None),
}
KINDS = (*_FILES, "json", "checkpoint")


class _TooSlow(BaseException):
    """A file took longer than `SECONDS`."""


@contextlib.contextmanager
def _within_seconds() -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise _TooSlow

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def _peak() -> int:
    """Bytes at most of this program alone: `ru_maxrss` counts those of the process that started it too."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def read_values(kind: str, path: Path) -> np.ndarray:
    """The image, or all images of a set in the order of their names."""
    if kind != "npz":
        from jaxgen.data import readers

        with contextlib.suppress(UserError):
            readers.read_header(path)
        return readers.read_image(path).array
    from jaxgen.data import load

    splits = load(path, wants=("image",), spatial=2)
    parts = (splits.train, splits.validation, splits.test)
    found = {int(name): part[i]["image"] for part in parts for i, name in enumerate(part.names)}
    return np.stack([found[i] for i in sorted(found)])


def differs(found: np.ndarray, truth: np.ndarray) -> str:
    """What is wrong with values that were read, or nothing."""
    if found.shape != truth.shape:
        return f"read {found.shape}, true {truth.shape}"
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.allclose(found.astype(np.float64), truth.astype(np.float64), rtol=1e-6, atol=1e-6, equal_nan=True)
    return "" if near else f"values differ: read {found.ravel()[:3]}, true {truth.ravel()[:3]}"


def check_file(kind: str, rng: np.random.Generator, folder: Path) -> str:
    """Make, perhaps damage, and read one file; what went wrong, or nothing."""
    suffix, write, second = _FILES[kind]
    path = folder / f"case{suffix}"
    truth = write(rng, path)
    damaged = rng.random() >= _UNDAMAGED
    if damaged:
        path.write_bytes(damage(rng, path.read_bytes()))
    try:
        found = read_values(kind, path)
    except UserError as error:
        line = str(error)
        if "\n" in line or str(path) not in line:
            return f"not one line that names the file: {line}"
        return "" if damaged or truth["may_refuse"] else f"a sound file is refused: {line}"
    if not damaged:
        wrong = "" if truth["image"] is None else differs(found, truth["image"])
        return wrong or _mask_differs(path, truth["mask"])
    other = None if second is None else second(path.read_bytes())
    return "" if other is None or not np.isfinite(other).all() else differs(found, other)


def _mask_differs(path: Path, truth: np.ndarray | None) -> str:
    from jaxgen.data import readers

    return "" if truth is None else differs(readers.read_mask(path), np.asarray(truth))


def check_run(kind: str, rng: np.random.Generator, run: Path, folder: Path, true: list[np.ndarray]) -> str:
    """Damage a copy of a run, and open it as the commands do; what went wrong, or nothing."""
    from jaxgen.app import cli
    from tests.fuzz import runs

    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    what = (runs.damage_json if kind == "json" else runs.damage_checkpoint)(rng, run, copy)
    with _caught_streams(folder / "said") as said:
        try:
            if kind == "json":
                code = cli.main(["report", str(copy)])
                if code == 0:  # what the other commands read too
                    runs.params(copy)
            else:
                code = 0
                found = runs.params(copy)
        except UserError as error:
            code = 2
            if "\n" in str(error):
                return f"{what}: not one line: {error}"
    lines = said.read_text(errors="replace").strip().splitlines()
    if code not in (0, 2) or any("Traceback" in line for line in lines):
        return f"{what}: exit code {code}, {' | '.join(lines)[:500]}"
    if kind == "json" and len(lines) > 1:
        return f"{what}: {len(lines)} lines: {' | '.join(lines)[:500]}"
    if kind == "checkpoint" and code == 0:
        same = len(found) == len(true) and all(np.array_equal(a, b) for a, b in zip(found, true, strict=True))
        return "" if same else f"{what}: parameters are read wrong without a word"
    return ""


@contextlib.contextmanager
def _caught_streams(path: Path) -> Iterator[Path]:
    """Standard output and error of all threads and libraries, in a file."""
    held = [os.dup(1), os.dup(2)]
    with open(path, "wb") as file:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield path
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(held[0], 1)
            os.dup2(held[1], 2)
            for number in held:
                os.close(number)


def main(kind: str, first: int, last: int, seed: int) -> None:
    """Check the cases of one kind and print what fails."""
    with tempfile.TemporaryDirectory() as name:
        folder, run, true = Path(name), Path(), []
        if kind in _FILES:  # imports are not part of a file's time
            check_file(kind, np.random.default_rng(0), folder)
        else:
            from tests.fuzz import runs

            with _caught_streams(folder / "said"):
                run = runs.make(folder / "run")
                true = runs.params(run)
        for i in range(first, last):
            rng = np.random.default_rng([seed, KINDS.index(kind), i])
            try:
                with _within_seconds():
                    if kind in _FILES:
                        wrong = check_file(kind, rng, folder)
                    else:
                        wrong = check_run(kind, rng, run, folder, true)
            except _TooSlow:
                wrong = f"longer than {SECONDS} s"
            except Exception:
                wrong = traceback.format_exc()[-1500:]
            if not wrong and kind in _FILES and _peak() > MOST_MEMORY:
                wrong = f"{_peak() / 2**20:.0f} MiB at the peak"
            if wrong:
                print(json.dumps({"kind": kind, "case": i, "wrong": wrong}), flush=True)
    print(json.dumps({"kind": kind, "done": last - first}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
