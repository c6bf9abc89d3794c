"""Files of weights that a user names: PyTorch's (`.pth`, `.pt`) and safetensors, read without PyTorch.

PyTorch's files are pickles, and unpickling can run code. Here a pickle may make numbers, texts, lists, dicts and
tensors, and nothing else: any other name in it is an error, and no object of it is ever called.
"""

import io
import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxgen.errors import UserError

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


class _Storage(NamedTuple):
    """Numbers in a row, somewhere in the file."""

    key: str
    kind: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RefusedError(Exception):
    pass


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *rest: Any) -> Any:
    return tensor


_ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Unpickler(pickle.Unpickler):
    """Makes nothing but numbers, texts, containers and descriptions of tensors."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return name
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"it holds {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, key, count = pid[1], str(pid[2]), pid[4]
        if pid[0] != "storage" or kind not in _DTYPES or not isinstance(count, int) or any(pid[5:]):
            raise _RefusedError("it holds a storage of an unknown kind")
        return self.storages.setdefault(key, _Storage(key, kind, count))


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a file of weights.

    Args:
        path: a state dict that PyTorch wrote (`torch.save`, in either of its formats), alone or under the name
            ``state_dict``; or a safetensors file.

    Returns:
        The tensors by name, without a leading ``module.`` that training on several devices leaves; in float32 where
        they are floating point. What is no tensor is left out.

    Raises:
        UserError: if the file is missing, damaged, of another kind, or holds anything but tensors and plain data.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"module.fc.bias": np.ones(2)}, f"{folder}/net.safetensors")
        ...     read(f"{folder}/net.safetensors")
        {'fc.bias': array([1., 1.], dtype=float32)}
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    try:
        if start == b"PK":
            found = _read_zip(path)
        elif start[:1] == b"\x80":
            found = _read_legacy(path)
        else:
            found = load_file(path)
    except _RefusedError as error:
        raise UserError(
            f"{path}: is not opened, since {error}, and unpickling that could run code; in PyTorch save the weights "
            "alone: torch.save(model.state_dict(), FILE)"
        ) from error
    except (SafetensorError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is no file of weights, or damaged ({error}); copy it again") from error
    except (OSError, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: cannot be read as weights ({type(error).__name__}: {error})") from error
    return {
        name.removeprefix("module."): x.astype(np.float32) if x.dtype.kind in "fV" else x for name, x in found.items()
    }


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inner = next((name for name in names if name.split("/", 1)[-1] == "data.pkl"), None)
        if inner is None:
            raise _RefusedError("it is a zip file without data.pkl")
        folder = inner.removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise _RefusedError("it was written on a big-endian machine")
        unpickler = _Unpickler(io.BytesIO(archive.read(inner)))
        content = unpickler.load()

        def numbers(storage: _Storage) -> np.ndarray:
            entry = archive.getinfo(f"{folder}data/{storage.key}")
            if entry.compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses: a small file stays small
                raise _RefusedError("its tensors are compressed")
            return np.frombuffer(archive.read(entry), _DTYPES[storage.kind])

        return _arrays(content, unpickler.storages, numbers)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if _pickle(file) != _MAGIC:
            raise _RefusedError("it is a pickle that PyTorch did not write")
        _pickle(file)  # the version of the format
        if not _pickle(file)["little_endian"]:
            raise _RefusedError("it was written on a big-endian machine")
        unpickler = _Unpickler(file)
        content = unpickler.load()
        held = {}
        for key in _pickle(file):
            storage = unpickler.storages[str(key)]
            count = int.from_bytes(file.read(8), sys.byteorder)
            if count != storage.size:
                raise ValueError(f"storage {key} holds {count} numbers where {storage.size} are announced")
            dtype = _DTYPES[storage.kind]
            held[storage.key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return _arrays(content, unpickler.storages, lambda storage: held[storage.key])


def _pickle(file: Any) -> Any:
    """The next pickle of a file, of plain data."""
    return _Unpickler(file).load()


def _arrays(
    content: Any, storages: Mapping[str, _Storage], numbers: Callable[[_Storage], np.ndarray]
) -> dict[str, np.ndarray]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise _RefusedError(f"it holds a {type(content).__name__} in place of a dict of tensors")
    held = {storage.key: numbers(storage) for storage in storages.values()}
    return {
        name: _array(tensor, held[tensor.storage.key])
        for name, tensor in content.items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }


def _array(tensor: _Tensor, row: np.ndarray) -> np.ndarray:
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    size = math.prod(tensor.shape)
    if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (size and last >= len(row)) or size > len(row):
        raise ValueError(f"a tensor of shape {tensor.shape} reaches beyond its {len(row)} numbers")
    steps = [step * row.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(row[tensor.offset :], tensor.shape, steps).copy()
