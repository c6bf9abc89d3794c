"""NIfTI-1 files written and read byte by byte: a second reader for what nibabel finds."""

import gzip
import struct
from pathlib import Path

import numpy as np

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}


def write(rng: np.random.Generator, path: Path) -> dict:
    """Write a NIfTI of random type, order of bytes, scaling and shape; the values ``[x, y(, z), c]``."""
    code = list(_TYPES)[int(rng.integers(len(_TYPES)))]
    order = "<>"[int(rng.integers(2))]
    dtype = np.dtype(order + _TYPES[code])
    shape = tuple(int(n) for n in rng.integers(1, 7, int(rng.integers(2, 5))))
    if dtype.kind == "f":
        stored = rng.standard_normal(shape).astype(dtype)
    else:
        least, most = (-100, 100) if dtype.kind == "i" else (0, 200)
        stored = rng.integers(least, most, shape).astype(dtype)
    slope, offset = ((0.0, 7.0), (1.0, 0.0), (0.5, -3.0), (2.0, 10.0), (float("nan"), 1.0))[int(rng.integers(5))]
    head = bytearray(348)
    put = lambda at, form, *values: struct.pack_into(order + form, head, at, *values)  # noqa: E731
    put(0, "i", 348)
    put(40, "8h", len(shape), *shape, *[1] * (7 - len(shape)))
    put(70, "hh", code, 8 * dtype.itemsize)
    put(76, "8f", 1, *rng.uniform(0.5, 3, 3), 1, 1, 1, 1)
    put(108, "fff", 352, slope, offset)
    put(254, "h", 1)
    put(280, "12f", 0.7, 0, 0, -3, 0, 1.1, 0, 4, 0, 0, 2.0, 5)
    head[344:348] = b"n+1\0"
    content = bytes(head) + bytes(4) + stored.tobytes(order="F")
    path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
    return {"image": read(content), "mask": None, "may_refuse": False}


def read(content: bytes) -> np.ndarray | None:
    """The values ``[x, y(, z), c]`` of a plain NIfTI-1 file; None where it is not one to this reader."""
    if len(content) < 352 or content[344:348] != b"n+1\0":
        return None
    order = next((o for o in "<>" if struct.unpack_from(o + "i", content)[0] == 348), None)
    if order is None:
        return None
    get = lambda at, form: struct.unpack_from(order + form, content, at)  # noqa: E731
    rank, *sizes = get(40, "8h")
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1 or get(70, "h")[0] not in _TYPES:
        return None
    offset = get(108, "f")[0]
    dtype = np.dtype(order + _TYPES[get(70, "h")[0]])
    count = int(np.prod(sizes[:rank], dtype=object))
    if not 352 <= offset < 2**31 or offset != int(offset) or int(offset) + count * dtype.itemsize > len(content):
        return None
    stored = np.frombuffer(content, dtype, count, int(offset)).reshape(sizes[:rank], order="F")
    slope, intercept = get(112, "ff")
    if slope != 0 and np.isfinite([slope, intercept]).all():
        stored = stored.astype(np.float64) * slope + intercept
    elif slope != 0 and np.isfinite(slope):
        return None
    while stored.ndim > 4 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if not 2 <= stored.ndim <= 4:
        return None
    values = stored if stored.ndim == 4 else stored[..., None]
    return values[:, :, 0] if values.ndim == 4 and values.shape[2] == 1 and stored.ndim > 2 else values
