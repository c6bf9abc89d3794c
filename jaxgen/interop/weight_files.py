"""Files of weights that a user names: PyTorch's (`.pth`, `.pt`) and safetensors, read without PyTorch.

PyTorch's files are pickles, and unpickling can run code. Here a pickle may make numbers, texts, lists, dicts and
tensors, and nothing else: any other name in it is an error, and no object of it is ever called.
"""

import io
import math
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxgen.errors import UserError
from jaxgen.interop import files, pickles
from jaxgen.interop.pickles import RefusedError, Storage, Tensor

_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that PyTorch's files began with before they were zip archives (2020)."""


_KINDS = frozenset(_DTYPES)
_MIB = 2**20
_MOST_HEADER = 8 * _MIB
"""Of the list of contents of a zip archive or a safetensors file: a hundred thousand entries."""
DAMAGED = (
    SafetensorError,
    UnpicklingError,
    zipfile.BadZipFile,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # a zip archive that asks for a password or a method that Python has not
    MemoryError,
    struct.error,
)
"""What readers raise for a damaged file."""


def read(path: str | Path, *, inside: str | None = None, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read the tensors of a file of weights.

    Args:
        path: a state dict that PyTorch wrote (`torch.save`, in either of its formats), alone or under the name
            ``state_dict``; or a safetensors file.
        inside: the name under which a PyTorch file holds the state dict among others, such as ``unet_state_dict``.
        max_bytes: the most that the file and its tensors may hold; None for ``JAXGEN_MAX_FILE_MIB``, or else 4 GiB.

    Returns:
        The tensors by name, without a leading ``module.`` that training on several devices leaves; in float32 where
        they are floating point. What is no tensor is left out.

    Raises:
        UserError: if the file is missing, damaged, of another kind, too large, announces more than it holds, or holds
            anything but tensors and plain data.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"module.fc.bias": np.ones(2)}, f"{folder}/net.safetensors")
        ...     read(f"{folder}/net.safetensors")
        {'fc.bias': array([1., 1.], dtype=float32)}
    """
    path, most = Path(path), files.limit(max_bytes)
    try:
        file = files.open_regular(path, most)
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise UserError(
            f"{path}: cannot be read ({_said(getattr(error, 'strerror', None) or error).lower()})"
        ) from error
    with file:
        try:
            start = file.read(9)
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            # A safetensors file begins with the length of its header, whose bytes may be those that the others begin
            # with; the header itself tells it apart.
            if start[8:] == b"{" or (start[:2] != b"PK" and start[:1] != b"\x80"):
                return _renamed(read_safetensors(path, max_bytes=most))
            content, rows = _read_zip(file, size) if start[:2] == b"PK" else _read_legacy(file, size)
            content = _inside(content, inside, path)
            return _renamed(_arrays(content, rows, size, lambda announced: files.check(path, announced, most)))
        except RefusedError as error:
            raise UserError(
                f"{path}: is not opened, since {error}, and unpickling that could run code or fill the memory; in "
                "PyTorch save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from error
        except (SafetensorError, UnpicklingError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: is no file of weights, or damaged ({_said(error)}); copy it again") from error
        except DAMAGED as error:
            raise UserError(f"{path}: cannot be read as weights ({type(error).__name__}: {_said(error)})") from error


def _inside(content: Any, name: str | None, path: Path) -> Any:
    if name is None:
        return content
    if not isinstance(content, dict) or not isinstance(content.get(name), dict):
        raise UserError(f"{path}: holds no state dict {name[:80]!r}; give the file that its configuration was made for")
    return content[name]


def _said(error: object) -> str:
    """What an error says, or as much of it as fits a line."""
    text = str(error)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _renamed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix("module."): x for name, x in tensors.items()}


def read_safetensors(path: Path, *, max_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Read a safetensors file.

    Args:
        path: of the file.
        max_bytes: see `read`.

    Returns:
        Its tensors by name, in float32 where they are floating point.

    Raises:
        UserError: if it is no regular file or too large.
        SafetensorError, OSError, ValueError, LookupError, TypeError: if it is damaged.
    """
    with files.open_regular(path, files.limit(max_bytes)) as file:
        header = int.from_bytes(file.read(8), "little")
        if header > _MOST_HEADER:
            raise SafetensorError(f"its header is said to hold {header} bytes")
    tensors = load_file(path)
    return {name: _single(tensors.pop(name)) for name in list(tensors)}


def _single(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32, copy=False) if x.dtype.kind in "fV" else x


_Rows = Callable[[Sequence[Storage]], Iterator[tuple[Storage, np.ndarray]]]
"""Storages one after the other, so that no more than one is held in addition to the tensors."""


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, _Rows]:
    if _contents(file, size) > _MOST_HEADER:
        raise RefusedError("its list of contents is too long")
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    inner = next((name for name in names if name.split("/", 1)[-1] == "data.pkl"), None)
    if inner is None:
        raise RefusedError("it is a zip file without data.pkl")
    folder = inner.removesuffix("data.pkl")

    def member(name: str, most: int) -> bytes:
        entry = archive.getinfo(name)
        if entry.flag_bits & 1:
            raise RefusedError("it asks for a password")
        if entry.compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses: a small file stays small
            raise RefusedError("its tensors are compressed")
        if entry.file_size != entry.compress_size or entry.file_size > min(most, size):
            raise RefusedError(f"it announces {entry.file_size} bytes that it does not hold")
        return archive.read(entry)

    if f"{folder}byteorder" in names and member(f"{folder}byteorder", 16) != b"little":
        raise RefusedError("it was written on a big-endian machine")
    content, _ = pickles.load(io.BytesIO(member(inner, pickles.MOST_BYTES)), _KINDS)

    def rows(storages: Sequence[Storage]) -> Iterator[tuple[Storage, np.ndarray]]:
        for storage in storages:
            yield storage, np.frombuffer(member(f"{folder}data/{storage.key}", size), _DTYPES[storage.kind])

    return content, rows


def _contents(file: BinaryIO, size: int) -> int:
    """The length of a zip archive's list of contents, as its end says it, which PyTorch writes without a comment."""
    file.seek(max(0, size - 98))
    end = file.read().rjust(98, b"\0")
    if end[-42:-38] == b"PK\6\7" and end[:4] == b"PK\6\6":
        return int.from_bytes(end[40:48], "little")
    if end[-22:-18] != b"PK\5\6":
        raise zipfile.BadZipFile("its end is missing")
    return int.from_bytes(end[-10:-6], "little")


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, _Rows]:
    head = io.BytesIO(file.read(pickles.MOST_BYTES))
    if pickles.load(head)[0] != _MAGIC:
        raise RefusedError("it is a pickle that PyTorch did not write")
    pickles.load(head)  # the version of the format
    if not pickles.load(head)[0]["little_endian"]:
        raise RefusedError("it was written on a big-endian machine")
    content, known = pickles.load(head, _KINDS)
    keys = pickles.load(head)[0]
    begin = head.tell()
    head.close()

    def rows(storages: Sequence[Storage]) -> Iterator[tuple[Storage, np.ndarray]]:
        wanted = {storage.key for storage in storages}
        file.seek(begin)
        for key in keys:
            storage = known[str(key)]
            count = int.from_bytes(file.read(8), sys.byteorder)
            if count != storage.size:
                raise ValueError(f"storage {key} holds {count} numbers where {storage.size} are announced")
            dtype = _DTYPES[storage.kind]
            if count * dtype.itemsize > size - file.tell():
                raise ValueError(f"storage {key} is cut short")
            if storage.key in wanted:
                yield storage, np.frombuffer(file.read(count * dtype.itemsize), dtype)
            else:
                file.seek(count * dtype.itemsize, io.SEEK_CUR)

    return content, rows


def _arrays(content: Any, rows: _Rows, size: int, check: Callable[[int], None]) -> dict[str, np.ndarray]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise RefusedError(f"it holds a {type(content).__name__} in place of a dict of tensors")
    named = {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    # Tensors that are one there (tied weights) are one here.
    views: dict[Storage, list[Tensor]] = {}
    announced = 0
    for tensor in dict.fromkeys(named.values()):
        _check_view(tensor, tensor.storage.size)
        views.setdefault(tensor.storage, []).append(tensor)
        dtype = _DTYPES[tensor.storage.kind]
        announced += math.prod(tensor.shape) * (4 if dtype.kind in "fV" else dtype.itemsize)
    check(announced)
    if announced > 4 * size + _MIB:  # half precision doubles, and few tensors overlap
        raise RefusedError(f"its {size} bytes are said to be tensors of {announced}")
    made: dict[Tensor, np.ndarray] = {}
    for storage, row in rows(list(views)):
        for tensor in views[storage]:
            _check_view(tensor, len(row))
            made[tensor] = _view(tensor, row)
    return {name: made[tensor] for name, tensor in named.items()}


def _check_view(tensor: Tensor, count: int) -> None:
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    size = math.prod(tensor.shape)
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (size and last >= count) or size > count:
        raise ValueError(f"a tensor of shape {tensor.shape} reaches beyond its {count} numbers")


def _view(tensor: Tensor, row: np.ndarray) -> np.ndarray:
    if not math.prod(tensor.shape):
        return _single(np.zeros(tensor.shape, row.dtype))
    steps = [step * row.itemsize for step in tensor.strides]
    return _single(np.lib.stride_tricks.as_strided(row[tensor.offset :], tensor.shape, steps).copy())
