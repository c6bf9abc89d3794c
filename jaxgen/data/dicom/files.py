"""The DICOM files of a folder, with those inside it: its volumes, and what is left out and why."""

import filecmp
import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.data import checks
from jaxgen.data.dicom.frames import slices
from jaxgen.data.dicom.tags import NoImageError, Slice, open_file, read
from jaxgen.data.dicom.volumes import Volume, volumes
from jaxgen.errors import UserError

_JUNK = ("thumbs.db", "desktop.ini", "__macosx")


class Found(NamedTuple):
    """What lies in a folder, or in one file.

    Attributes:
        volumes: each with the slices that belong together.
        damaged: DICOM files that cannot be read, and why.
        left_out: DICOM files that hold no image or are copies, and why.
        others: files that are no DICOM.
    """

    volumes: tuple[Volume, ...]
    damaged: dict[Path, str]
    left_out: dict[Path, str]
    others: tuple[Path, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM part 10 files do."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_headless(path: Path) -> bool:
    """Whether a file starts with the first tags of DICOM in little endian, without preamble."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(8)
    if start[:2] not in (b"\x02\0", b"\x08\0") or start[2:4] not in (b"\0\0", b"\1\0", b"\5\0", b"\x08\0", b"\x16\0"):
        return False
    explicit = start[4:6] in (b"UL", b"OB", b"CS", b"UI")
    return explicit or int.from_bytes(start[4:8], "little") < 256


def find(base: Path) -> Found:
    """The volumes in a folder and the folders inside it, or in a file.

    Args:
        base: the folder or file.

    Returns:
        What it holds, in the order of the names.
    """
    files = tuple(_walk(base)) if base.is_dir() else (base,)
    stamps = tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(_stat, files) if s is not None)
    return _find(files, stamps)


@functools.lru_cache(maxsize=4)  # a folder is asked for its header, its pixels, and for each of its volumes
def _find(files: tuple[Path, ...], stamps: tuple[tuple[int, int, int], ...]) -> Found:
    found: list[Slice] = []
    damaged: dict[Path, str] = {}
    left_out: dict[Path, str] = {}
    others: list[Path] = []
    held: dict[Any, Path] = {}
    for path in files:
        if path.exists() and not path.is_dir() and not path.is_file():  # a pipe, a socket
            others.append(path)
            continue
        try:
            with checks.reading(path, "DICOM"):
                if path.is_dir():
                    os.scandir(path).close()  # it was not walked: this says why
                if _is_headless(path):
                    damaged[path] = f"{path}: DICOM without its first 132 bytes; save it again with any DICOM tool"
                    continue
                if not is_dicom(path) and not (path.suffix.lower() == ".dcm" and path.is_file()):
                    others.append(path)
                    continue
                inside = slices(open_file(path, pixels=False), path)
        except NoImageError as error:
            left_out[path] = str(error)
            continue
        except UserError as error:
            damaged[path] = str(error)
            continue
        copied = _copy_of(path, inside, held)
        if copied is not None:
            left_out[path] = f"{path}: a copy of {copied}"
        else:
            found += inside
    return Found(tuple(volumes(found)), damaged, left_out, tuple(others))


def _copy_of(path: Path, inside: list[Slice], held: dict[Any, Path]) -> Path | None:
    """The file that this one is a copy of, in what it says and in its pixels."""
    if "SOPInstanceUID" not in inside[0].tags:
        return None
    key = tuple(tuple(sorted(s.tags.items())) for s in inside)
    first = held.setdefault(key, path)
    if first == path:
        return None
    if filecmp.cmp(first, path, shallow=False):
        return first
    a, b = (read(p).get("PixelData") for p in (first, path))
    return first if a is not None and a == b else None


def _walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Files in the order of their names, folders after them; links that lead back up are passed over."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name.lower() not in _JUNK)
    except OSError:
        yield folder
        return
    yield from (entry for entry in entries if not entry.is_dir())
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, (*above, real))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None
