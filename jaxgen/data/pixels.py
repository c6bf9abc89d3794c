"""PNG, TIFF, JPEG and BMP through Pillow."""

import struct
from pathlib import Path

import numpy as np
import PIL.Image

from jaxgen.data.image import Header
from jaxgen.errors import UserError

# How each Pillow mode is stored as an image; all others are brought to RGB.
_PLAIN = {"L": "L", "LA": "L", "La": "L", "RGB": "RGB", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB", "1": "L"}
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def header(path: Path, kind: str) -> Header:
    """Size and channels of an image, from its first bytes; pages of a TIFF count as a third dimension."""
    _refuse_deep_colour(path, kind)
    with PIL.Image.open(path) as picture:
        width, height = picture.size
        pages = getattr(picture, "n_frames", 1)
        return Header((height, width) if pages == 1 else (height, width, pages), 3 if _target(picture) == "RGB" else 1)


def image(path: Path, kind: str) -> np.ndarray:
    """Pixels [height, width, c], or [height, width, pages, c]: alpha dropped, palettes applied, depth kept."""
    _refuse_deep_colour(path, kind)
    with PIL.Image.open(path) as picture:
        return _over_pages(picture, _image_page)


def mask(path: Path, kind: str) -> np.ndarray:
    """Labels [height, width] or [height, width, pages]: palette indices as they are, grey stored as colour undone."""
    _refuse_deep_colour(path, kind)
    with PIL.Image.open(path) as picture:
        return _over_pages(picture, lambda page: _mask_page(page, path))


def _over_pages(picture: PIL.Image.Image, read) -> np.ndarray:
    pages = getattr(picture, "n_frames", 1)
    if pages == 1:
        return read(picture)
    arrays = []
    for page in range(pages):
        picture.seek(page)
        arrays.append(read(picture))
    return np.stack(arrays, axis=2)


def _target(picture: PIL.Image.Image) -> str:
    if picture.mode in _DEEP:
        return "deep"
    if picture.mode == "P":
        colours = np.asarray(picture.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        return "L" if (colours == colours[:, :1]).all() else "RGB"
    return _PLAIN.get(picture.mode, "RGB")


def _image_page(page: PIL.Image.Image) -> np.ndarray:
    target = _target(page)
    if target == "deep":
        return _deep(page)[..., None]
    if page.mode == "P":  # through RGB: a grey palette is looked up exactly, and a transparent colour stays itself
        rgb = np.asarray(page.convert("RGBA"))[..., :3]
        return rgb[..., :1] if target == "L" else rgb
    if page.mode in ("LA", "La", "RGBA", "RGBa", "RGBX"):
        return np.asarray(page)[..., : 1 if target == "L" else 3]
    array = np.asarray(page.convert(target))
    return array[..., None] if array.ndim == 2 else array


def _mask_page(page: PIL.Image.Image, path: Path) -> np.ndarray:
    if page.mode in _DEEP:
        return _deep(page)
    if page.mode == "1":
        return np.asarray(page).astype(np.uint8)
    if page.mode in ("L", "P"):
        return np.asarray(page)
    if page.mode in ("LA", "La"):
        return np.asarray(page)[..., 0]
    rgb = np.asarray(page if page.mode in ("RGB", "RGBA") else page.convert("RGB"))[..., :3]
    if (rgb != rgb[..., :1]).any():
        raise UserError(f"{path}: mask in colour; save one channel with whole numbers, 0 for background")
    return rgb[..., 0]


def _deep(page: PIL.Image.Image) -> np.ndarray:
    array = np.asarray(page)
    if page.mode == "I" and array.size and array.min() >= 0 and array.max() < 65536:
        return array.astype(np.uint16)
    return array


def _refuse_deep_colour(path: Path, kind: str) -> None:
    """Pillow would silently cut 16-bit colour to 8 bits."""
    if kind != "png":
        return
    with open(path, "rb") as file:
        start = file.read(26)
    if len(start) < 26:
        raise ValueError(f"{len(start)} bytes are no PNG")
    depth, colour = struct.unpack(">BB", start[24:26])
    if depth == 16 and colour != 0:
        raise UserError(f"{path}: 16-bit colour PNG is not read; save it as 8-bit, 16-bit grey, or npy")
