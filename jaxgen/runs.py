"""Run folders: where a run keeps its configuration, log, checkpoints, results and report.

========================  ==============================================================================
``config.json``           experiment, preset and every field of the configuration
``constants.json``        what was measured on the data and sampling needs; ``data.json`` says which data
``environment.json``      versions, devices and the command line
``log.jsonl``             one line a log interval; ``tensorboard/<stage>/`` holds the same for TensorBoard
``checkpoints/<stage>/``  the states of training
``chosen.json``           settings that the evaluation chose on validation data, for `jaxgen sample` and `apply`
``metrics.json``          results: deterministic numbers only; written last, so that it marks a finished run
``timings.json``          seconds, and images a second
``figures/``              PNG files, and ``captions.json``
``report.html``           all of it on one page
========================  ==============================================================================
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths inside a run folder.

    Attributes:
        path: the folder.

    Example:
        >>> RunFolder(Path("runs/a")).checkpoints("flow").as_posix()
        'runs/a/checkpoints/flow'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.path / "config.json"

    @property
    def constants(self) -> Path:
        """What was measured on the data."""
        return self.path / "constants.json"

    @property
    def chosen(self) -> Path:
        """What the evaluation chose on validation data."""
        return self.path / "chosen.json"

    @property
    def data(self) -> Path:
        """Which data the run uses."""
        return self.path / "data.json"

    @property
    def environment(self) -> Path:
        """Versions and devices."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """The training log, one JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def metrics(self) -> Path:
        """The results; there once the run is finished."""
        return self.path / "metrics.json"

    @property
    def timings(self) -> Path:
        """Seconds, and images a second."""
        return self.path / "timings.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def captions(self) -> Path:
        """Captions, headline and how to show the metrics."""
        return self.figures / "captions.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def error(self) -> Path:
        """The traceback of the last unexpected error."""
        return self.path / "error.txt"

    def checkpoints(self, stage: str) -> Path:
        """The folder of checkpoints of one stage."""
        return self.path / "checkpoints" / stage

    def finished(self) -> bool:
        """Whether the run has its results."""
        return self.metrics.is_file()


def default_path(experiment: str, preset: str) -> Path:
    """A new path for a run, ``runs/<experiment>/<preset>-<date>-<time>``, that does not exist yet."""
    stem = f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    base = Path("runs") / experiment
    for suffix in ["", *(f"-{i}" for i in range(2, 1000))]:
        if not os.path.lexists(base / (stem + suffix)):
            return base / (stem + suffix)
    raise UserError(f"{base / stem}: it exists already; name a folder with --workdir")


def is_run(path: Path) -> bool:
    """Whether the folder holds a run."""
    return os.path.isfile(path / "config.json")


def open_run(path: Path | str) -> RunFolder:
    """The run folder at `path`.

    Args:
        path: a folder that ``jaxgen run`` made.

    Returns:
        Its paths.

    Raises:
        UserError: if there is no run.

    Example:
        >>> open_run("/no/such/run")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: /no/such/run: there is no such folder; give the path of a run folder
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such folder; give the path of a run folder")
    if not is_run(path):
        raise UserError(f"{path}: it holds no run (no config.json); give the path of a run folder")
    return RunFolder(path)


def create(path: Path, files: Mapping[str, Any]) -> RunFolder:
    """Make a run folder in one step: it appears with its files in it, or not at all.

    Args:
        path: where; it may exist if it is empty.
        files: the JSON files to begin with, by name.

    Returns:
        The folder.

    Raises:
        UserError: if the place cannot be written or holds something else.
    """
    try:
        if path.is_symlink() and not path.exists():
            raise UserError(f"--workdir {path}: it is a symbolic link to nowhere; give another folder")
        if path.exists() and not path.is_dir():
            raise UserError(f"--workdir {path}: it is a file; give a folder that is new or empty")
        if path.is_dir() and any(path.iterdir()):
            raise UserError(f"--workdir {path}: it holds something that is no run; give a folder that is new or empty")
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".jaxgen-", dir=path.parent, ignore_cleanup_errors=True) as name:
            fresh = Path(name) / "run"
            fresh.mkdir()
            for file, content in files.items():
                write_json(fresh / file, content)
            os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"--workdir {path}: it cannot be made ({explain(error)}); give another folder") from error
    return RunFolder(path)


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process, so that two processes never train into it at once.

    Raises:
        UserError: if another process holds it, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = open(folder.path / ".lock", "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"--workdir {folder.path}: it cannot be written ({explain(error)})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                yield  # a file system without locks
                return
            raise UserError(
                f"--workdir {folder.path}: another jaxgen is running in it; wait for it or stop it first"
            ) from error
        yield


def explain(error: OSError) -> str:
    """What went wrong with a file, in a few words.

    Example:
        >>> explain(OSError(28, "x"))
        'no space left on device'
    """
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def plain(value: Any) -> Any:
    """A value as JSON can hold it: arrays become lists, tuples too; what is not finite becomes None.

    Example:
        >>> plain({"a": np.float32(0.5), "b": (1, float("nan"))})
        {'a': 0.5, 'b': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    raise TypeError(f"JSON cannot hold a {type(value).__name__}: {value!r}")


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: the old content or the new, never half of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: the old content or the new, never half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and full precision, in one step."""
    write_text(path, json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """Read a JSON file that jaxgen wrote.

    Args:
        path: the file.
        default: what to return if the file is not there; None makes that an error.

    Raises:
        UserError: if it is not there or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise UserError(f"{path}: there is no such file; is {path.parent} a whole run folder?") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: it is not valid JSON ({error}); restore it from a copy") from error
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({explain(error)})") from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl``; a last line that was cut short by a kill is left out."""
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows
