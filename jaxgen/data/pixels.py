"""PNG, JPEG and BMP through Pillow; orientation in EXIF is applied."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import PIL.BmpImagePlugin
import PIL.Image
import PIL.ImageFile
import PIL.JpegImagePlugin
import PIL.PngImagePlugin

from jaxgen.data import limits
from jaxgen.data.image import Header
from jaxgen.data.orientation import TAG, swaps, upright
from jaxgen.errors import UserError

# Opened by their own classes: what another format smuggles in is refused, and the limit is ours, not Pillow's.
_OPEN: dict[str, Any] = {
    "png": PIL.PngImagePlugin.PngImageFile,
    "jpeg": PIL.JpegImagePlugin.JpegImageFile,
    "bmp": PIL.BmpImagePlugin.BmpImageFile,
}
_GREY = ("1", "L", "LA")
_COLOUR = ("RGB", "RGBA")
_DEEP = ("I", "I;16", "I;16B")
_STRIP = 2**22


def header(path: Path, kind: str) -> Header:
    """Size and channels of an image, from its chunks or first bytes."""
    _, orientation = _announced(path, kind)
    with _open(path, kind) as picture:
        size = picture.size if swaps(orientation or _exif(picture, kind)) else picture.size[::-1]
        return Header(size, _channels(picture))


def image(path: Path, kind: str) -> np.ndarray:
    """Pixels [height, width, c]: alpha dropped, palettes applied, fewer than 8 bits stretched to 8, 16 bits kept."""
    _, orientation = _announced(path, kind)
    with _open(path, kind) as picture:
        orientation = orientation or _exif(picture, kind)
        channels = _channels(picture)
        array = values(picture.convert("RGBA") if picture.mode == "P" else picture)
        if picture.mode == "1":
            array *= 255
    array = array[..., None] if array.ndim == 2 else array[..., :channels]
    return upright(array, orientation)


def mask(path: Path, kind: str) -> np.ndarray:
    """Labels [height, width]: palette indices and grey of 1, 2 and 4 bits as stored, grey stored as colour undone."""
    bits, orientation = _announced(path, kind)
    with _open(path, kind) as picture:
        orientation = orientation or _exif(picture, kind)
        array = values(picture)
        mode = picture.mode
    if kind == "jpeg":
        _check_labels(array, path)
    if mode in _COLOUR:
        if (array[..., :3] != array[..., :1]).any():
            raise UserError(f"{path}: mask in colour; save one channel with whole numbers, 0 for background")
        array = array[..., 0]
    elif mode == "LA":
        array = array[..., 0]
    elif mode == "L" and bits in (2, 4):
        array = array // np.uint8(255 // (2**bits - 1))  # Pillow stretches them
    return upright(array, orientation)


def _check_labels(array: np.ndarray, path: Path) -> None:
    """Refuse a JPEG of more than two values as a mask."""
    seen = np.zeros(256, bool)
    for row in array:  # all at once the indices would take eight times the memory
        seen[row] = True
    if seen.sum() > 2:
        raise UserError(
            f"{path}: mask with {seen.sum()} values in a JPEG, whose compression changes labels and smears edges; "
            "export the mask as PNG from where it was drawn"
        )


def _open(path: Path, kind: str) -> PIL.ImageFile.ImageFile:
    picture: Any = _OPEN[kind](path)
    if picture.mode not in (*_GREY, *_COLOUR, *_DEEP, "P"):
        picture.close()
        raise UserError(f"{path}: colours in {picture.mode}; save it as grey or RGB")
    if getattr(picture, "n_frames", 1) > 1:
        picture.close()
        raise UserError(f"{path}: an animation of {picture.n_frames} pictures; save them as separate files")
    width, height = picture.size
    limits.check_size(path, 4 * width * height)  # as colour in Pillow, as float32 wherever it is used
    return picture


def _channels(picture: PIL.Image.Image) -> int:
    if picture.mode == "P":
        colours = np.asarray(picture.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        return 1 if (colours == colours[:, :1]).all() else 3
    return 3 if picture.mode in _COLOUR else 1


def values(picture: PIL.Image.Image) -> np.ndarray:
    """Decode a picture, strip by strip: Pillow's own copy takes the pixels twice.

    Args:
        picture: opened.

    Returns:
        ``[height, width]`` or ``[height, width, c]``; 0 and 1 where a pixel is one bit.
    """
    picture.load()
    width, height = picture.size
    rows = max(1, _STRIP // width)
    whole = None
    for top in range(0, height, rows):
        strip = np.asarray(picture.crop((0, top, width, min(top + rows, height))))
        strip = strip.astype(np.uint8) if strip.dtype == bool else strip
        if whole is None:
            whole = np.empty((height, *strip.shape[1:]), strip.dtype)
        whole[top : top + rows] = strip
    if whole is None:
        raise ValueError("no pixels")
    return whole.astype(np.uint16) if picture.mode == "I" and whole.min() >= 0 and whole.max() < 65536 else whole


def _announced(path: Path, kind: str) -> tuple[int, int]:
    """Bits a sample and orientation (0: not known yet) of a PNG, from its chunks, wherever EXIF lies among them."""
    if kind != "png":
        return 8, 0
    orientation = 1
    with open(path, "rb") as file:
        start = file.read(33)
        if len(start) < 33:
            raise ValueError(f"{len(start)} bytes are no PNG")
        depth, colour = struct.unpack(">BB", start[24:26])
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"eXIf" and length < 2**20:
                orientation = _orientation(file.read(length))
                break
            if name == b"IEND":
                break
            file.seek(length + 4, 1)
    if depth == 16 and colour != 0:  # Pillow would silently cut it to 8 bits
        raise UserError(f"{path}: 16-bit colour PNG is not read; save it as TIFF, 8-bit, 16-bit grey, or npy")
    return depth, orientation


def _exif(picture: PIL.ImageFile.ImageFile, kind: str) -> int:
    return _orientation(picture.info.get("exif", b"")) if kind == "jpeg" else 1


def _orientation(content: bytes) -> int:
    """1 to 8; 1 where EXIF does not say, or is damaged: viewers then show the pixels as they are stored."""
    exif = PIL.Image.Exif()
    try:
        exif.load(content)
        found = exif.get(TAG, 1)
    except Exception:  # the parser raises anything at all on damaged blocks
        return 1
    return found if found in range(1, 9) else 1
