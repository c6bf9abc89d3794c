"""TIFF through tifffile, which keeps every sample format and depth; Pillow decodes plain pages of LZW, JPEG and fax.

What a page means follows from its tags: WhiteIsZero is inverted, orientation applied, alpha dropped, a palette looked
up (in a mask its indices are the labels). Pages are a third axis. The axes that ImageJ, OME and tifffile note are
obeyed: channels come last, one more axis may be the third, further ones are refused. Reduced copies (pyramids) are
passed over.
Other files that a TIFF names are never opened.
"""

import logging
import lzma
import math
import struct
import zlib
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.TiffImagePlugin
import tifffile

from jaxgen.data import limits
from jaxgen.data.image import Header
from jaxgen.data.orientation import TAG, swaps, upright
from jaxgen.data.pixels import values
from jaxgen.errors import UserError

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it only logs is checked here

MOST_PAGES = 20_000
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_DEFLATE = (8, 32946)
_LZMA = 34925
_JPEG = (6, 7)
_FOREIGN = ("lsm", "mmstack", "ndtiff", "fluoview", "stk", "sis", "scn", "qpi", "ndpi", "bif", "avs", "eer", "philips")
_FOREIGN += ("scanimage", "nih", "mdgel", "dng")  # type: ignore[assignment]
_PACKED = (2, 4)  # bits of grey that are stretched to 8 in an image, as PNG has it
_REST = "save it as grey or RGB of 8 or 16 bits, uncompressed"


class _Layout(NamedTuple):
    """What a file holds, from its tags.

    Attributes:
        pages: those that hold the image.
        page: the first of them; the others have the same tags.
        virtual: a series of planes behind a single page, or None.
        planes: sizes of the axes over pages.
        axes: their letters.
        samples: values a pixel that are kept.
    """

    pages: Sequence[Any]
    page: Any
    virtual: Any
    planes: tuple[int, ...]
    axes: str
    samples: int


def header(path: Path, *, mask: bool = False) -> Header:
    """Size and channels, from the tags alone."""
    with _open(path) as tiff:
        layout = _layout(tiff, path)
        shape = (layout.page.imagelength, layout.page.imagewidth)
        if swaps(_orientation(layout.page)):
            shape = shape[::-1]
        third = [n for n, axis in zip(layout.planes, layout.axes, strict=True) if axis != "C"]
        channels = dict(zip(layout.axes, layout.planes, strict=True)).get("C", layout.samples)
        if layout.page.photometric == _PALETTE and not mask:
            channels = _colours(layout.page).shape[1]
    return Header((*shape, *third), channels)


def image(path: Path) -> np.ndarray:
    """Pixels ``[height, width, c]`` or ``[height, width, pages, c]``, brighter meaning more."""
    with _open(path) as tiff:
        layout = _layout(tiff, path)
        array = _read(path, layout)
        bits = _bits(layout.page)
        if layout.page.photometric == _PALETTE:
            return _colours(layout.page)[array[..., 0]]
        if layout.page.photometric == _WHITE_IS_ZERO:
            array = _inverted(array, bits, path)
    if bits == 1:
        return array.astype(np.uint8) * np.uint8(255)
    return array * np.uint8(255 // (2**bits - 1)) if bits in _PACKED else array


def mask(path: Path) -> np.ndarray:
    """Labels ``[height, width]`` or ``[height, width, pages]``: whole numbers as they are stored."""
    with _open(path) as tiff:
        layout = _layout(tiff, path)
        array = _read(path, layout)
        if layout.page.photometric == _WHITE_IS_ZERO:
            raise UserError(  # tifffile writes bool so, with 1 for what is marked; fax and viewers mean the reverse
                f"{path}: mask whose 0 is white (WhiteIsZero), so that it is not clear what it marks; save it with 0 "
                "as black (BlackIsZero), or as PNG"
            )
    if (array != array[..., :1]).any():
        raise UserError(f"{path}: mask in colour; save one channel with whole numbers, 0 for background")
    return array[..., 0]


@contextmanager
def _open(path: Path) -> Any:
    pages = _count_pages(path)
    if pages > MOST_PAGES:
        raise UserError(f"{path}: more than {MOST_PAGES} pages; split it into several files")
    # its own files alone: OME and others may name more
    with tifffile.TiffFile(path, _multifile=False, _useframes=False) as tiff:
        yield tiff


def _count_pages(path: Path) -> int:
    """The number of pages, or one more than are read; a chain of pages that bites its tail is refused."""
    with open(path, "rb") as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 8:
            raise ValueError("no TIFF header")
        big = struct.unpack(order + "H", start[2:4])[0] == 43
        number, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
        (offset,) = struct.unpack(order + link, start[8:16] if big else start[4:8])
        seen: set[int] = set()
        while offset and len(seen) <= MOST_PAGES:
            if offset in seen:
                raise ValueError("its pages lead in a circle")
            seen.add(offset)
            file.seek(offset)
            (tags,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
            if tags > 4096:
                raise ValueError(f"a page of {tags} tags")
            file.seek(tags * entry, 1)
            (offset,) = struct.unpack(order + link, file.read(struct.calcsize(link)))
    return len(seen)


def _layout(tiff: Any, path: Path) -> _Layout:
    first = tiff.pages[0]
    if first.dtype is None or first.photometric is None:
        raise UserError(f"{path}: TIFF with samples of {first.bitspersample} bits; {_REST}")
    foreign = sorted(kind for kind in _FOREIGN if getattr(tiff, f"is_{kind}"))
    if foreign:
        raise UserError(f"{path}: TIFF in the layout of a maker ({foreign[0]}), which is not read; export a plain TIFF")
    page_bytes = math.prod(first.shape) * first.dtype.itemsize
    limits.check_size(path, page_bytes * (1 if first.is_subifd else len(tiff.pages)))
    pages = [page for page in tiff.pages if not page.subfiletype & 5] or list(tiff.pages)  # no copies, no matte
    page = pages[0]
    for other in pages[1:]:
        if _tags(other) != _tags(page):
            raise UserError(
                f"{path}: its pages differ in size, type or meaning ({_describe(page)}, then {_describe(other)}); save "
                "them as separate files"
            )
    if len(page.shape) > 3 or page.imagedepth > 1:
        raise UserError(f"{path}: a volume inside one page; save each slice as a page, or as NIfTI")
    planes, axes, virtual = _axes(tiff, pages, path)
    limits.check_size(path, math.prod(planes) * math.prod(page.shape) * max(page.dtype.itemsize, 1))
    samples = _samples(page, path)
    if "C" in axes and (samples > 1 or page.photometric == _PALETTE):
        raise UserError(f"{path}: channels over pages, and colour in each; save one of them")
    return _Layout(pages, page, virtual, planes, axes, samples)


def _tags(page: Any) -> tuple:
    return (*page.shape, page.dtype, page.photometric, page.bitspersample, page.extrasamples, _orientation(page))


def _describe(page: Any) -> str:
    return f"{' x '.join(map(str, page.shape))} of {page.dtype}"


def _axes(tiff: Any, pages: list, path: Path) -> tuple[tuple[int, ...], str, Any]:
    """Sizes and letters of the axes over pages, and the series where one page stands for several planes."""
    noted = tiff.is_imagej or tiff.is_ome or (tiff.is_shaped and not _written_page_by_page(tiff, pages))
    if not noted:
        return ((len(pages),), "I", None) if len(pages) > 1 else ((), "", None)
    series = tiff.series
    if len(series) != 1:
        raise UserError(f"{path}: {len(series)} images or stacks in one file; save them as separate files")
    if series[0].kind not in ("imagej", "ome", "shaped") and (tiff.is_ome or len(pages) > 1):
        raise UserError(f"{path}: the notes on its axes do not fit its pages, or name other files; export a plain TIFF")
    inside = dict(zip(series[0].axes, series[0].shape, strict=True))
    page = pages[0]
    named = [(axis, n) for axis, n in inside.items() if axis not in "YX" and n > 1]
    if page.samplesperpixel > 1:
        named = [(axis, n) for axis, n in named if axis != "S"]
    planes = tuple(n for _, n in named)
    axes = "".join(axis for axis, _ in named)
    size = (inside.get("Y", 1), inside.get("X", 1))
    count = math.prod(planes)
    if len(series[0].axes) != len(inside) or size != (page.imagelength, page.imagewidth):
        raise UserError(f"{path}: its axes {series[0].axes} do not fit its pages; save it as a plain TIFF")
    virtual = series[0] if count > len(pages) == 1 and series[0].dataoffset is not None else None
    if count != len(pages) and virtual is None:
        raise UserError(f"{path}: announces {count} planes, but holds {len(pages)}; export it again")
    if len(axes.replace("C", "")) > 1:
        kinds = " and ".join(f"{axis} ({n})" for axis, n in named if axis != "C")
        raise UserError(f"{path}: a stack over {kinds}, but one axis besides rows and columns is read; split it")
    if virtual is not None:
        needed = virtual.dataoffset + count * math.prod(page.shape) * page.dtype.itemsize
        if needed > path.stat().st_size:
            raise ValueError(f"{path.stat().st_size} of {needed} bytes")
    return planes, axes, virtual


def _written_page_by_page(tiff: Any, pages: list) -> bool:
    """Whether tifffile was given the pages one by one: it then notes each as an image of its own."""
    series = tiff.series
    return len(series) == len(pages) > 1 and all(tuple(one.shape) == tuple(pages[0].shape) for one in series)


def _samples(page: Any, path: Path) -> int:
    """The values a pixel that are kept, after making sure that what the tags say is understood."""
    photometric, extra = page.photometric, page.extrasamples
    if page.dtype.kind == "c":
        raise UserError(f"{path}: complex values, not real numbers; save magnitude and phase")
    if len(set(np.atleast_1d(page.tags.valueof("BitsPerSample", 1)).tolist())) > 1:
        raise UserError(f"{path}: TIFF with samples of different depths; {_REST}")
    if photometric == _YCBCR and page.compression in _JPEG:
        return 3
    names = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1}
    if photometric not in names:
        raise UserError(f"{path}: TIFF in {getattr(photometric, 'name', photometric)}; {_REST}")
    own = names[photometric]
    count = page.samplesperpixel
    if count < own:
        raise UserError(f"{path}: TIFF with {count} samples a pixel in {photometric.name}; {_REST}")
    if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and not any(extra):
        return count  # channels without a meaning of their own: all are kept
    if count > own + 1:
        raise UserError(f"{path}: TIFF with {count} samples a pixel in {photometric.name}; save colour alone")
    return own


def _read(path: Path, layout: _Layout) -> np.ndarray:
    """Stored values ``[height, width, (third axis,) c]``, upright."""
    page = layout.page
    if layout.virtual is not None:
        stored = layout.virtual.asarray().reshape(-1, *page.shape)
        planes = (_upright(plane, page) for plane in stored)
    else:
        planes = (_decode(path, page) for page in layout.pages)
    if not layout.axes:
        return next(planes)[..., : layout.samples]
    stacked = None
    for i, plane in enumerate(planes):
        if stacked is None:
            shape = (*plane.shape[:2], math.prod(layout.planes), layout.samples)
            stacked = np.empty(shape, plane.dtype)
        stacked[:, :, i] = plane[..., : layout.samples]
    assert stacked is not None
    if "C" not in layout.axes:
        return stacked
    stacked = stacked[..., 0].reshape(*stacked.shape[:2], *layout.planes)
    return np.moveaxis(stacked, 2 + layout.axes.index("C"), -1)


def _upright(array: np.ndarray, page: Any) -> np.ndarray:
    """What tifffile decoded of a page as ``[height, width, samples]``, turned as it is shown."""
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    elif page.axes == "YX":
        array = array[..., None]
    elif page.axes != "YXS":
        raise ValueError(f"axes {page.axes}")
    if page.photometric == _RGB and page.extrasamples[:1] == (1,) and (array[..., 3] != _full(array.dtype)).any():
        raise UserError(
            f"{page.parent.filehandle.path}: colours multiplied by alpha; flatten the image and save it again"
        )
    return upright(array, _orientation(page))


def _decode(path: Path, page: Any) -> np.ndarray:
    """Stored values of one page, ``[height, width, samples]``."""
    _check_segments(path, page)
    try:
        return _upright(page.asarray(), page)
    except ImportError:
        pass  # a codec of a later Python
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" not in str(error):
            raise
    return _by_pillow(path, page)


def _check_segments(path: Path, page: Any) -> None:
    """Make sure that all strips or tiles are there, and unpack to no more than they should."""
    size = path.stat().st_size
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) != len(counts) or len(offsets) < math.prod(page.chunked):
        raise ValueError(f"{len(offsets)} of {math.prod(page.chunked)} strips or tiles")
    for offset, count in zip(offsets, counts, strict=True):
        if not count or offset + count > size:
            raise ValueError(f"a strip or tile of {count} bytes at {offset} in a file of {size} bytes")
    full = math.prod(page.chunks) * page.dtype.itemsize
    limits.check_size(path, full)
    if page.compression not in (*_DEFLATE, _LZMA):
        return
    with open(path, "rb") as file:
        for offset, count in zip(offsets, counts, strict=True):
            file.seek(offset)
            stream = zlib.decompressobj() if page.compression in _DEFLATE else lzma.LZMADecompressor()
            if len(stream.decompress(file.read(count), full + 1)) > full:
                raise ValueError("a strip or tile unpacks to more than its size")


def _by_pillow(path: Path, page: Any) -> np.ndarray:
    """Stored values of a page that Pillow decodes without loss."""
    how = f"{page.compression.name} compression of {page.bitspersample}-bit {page.photometric.name}"
    with PIL.TiffImagePlugin.TiffImageFile(path) as picture:
        picture.seek(page.index)
        mode, bits, photometric = picture.mode, _bits(page), page.photometric
        grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        eight = bits == 8 and page.sampleformat == 1
        if grey and (mode, bits) == ("1", 1):
            array = values(picture).astype(bool)
            array = ~array if photometric == _WHITE_IS_ZERO else array
        elif grey and mode == "L" and bits in (2, 4, 8) and page.sampleformat == 1:
            array = values(picture)
            array = (255 - array if photometric == _WHITE_IS_ZERO else array) // np.uint8(255 // (2**bits - 1))
        elif (
            (mode == "P" and photometric == _PALETTE and bits <= 8)
            or (mode in ("RGB", "RGBA", "RGBX") and photometric == _RGB and eight)
            or (mode == "RGB" and photometric == _YCBCR and eight)
            or (mode == "LA" and grey and eight and photometric == _BLACK_IS_ZERO)
            or (mode.startswith("I;16") and grey and bits in (12, 16) and page.sampleformat == 1)
            or (mode == "I" and photometric == _BLACK_IS_ZERO and page.dtype in (np.int16, np.int32))
            or (mode == "F" and photometric == _BLACK_IS_ZERO and page.dtype == np.float32)
        ):
            array = values(picture).astype(page.dtype, copy=False)
        else:
            raise UserError(f"{path}: {how} needs imagecodecs: pip install 'jaxgen[tiff]', or {_REST}")
    return array if array.ndim == 3 else array[..., None]


def _orientation(page: Any) -> int:
    return page.tags.valueof(TAG, 1)


def _bits(page: Any) -> int:
    return int(np.ravel(page.bitspersample)[0])


def _full(dtype: np.dtype) -> float:
    """The value of an opaque pixel."""
    return np.iinfo(dtype).max if dtype.kind in "ui" else 1


def _inverted(array: np.ndarray, bits: int, path: Path) -> np.ndarray:
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind != "u" or bits > 16:
        raise UserError(
            f"{path}: {array.dtype} whose 0 is white (WhiteIsZero), with no value for black; save it with 0 as black "
            "(BlackIsZero)"
        )
    return array.dtype.type(2**bits - 1) - array


def _colours(page: Any) -> np.ndarray:
    """The palette ``[values, c]``: grey if all colours are, of 8 bits if nothing is lost by it."""
    table = np.asarray(page.colormap, np.uint16).T
    low, high = table & 255, table >> 8
    if (low == 0).all() or (low == high).all():
        table = high.astype(np.uint8)
    return table[:, :1] if (table == table[:, :1]).all() else table
