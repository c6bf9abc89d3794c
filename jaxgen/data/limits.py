"""How much memory a file may ask for: what it announces is compared with a limit before anything is decoded.

A few bytes can announce or unpack to more than a computer holds. A file may decode to 256 MiB, or to 50 times its size
on disk where that is more: real scans compress less than that, and large files stay readable. ``--max-file-mib`` (or
the environment variable ``JAXGEN_MAX_FILE_MIB``) raises the 256 MiB.
"""

import os
import stat
import zlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from jaxgen import file_limits
from jaxgen.errors import UserError
from jaxgen.file_limits import VARIABLE

DEFAULT_MIB = 256
RATIO = 50
_CHUNK = 2**16


def most_bytes(path: str | PathLike[str]) -> int:
    """The number of bytes that a file may decode to.

    Args:
        path: a regular file.

    Returns:
        The limit, or 50 times the bytes that the file takes on disk (holes of sparse files take none).

    Raises:
        UserError: if the environment variable is no whole number from 1.
    """
    return max(file_limits.most_bytes(DEFAULT_MIB), RATIO * _on_disk(path))


def check_size(path: str | PathLike[str], announced: int, what: str = "") -> None:
    """Refuse a file that announces more bytes than it may decode to.

    Args:
        path: the file.
        announced: bytes after decoding.
        what: a part of the file, for the message.

    Raises:
        UserError: naming the file and the flag that raises the limit.

    Example:
        >>> check_size(__file__, 2**40)
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: ...limits.py: announces 1048576 MiB of data, ...
    """
    _check(f"{path}: {what}" if what else f"{path}:", announced, most_bytes(path), "a file of its size")


def _check(where: str, announced: int, most: int, what: str) -> None:
    if announced > most:
        needed = -(-announced // 2**20)
        raise UserError(
            f"{where} announces {needed} MiB of data, more than the {most // 2**20} MiB that {what} on disk "
            f"may decode to; if that is right, give --max-file-mib {needed} or set {VARIABLE}"
        )


def check_files(path: str | PathLike[str], files: Iterable[str | PathLike[str]], announced: int) -> None:
    """Refuse files that together announce more bytes than they may decode to.

    Args:
        path: what they make up, for the message.
        files: on disk; each counts once.
        announced: bytes after decoding.

    Raises:
        UserError: as `check_size`.

    Example:
        >>> check_files("scans", [__file__], 2**20)
    """
    held = sum(_on_disk(file) for file in dict.fromkeys(files))
    _check(f"{path}:", announced, max(file_limits.most_bytes(DEFAULT_MIB), RATIO * held), "files of their size")


def check_deflated(path: Path, file: BinaryIO, wbits: int = -zlib.MAX_WBITS) -> None:
    """Refuse a file whose rest is a deflated stream that unpacks to more than it may; nothing is kept.

    Args:
        path: the file.
        file: opened, where the stream starts.
        wbits: as `zlib.decompressobj` takes it; raw by default.

    Raises:
        UserError: as `check_size`.
    """
    most, total = most_bytes(path), 0
    stream = zlib.decompressobj(wbits)
    while not stream.eof and (piece := file.read(_CHUNK)):
        while piece and not stream.eof:
            total += len(stream.decompress(piece, 2**20))
            if total > most:
                check_size(path, total)
            piece = stream.unconsumed_tail


def require_file(path: str | PathLike[str]) -> None:
    """Refuse pipes, sockets and devices: reading them may never end.

    Raises:
        UserError: naming what it is.
    """
    mode = os.stat(path).st_mode
    for holds, name in ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device")):
        if holds(mode):
            raise UserError(f"{path}: a {name}, not a file; take it out or name a file")
    if stat.S_ISBLK(mode):
        raise UserError(f"{path}: a device, not a file; take it out or name a file")


def _on_disk(path: str | PathLike[str]) -> int:
    status = os.stat(path)
    blocks = getattr(status, "st_blocks", None)  # not on Windows
    return status.st_size if blocks is None else min(status.st_size, blocks * 512)
