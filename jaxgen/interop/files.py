"""What a file from elsewhere may be: a file, of a size that its reader can hold, and a name inside of its folder."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from jaxgen import file_limits
from jaxgen.errors import UserError
from jaxgen.file_limits import VARIABLE

DEFAULT_MIB = 4096
_MIB = 2**20


def limit(max_bytes: int | None = None) -> int:
    """The most bytes that a file may hold or announce.

    Args:
        max_bytes: the limit; None for what the environment variable ``JAXGEN_MAX_FILE_MIB`` says, or else 4 GiB.

    Returns:
        Bytes.

    Raises:
        UserError: if the variable holds no positive number.

    Example:
        >>> limit(10)
        10
    """
    return file_limits.most_bytes(DEFAULT_MIB) if max_bytes is None else max_bytes


def check(path: Path, size: int, most: int) -> None:
    """Refuse what is larger than the limit.

    Args:
        path: of the file.
        size: in bytes, as it is or as it is announced.
        most: the limit in bytes.

    Raises:
        UserError: if it is larger; it says how to raise the limit.

    Example:
        >>> check(Path("net.pth"), 5 * 2**20, 2**20)
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: net.pth: needs 5 MiB and the limit is 1; if that is right, give \
--max-file-mib 5 or set JAXGEN_MAX_FILE_MIB (in code: max_bytes)
    """
    if size > most:
        if size >= 2**63:
            raise UserError(f"{path}: needs more than 2^43 MiB, which no file of weights does; copy it again")
        needed = -(-size // _MIB)
        raise UserError(
            f"{path}: needs {needed} MiB and the limit is {most // _MIB}; if that is right, give --max-file-mib "
            f"{needed} or set {VARIABLE} (in code: max_bytes)"
        )


def open_regular(path: Path, most: int) -> BinaryIO:
    """Open a regular file for reading, without waiting for anybody who would write into it.

    Args:
        path: of the file.
        most: the most bytes that it may hold.

    Returns:
        The file, at its start.

    Raises:
        UserError: if it is no regular file, is larger, or is for the most part a hole.
        OSError: if it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb") if not stat.S_ISDIR(os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise UserError(f"{path}: is a directory; name the file itself")
    found = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{path}: is no regular file (a pipe or a device?); name a file on a disk")
        check(path, found.st_size, most)
        held = 512 * getattr(found, "st_blocks", 0)
        if found.st_size > 64 * _MIB and 0 < held < found.st_size // 8:
            raise UserError(
                f"{path}: is {found.st_size // _MIB} MiB long, of which {held // _MIB} are on the disk; was it copied "
                "to the end? copy it again from where it came"
            )
    except UserError:
        file.close()
        raise
    return file


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder, which must be there itself.

    A link may lead to another name in the folder, or from a snapshot of the Hugging Face cache to its blobs.

    Args:
        folder: where it must be.
        name: its plain name.

    Returns:
        Its path.

    Raises:
        UserError: if the name has parts, or is a link out of the folder.

    Example:
        >>> inside(Path("model"), "../other.safetensors")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: model: names '../other.safetensors', which is no plain name of a file in this folder
    """
    if not name or name in (".", "..") or len(name) > 255 or any(c in "/\\:" or not c.isprintable() for c in name):
        raise UserError(f"{folder}: names {name[:80]!r}, which is no plain name of a file in this folder")
    path = folder / name
    try:
        home, found = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UserError(f"{path}: is a link that leads nowhere; put the file itself there") from error
    homes = [home]
    for snapshot in (home, *home.parents):
        if snapshot.parent.name == "snapshots":
            homes.append(snapshot.parent.parent / "blobs")
    if found.parent not in homes:
        raise UserError(f"{path}: is a link out of its folder; put the file itself there")
    return path
