"""TIFF files of many sample formats, layouts and depths, and a second reader."""

import io
from pathlib import Path

import numpy as np
import tifffile

from tests.fuzz.png import turn

_TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")


def write(rng: np.random.Generator, path: Path) -> dict:
    """Write a TIFF: grey, white as zero, colour in pixels or planes, pages, tiles, either order of bytes, BigTIFF."""
    dtype = np.dtype(_TYPES[int(rng.integers(len(_TYPES)))])
    kind = ("grey", "white", "colour", "planes", "pages", "bilevel", "alpha")[int(rng.integers(7))]
    height, width = (int(n) for n in rng.integers(5, 40, 2))
    shape = {
        "colour": (height, width, 3),
        "alpha": (height, width, 4),
        "planes": (3, height, width),
        "pages": (int(rng.integers(2, 5)), height, width),
    }.get(kind, (height, width))
    if kind == "bilevel":
        stored = rng.integers(0, 2, shape).astype(bool)
    elif dtype.kind == "f":
        stored = rng.standard_normal(shape).astype(dtype)
    else:
        ends = np.iinfo(dtype)
        stored = rng.integers(max(ends.min, -(2**20)), min(ends.max, 2**20), shape).astype(dtype)
    options: dict = {
        "photometric": {"white": "miniswhite", "colour": "rgb", "planes": "rgb", "alpha": "rgb"}.get(
            kind, "minisblack"
        ),
        "bigtiff": bool(rng.random() < 0.2),
        "byteorder": "<>"[int(rng.integers(2))],
        "metadata": None,
    }
    if kind in ("colour", "planes"):
        options["planarconfig"] = "separate" if kind == "planes" else "contig"
    if kind == "alpha":
        options["extrasamples"] = ["unassalpha"]
    if kind != "bilevel" and rng.random() < 0.3:
        options["tile"] = (16, 16)
    if kind != "bilevel" and rng.random() < 0.4:
        options["compression"] = "zlib"
        options["predictor"] = dtype.kind != "f" and bool(rng.integers(2))
    orientation = int(rng.integers(1, 9)) if kind in ("grey", "colour") and rng.random() < 0.3 else 1
    if orientation > 1:
        options["extratags"] = [(274, "H", 1, orientation, True)]
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff"), byteorder=options.pop("byteorder")) as file:
        file.write(stored, **options)
    image = mask = None
    if kind == "white":
        image = np.iinfo(dtype).max - stored[..., None] if dtype.kind == "u" else None
    elif kind == "bilevel":
        mask = stored
    elif kind in ("colour", "alpha"):
        image = stored[..., :3]
    elif kind == "planes":
        image = np.moveaxis(stored, 0, -1)
    elif kind == "pages":
        image = np.moveaxis(stored, 0, -1)[..., None]
    else:
        image = stored[..., None]
        mask = stored if dtype.kind == "u" else None
    turned = [None if array is None else turn(array, orientation) for array in (image, mask)]
    return {"image": turned[0], "mask": turned[1], "may_refuse": dtype.kind == "i" or kind in ("white", "alpha")}


def read(content: bytes) -> np.ndarray | None:
    """The pixels of plain grey or colour files of one page, by tifffile; None for all else."""
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages[0]
            plain = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
            if len(file.pages) != 1 or not plain or page.tags.get(274) or page.axes not in ("YX", "YXS"):
                return None
            if page.size > 2**22 or page.extrasamples or np.min(page.bitspersample) < 8:
                return None
            array = page.asarray()
    except Exception:  # a damaged file may raise anything
        return None
    return array[..., None] if array.ndim == 2 else array
