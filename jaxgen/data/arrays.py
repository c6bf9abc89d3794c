"""Arrays in npy and npz files, their announced sizes checked before anything is decoded; nothing is ever unpickled."""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from jaxgen.data import limits
from jaxgen.errors import UserError

_MOST_HEADER = 2**16
_MOST_MEMBERS = 10_000
_ENCRYPTED = 1


class Announced(NamedTuple):
    """What the header of an array says.

    Attributes:
        shape: its shape.
        dtype: its type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return math.prod(self.shape) * max(1, self.dtype.itemsize)


def load_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array of an npy file.

    Args:
        path: the file.
        mmap_mode: "r" to leave the values on disk.

    Returns:
        The array.

    Raises:
        UserError: if it holds objects, or announces more than it may.
    """
    with open(path, "rb") as file:
        head = _read_header(file)
    if head.dtype.hasobject:
        raise UserError(f"{path}: holds Python objects, which are never unpickled; save it as a plain array")
    limits.check_size(path, head.nbytes)
    return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)


def npz_headers(path: Path) -> dict[str, Announced]:
    """What the arrays of an npz file announce, by name.

    Raises:
        UserError: if the file is encrypted, or of too many parts.
    """
    with zipfile.ZipFile(path) as archive:
        return {name: _member_header(archive, info, path) for name, info in _members(archive, path).items()}


def read_npz(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an npz file.

    Args:
        path: the file.
        names: those wanted, which must be there; None for all.

    Returns:
        The arrays by name.

    Raises:
        UserError: if the file is encrypted, holds objects, or announces more than it may.
    """
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        members = members if names is None else {name: members[name] for name in names}
        heads = {name: _member_header(archive, info, path) for name, info in members.items()}
        for name, head in heads.items():
            if head.dtype.hasobject:
                raise UserError(
                    f"{path}: `{name}` holds Python objects, which are never unpickled; save it as a plain array"
                )
        limits.check_size(path, sum(head.nbytes for head in heads.values()))
        found = {}
        for name, info in members.items():
            with archive.open(info) as file:
                found[name] = npy_format.read_array(file, allow_pickle=False, max_header_size=_MOST_HEADER)
        return found


def check_arrays(path: Path) -> None:
    """Make sure that an npy or npz file is a file, and may be read by `numpy.load`.

    Raises:
        UserError: as `load_npy` and `read_npz`.
    """
    limits.require_file(path)
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        with zipfile.ZipFile(path) as archive:
            others = sum(info.file_size for info in archive.infolist() if not info.filename.endswith(".npy"))
        limits.check_size(path, others + sum(head.nbytes for head in npz_headers(path).values()))
    else:
        with open(path, "rb") as file:
            limits.check_size(path, _read_header(file).nbytes)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an image of this shape has its channels first, as PyTorch saves it: 1 to 4, and more along other axes.

    Args:
        shape: of one image, without a number of images in front.

    Example:
        >>> [channels_first(shape) for shape in ((3, 28, 28), (1, 16, 28, 28), (28, 28, 3), (96, 96, 5), (28, 28))]
        [True, True, False, False, False]
    """
    return len(shape) in (3, 4) and shape[0] <= 4 < min(shape[1:])


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(infos) > _MOST_MEMBERS:
        raise UserError(f"{path}: {len(infos)} arrays, more than {_MOST_MEMBERS}; join them")
    members = {}
    for info in infos:
        if info.flag_bits & _ENCRYPTED:
            raise UserError(f"{path}: encrypted; unpack it with its password and save it again")
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise UserError(f"{path}: holds `{name}` twice; keep one of them")
        members[name] = info
    return members


def _member_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Announced:
    with archive.open(info) as file:
        head = _read_header(file)
    if not head.dtype.hasobject and info.file_size < head.nbytes:
        raise ValueError(f"{info.filename} of {info.file_size} bytes announces {head.nbytes}")
    return head


def _read_header(file: IO[bytes]) -> Announced:
    """The header at the start of an npy file; numpy would read one of 4 GB first and then complain."""
    version = npy_format.read_magic(file)
    width = 2 if version == (1, 0) else 4
    size = file.read(width)
    length = int.from_bytes(size, "little")
    if len(size) < width or length > _MOST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    start = io.BytesIO(size + file.read(length))
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(start, max_header_size=_MOST_HEADER)
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape of {shape}")
    return Announced(shape, dtype)
