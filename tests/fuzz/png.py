"""PNG files of every colour type and depth, written byte by byte, with what a reader must find in them."""

import struct
import zlib
from pathlib import Path

import numpy as np

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def write(rng: np.random.Generator, path: Path) -> dict:
    """Write a PNG; the values as an image ``[h, w, c]`` and as a mask ``[h, w]``, None where a reader may choose."""
    colour = (0, 2, 3, 4, 6)[int(rng.integers(5))]
    depth = _DEPTHS[colour][int(rng.integers(len(_DEPTHS[colour])))]
    height, width = (int(n) for n in rng.integers(1, 33, 2))
    samples = rng.integers(0, 2**depth, (height, width, _SAMPLES[colour]))
    interlaced = bool(rng.integers(2))
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))]
    palette = None
    if colour == 3:
        palette = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
        if rng.random() < 0.3:
            palette[:, 1:] = palette[:, :1]
        chunks.append(_chunk(b"PLTE", palette.tobytes()))
        if rng.random() < 0.3:
            chunks.append(_chunk(b"tRNS", rng.integers(0, 256, 2**depth, dtype=np.uint8).tobytes()))
    orientation = int(rng.integers(1, 9)) if rng.random() < 0.3 else 1
    if orientation > 1:
        entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
        chunks.append(_chunk(b"eXIf", b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)))
    rows = b"".join(_packed(part, depth) for part in (_interlaced(samples) if interlaced else [samples]))
    chunks += [_chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    image = mask = None
    if palette is not None:
        seen = palette[samples[..., 0]]
        image = seen[..., :1] if (palette == palette[:, :1]).all() else seen
        mask = samples[..., 0]
    elif colour in (0, 4):
        image = samples[..., :1] if depth >= 8 else None
        mask = samples[..., 0] if colour == 0 else None
    else:
        image = samples[..., :3]
    turned = {"image": image, "mask": mask}
    return {name: None if array is None else turn(array, orientation) for name, array in turned.items()} | {
        "may_refuse": depth == 16 and colour != 0
    }


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as EXIF (tag 0x0112) wants it shown."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation](array)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _interlaced(samples: np.ndarray) -> list[np.ndarray]:
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in _PASSES]
    return [part for part in parts if part.size]


def _packed(samples: np.ndarray, depth: int) -> bytes:
    lines = samples.reshape(len(samples), -1)
    if depth == 16:
        rows = [line.astype(">u2").tobytes() for line in lines]
    elif depth == 8:
        rows = [line.astype(np.uint8).tobytes() for line in lines]
    else:
        bits = (lines[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = [np.packbits(line.reshape(-1).astype(np.uint8)).tobytes() for line in bits]
    return b"".join(b"\0" + row for row in rows)
