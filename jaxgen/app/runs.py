"""Run folders: where a run keeps its configuration, log, checkpoints, results and report.

========================  ==============================================================================
``config.json``           experiment, preset and every field of the configuration
``constants.json``        what was measured on the data and sampling needs; ``data.json`` says which data
``environment.json``      versions, devices and the command line
``log.jsonl``             one line a log interval; ``tensorboard/<stage>/`` holds the same for TensorBoard
``checkpoints/<stage>/``  the states of training
``chosen.json``           settings that the evaluation chose on validation data, for `jaxgen sample` and `apply`
``release.json``          what was checked before images are given away, of experiments that check it
``metrics.json``          results: deterministic numbers only; written last, so that it marks a finished run
``timings.json``          seconds, and images per second
``progress/``             figures of evaluations while training, ``<stage>-<step>.png``
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
import re
import shlex
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen import discovery
from jaxgen.errors import UserError

FILES = (
    "config.json", "constants.json", "chosen.json", "data.json", "environment.json", "metrics.json", "timings.json",
    "log.jsonl", "log.tmp", "report.html", "error.txt", "release.json", ".lock",
)  # fmt: skip
FOLDERS = ("checkpoints", "tensorboard", "figures", "progress", "samples", "evaluations")
MOST_JSON = 64 * 2**20
"""Bytes of a JSON file at most; those that jaxgen writes are thousands of times smaller."""
MOST_DEPTH = 50
"""Levels of a JSON file at most."""
SAID = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


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
        """Seconds, and images per second."""
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
    return os.path.lexists(path / "config.json")


def is_argument(name: str) -> bool:
    """Whether ``jaxgen run NAME`` means a run folder: no experiment, and a folder that holds a run or has a path.

    Example:
        >>> is_argument("flow_sdf"), is_argument("my_experiment.py")
        (False, False)
    """
    if name.endswith(".py") or name in discovery.names() or not os.path.isdir(name):
        return False
    return os.sep in name or is_run(Path(name))


def argument(path: Path) -> str:
    """How ``jaxgen run`` is told of a run folder, also of one that is called like an experiment.

    Example:
        >>> argument(Path("runs/a b")), argument(Path("flow_sdf"))
        ("'runs/a b'", './flow_sdf')
    """
    text = str(path)
    return shlex.quote(f"./{text}" if text in discovery.names() else text)


def open_run(path: Path | str) -> RunFolder:
    """The run folder at `path`, all of which lies inside of it.

    A run folder may come from a stranger: one whose files are links (to read or write somewhere else), or no files at
    all, is refused. The folder itself may be a link.

    Args:
        path: a folder that ``jaxgen run`` made.

    Returns:
        Its paths.

    Raises:
        UserError: if there is no run, or a part of it is a link.

    Example:
        >>> open_run("/no/such/run")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: /no/such/run: there is no such folder; give the path of a run folder
    """
    path = Path(path)
    try:
        path.stat()
        if not is_run(path):
            raise UserError(f"{path}: it holds no run (no config.json); give the path of a run folder")
        _refuse_links(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such folder; give the path of a run folder") from None
    except ValueError:  # a zero byte in the name
        raise UserError(f"{path}: no file can have this name; give the path of a run folder") from None
    except OSError as error:
        raise UserError(f"{error.filename or path}: it cannot be read ({explain(error)})") from error
    return RunFolder(path)


def _refuse_links(path: Path) -> None:
    """Refuse a run folder of which a part lies elsewhere or is no file; links among figures are left to the page."""
    for name in FILES:
        if os.path.lexists(path / name):
            _refuse_link(path / name, (path / name).lstat().st_mode, stat.S_ISREG)
    for name in FOLDERS:
        if os.path.lexists(path / name):
            _refuse_link(path / name, (path / name).lstat().st_mode, stat.S_ISDIR)
            _refuse_links_below(path / name)


def _refuse_links_below(folder: Path) -> None:
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        for name in _names_in(place):
            path = place / name
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:  # a run that trains meanwhile writes and deletes
                continue
            if place.name == "figures" and name != "captions.json" and not stat.S_ISDIR(mode):
                continue
            _refuse_link(path, mode, lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode))
            if stat.S_ISDIR(mode):
                waiting.append(path)


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _refuse_link(path: Path, mode: int, right: Any) -> None:
    if stat.S_ISLNK(mode):
        raise UserError(
            f"{path}: it is a link to {os.readlink(path)}, and a run folder holds its own files; "
            "copy what it leads to here if you know it, or delete the link"
        )
    if not right(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "no file (a pipe or a device)"
        raise UserError(f"{path}: it is {kind}, which a run folder does not hold there; delete it")


def is_plain_name(name: str) -> bool:
    r"""Whether a text is the name of a file and not a way to somewhere else.

    Example:
        >>> [is_plain_name(name) for name in ("samples", "../secret", "/etc/passwd", "..", "", "a\\0b")]
        [True, False, False, False, False, False]
    """
    return name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0") and len(name) <= 200


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
        UserError: if it is not there, is damaged, or holds what jaxgen does not write: numbers that are not finite or
            have no end, text that is no Unicode, many levels.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: it is no file; delete it, and restore the file from a copy")
        if path.stat().st_size > MOST_JSON:
            raise UserError(
                f"{path}: it is larger than {MOST_JSON >> 20} MiB, and so not of jaxgen; restore it from a copy"
            )
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_finite_float)
        if not _shallow(value):
            raise ValueError(f"more than {MOST_DEPTH} levels")
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()
    except FileNotFoundError:
        if default is not None:
            return default
        raise UserError(f"{path}: there is no such file; is {path.parent} a whole run folder?") from None
    except RecursionError:
        raise UserError(f"{path}: it is not valid JSON (too many levels); restore it from a copy") from None
    except UnicodeEncodeError:
        raise UserError(f"{path}: it is not valid JSON (text that is no Unicode); restore it from a copy") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: it is not valid JSON ({error}); restore it from a copy") from error
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({explain(error)})") from error
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _bounded_int(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:30]} is too large")
    return value


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False


Shape = type | list | dict
"""What an entry must be: a type; ``[shape]``, a list of such; ``{str: shape}``, an object of such."""


def read_object(path: Path, shapes: Mapping[str, Shape] | None = None, default: dict[str, Any] | None = None) -> dict:
    """Read a JSON file that holds an object, with entries of the kinds that jaxgen writes.

    Args:
        path: the file.
        shapes: what entries must be where they are there: ``dict``, ``list``, ``str``, ``float`` (any number),
            ``[shape]`` for a list of such and ``{str: shape}`` for an object of such.
        default: what to return if the file is not there; None makes that an error.

    Returns:
        The object.

    Raises:
        UserError: if it is not there, damaged, or of another kind; the message names the file and the entry.

    Example:
        >>> read_object(Path("no/such.json"), {"figures": [dict]}, default={})
        {}
    """
    value = read_json(path, default)
    wrong = "" if isinstance(value, dict) else f"it holds {_kind(value)}, not an object"
    if not wrong:
        found = (_misfit(value[name], shape, name) for name, shape in (shapes or {}).items() if name in value)
        wrong = next(filter(None, found), "")
    if wrong:
        raise UserError(f"{path}: {wrong}; restore it from a copy, or make the run again")
    return value


CONFIG: Mapping[str, Shape] = {
    "config": dict, "changed": [str], "experiment": str, "summary": str, "baseline": str, "command": str,
}  # fmt: skip
CAPTIONS: Mapping[str, Shape] = {
    "figures": [dict], "headline": str, "describe": {str: dict}, "order": {str: [str]},
}  # fmt: skip
TIMINGS: Mapping[str, Shape] = {
    "stages": {str: {str: float}}, "measured": {str: dict}, "total_seconds": float, "sessions": float,
    "load_seconds": float, "evaluate_seconds": float,
}  # fmt: skip
"""The entries of the files that a page is made from."""


def _kind(value: Any) -> str:
    return "null" if value is None else SAID[type(value)]


def _misfit(value: Any, shape: Shape, name: str) -> str:
    """What is wrong with an entry, in words; empty if nothing is."""
    kind: Any = list if isinstance(shape, list) else dict if isinstance(shape, dict) else shape
    fits = isinstance(value, int | float) and not isinstance(value, bool) if kind is float else isinstance(value, kind)
    if not fits:
        return f"its entry {name!r} is {_kind(value)}, not {SAID[kind]}"
    if isinstance(shape, list):
        inner = ((entry, shape[0], f"{name}[{i}]") for i, entry in enumerate(value))
    elif isinstance(shape, dict):
        inner = ((entry, shape[str], f"{name}.{key}") for key, entry in value.items())
    else:
        return ""
    return next(filter(None, (_misfit(*one) for one in inner)), "")


MOST_LOG = 64 * 2**20
"""Bytes of a log that are read whole; of a longer one every other line, every third, and so on."""


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl`` but for those that are none, such as a last one cut short by a kill."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    every = 1 + path.stat().st_size // MOST_LOG
    with path.open(encoding="utf-8", errors="replace") as file:
        number = 0
        while line := file.readline(100_000):
            number += 1
            if number % every:
                continue
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line, parse_int=_bounded_int)
                if (
                    isinstance(row, dict)
                    and isinstance(row.get("step", 0), int | float)
                    and isinstance(row.get("warning", ""), str)
                ):
                    rows.append(row)
    return rows
