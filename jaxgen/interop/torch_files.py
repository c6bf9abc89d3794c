"""State dicts written as PyTorch's own files (`.pt`), without PyTorch.

Such a file is a zip archive of a pickle that describes the tensors and of one file of numbers for each. The pickle is
put together here from its operations; `jaxgen.interop.weight_files` reads it, and so does ``torch.load``.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jaxgen.errors import UserError


def write(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict, replacing a file that is there.

    Args:
        path: of the file.
        tensors: by name; written in float32.

    Example:
        >>> import tempfile
        >>> from jaxgen.interop import weight_files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(f"{folder}/net.pt", {"fc.bias": np.arange(3.0)})
        ...     weight_files.read(f"{folder}/net.pt")
        {'fc.bias': array([0., 1., 2.], dtype=float32)}
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickled(tensors))
        archive.writestr("archive/byteorder", b"little")
        for i, x in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", np.ascontiguousarray(x, "<f4").tobytes())
        archive.writestr("archive/version", b"3\n")


def save(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict as the ending of the file's name says.

    Args:
        path: ending in ``.pt`` or ``.pth`` for a PyTorch file, or in ``.safetensors``.
        tensors: by name.

    Raises:
        UserError: if the name ends otherwise.
    """
    path = Path(path)
    if path.suffix in (".pt", ".pth"):
        write(path, tensors)
    elif path.suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path, metadata={"format": "pt"})
    else:
        raise UserError(f"{path}: ends in {path.suffix!r}; name a file that ends in .pt, .pth or .safetensors")


def _pickled(tensors: Mapping[str, np.ndarray]) -> bytes:
    out = io.BytesIO()
    out.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK)
    for i, (name, x) in enumerate(tensors.items()):
        strides = [step // 4 for step in np.empty(x.shape, np.float32).strides]
        storage = [_text("storage"), _global("torch", "FloatStorage"), _text(str(i)), _text("cpu"), _whole(x.size)]
        view = [
            _tuple(storage) + pickle.BINPERSID,
            _whole(0),
            _tuple(map(_whole, x.shape)),
            _tuple(map(_whole, strides)),
            pickle.NEWFALSE,  # no gradient, and no hooks of one
            _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE,
        ]
        out.write(_text(name) + _global("torch._utils", "_rebuild_tensor_v2") + _tuple(view) + pickle.REDUCE)
    out.write(pickle.SETITEMS + pickle.STOP)
    return out.getvalue()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _whole(number: int) -> bytes:
    encoded = pickle.encode_long(number)
    return pickle.LONG1 + bytes([len(encoded)]) + encoded


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _tuple(items: Iterable[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE
