"""Read one image, volume or mask from a file, choosing the decoder by suffix and checking it by content.

==================  ==========================  =============================================
format              suffixes                    array
==================  ==========================  =============================================
PNG, JPEG, BMP      .png .jpg .jpeg .bmp        [height, width, c]
TIFF                .tif .tiff                  [height, width, c]; pages are a third axis, or channels
NIfTI               .nii .nii.gz                [x, y, z, c], or [x, y, c] for one slice
DICOM               .dcm or none, or a folder   [rows, columns, c]; [columns, rows, slices, c]
fastMRI             .h5                         [h, w, slices, 1], images of full measurements
NumPy               .npy                        2-D grey; a last axis of 1 to 4 is channels
==================  ==========================  =============================================

Alpha is dropped, a palette becomes grey or RGB (in a mask its indices are the labels), 16 bits stay 16 bits, fewer than
8 bits of grey are stretched to 8 in an image and kept in a mask, and the orientation noted in EXIF is applied. DICOM is
rescaled (Hounsfield units for CT) and MONOCHROME1 without a unit inverted. Nothing is ever unpickled, no other file is
ever opened, and what a file announces is checked before it is decoded (`jaxgen.data.limits`).
"""

import unicodedata
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data import checks, dicom, fastmri, nifti, pixels, tiff
from jaxgen.data.arrays import channels_first, load_npy
from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError


class Format(NamedTuple):
    """A file format: all that is known of it, so that a new one is one entry of `FORMATS`.

    Attributes:
        title: its name in messages.
        suffixes: of its files, in lower case; empty for folders.
        image: ``image(path) -> Image``, its values not yet checked.
        mask: ``mask(path) -> array``, whole numbers ``[*spatial]``, not yet checked.
        header: ``header(path, mask) -> Header``, without decoding.
        marks: pairs of an offset and the bytes there, any of which tells the format.
        always_marked: whether every file of it has one of the marks.
    """

    title: str
    suffixes: tuple[str, ...]
    image: Callable[[Path], Image]
    mask: Callable[[Path], np.ndarray]
    header: Callable[[Path, bool], Header]
    marks: tuple[tuple[int, bytes], ...] = ()
    always_marked: bool = False


def _starts_with(*marks: bytes) -> tuple[tuple[int, bytes], ...]:
    return tuple((0, mark) for mark in marks)


def _picture(kind: str, title: str, suffixes: tuple[str, ...], mark: bytes, *, always: bool = True) -> Format:
    """A format that Pillow decodes."""
    return Format(
        title,
        suffixes,
        image=lambda path: Image(pixels.image(path, kind), None, {"kind": kind, "path": path}),
        mask=lambda path: pixels.mask(path, kind),
        header=lambda path, mask: pixels.header(path, kind),
        marks=_starts_with(mark),
        always_marked=always,
    )


def _only_channel(read: Callable[[Path], Image]) -> Callable[[Path], np.ndarray]:
    """Masks in a format of images: those of one channel."""

    def mask(path: Path) -> np.ndarray:
        array = read(path).array
        if array.shape[-1] != 1:
            raise UserError(f"{path}: mask with {array.shape[-1]} channels; save one, with whole numbers")
        return array[..., 0]

    return mask


def _series(path: Path) -> Image:
    _refuse_others(path)
    return dicom.series(path)


def _series_header(path: Path, mask: bool) -> Header:
    del mask
    _refuse_others(path)
    return dicom.series_header(path)


def _npy_header(path: Path, mask: bool) -> Header:
    array = load_npy(path, mmap_mode="r")
    shape = array.shape if mask else _npy_image(array, path).shape
    return Header(shape, 1) if mask else Header(shape[:-1], shape[-1])


def _no_masks(path: Path) -> np.ndarray:
    raise UserError(f"{path}: files of fastMRI hold no masks; save yours as NIfTI or npy")


FORMATS: dict[str, Format] = {  # a content that is marked as several is the first of them
    "dicom": Format(
        "DICOM",
        (".dcm",),
        image=dicom.image,
        mask=_only_channel(dicom.image),
        header=lambda path, mask: dicom.header(path),
        marks=((128, b"DICM"),),
    ),
    "series": Format("a DICOM series", (), image=_series, mask=_only_channel(_series), header=_series_header),
    "nifti": Format(
        "NIfTI",
        (".nii", ".nii.gz"),
        image=nifti.image,
        mask=_only_channel(nifti.image),
        header=lambda path, mask: nifti.header(path),
        marks=((344, b"n+1\0"), (344, b"ni1\0"), (4, b"n+2\0"), (4, b"ni2\0")),
    ),
    "png": _picture("png", "PNG", (".png",), b"\x89PNG\r\n\x1a\n"),
    "tiff": Format(
        "TIFF",
        (".tif", ".tiff"),
        image=lambda path: Image(tiff.image(path), None, {"kind": "tiff", "path": path}),
        mask=tiff.mask,
        header=lambda path, mask: tiff.header(path, mask=mask),
        marks=_starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        always_marked=True,
    ),
    "jpeg": _picture("jpeg", "JPEG", (".jpg", ".jpeg"), b"\xff\xd8\xff"),
    "bmp": _picture("bmp", "BMP", (".bmp",), b"BM", always=False),
    "npy": Format(
        "npy",
        (".npy",),
        image=lambda path: Image(_npy_image(load_npy(path), path), None, {"kind": "npy", "path": path}),
        mask=load_npy,
        header=_npy_header,
        marks=_starts_with(b"\x93NUMPY"),
        always_marked=True,
    ),
    "fastmri": Format(
        "HDF5",
        (".h5",),
        image=fastmri.image,
        mask=_no_masks,
        header=lambda path, mask: fastmri.header(path),
        marks=_starts_with(b"\x89HDF\r\n\x1a\n"),
        always_marked=True,
    ),
}
SUFFIXES = {suffix: kind for kind, format in FORMATS.items() for suffix in format.suffixes}
_PACKED = {"gzip": b"\x1f\x8b", "zip": b"PK\x03\x04"}


def file_suffix(path: str | PathLike[str]) -> str:
    """The part of a file name that says its format, in lower case; "" if jaxgen does not read it.

    Example:
        >>> file_suffix("scan.1.NII.GZ"), file_suffix("notes.txt")
        ('.nii.gz', '')
    """
    name = Path(path).name.lower()
    return next((s for s in (".nii.gz", *SUFFIXES) if name.endswith(s) and len(name) > len(s)), "")


def stem(path: str | PathLike[str]) -> str:
    """The name without its suffix, composed (NFC), so that names written on different systems match.

    Example:
        >>> stem("images/scan.1.nii.gz")
        'scan.1'
    """
    name = Path(path).name
    return unicodedata.normalize("NFC", name[: len(name) - len(file_suffix(path))])


def check_readable(path: str | PathLike[str]) -> None:
    """Make sure that a name can be an image: a known suffix, a DICOM file without one, or a folder of DICOM slices.

    Args:
        path: of a file or folder; files with a known suffix are not opened.

    Raises:
        UserError: if it cannot be one.
    """
    path = Path(path)
    if not file_suffix(path) and file_kind(path) == "series":
        with checks.reading(path, FORMATS["series"].title):
            _refuse_others(path)
            dicom.series_files(path)


def read_image(path: str | PathLike[str]) -> Image:
    """Read an image or volume.

    Args:
        path: a file, or a folder that holds one DICOM series; ``folder#2`` is the second volume of a folder of several.

    Returns:
        Pixels ``[*spatial, c]`` as uint8, uint16, int16 or float32; the affine, if there is one; what a writer needs.

    Raises:
        UserError: if it cannot be read, naming the file and the fix.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(os.path.join(folder, "a.npy"), np.zeros((4, 5)))
        ...     read_image(os.path.join(folder, "a.npy")).array.shape
        (4, 5, 1)
    """
    path = Path(path)
    kind = file_kind(path)
    with checks.reading(path, FORMATS[kind].title):
        result = FORMATS[kind].image(path)
        return result._replace(array=checks.image_values(result.array, path))


def read_mask(path: str | PathLike[str]) -> np.ndarray:
    """Read a mask.

    Args:
        path: a file, or a folder that holds one DICOM series.

    Returns:
        Whole numbers ``[*spatial]``, 0 for background: uint8, or uint16 or int32 if they do not fit.

    Raises:
        UserError: if it cannot be read, or holds anything but whole numbers from 0.
    """
    path = Path(path)
    kind = file_kind(path)
    with checks.reading(path, FORMATS[kind].title):
        return checks.mask_values(FORMATS[kind].mask(path), path)


def read_header(path: str | PathLike[str], *, mask: bool = False) -> Header:
    """Size and channels of a file, without decoding it.

    Args:
        path: a file, or a folder that holds one DICOM series.
        mask: whether it is to be read as a mask (then all axes of an npy are spatial).

    Returns:
        Spatial shape, channels and affine.

    Raises:
        UserError: if it cannot be read.
    """
    path = Path(path)
    kind = file_kind(path)
    with checks.reading(path, FORMATS[kind].title):
        return FORMATS[kind].header(path, mask)


def file_kind(path: Path) -> str:
    """The format by name ("png", "nifti", ...; "series" for a folder), after making sure that the content agrees.

    Raises:
        UserError: if it cannot be read, or the content is another.
    """
    suffix = file_suffix(path)
    with checks.reading(path, "an image"):
        if not path.exists() and dicom.numbered(path) is not None:
            return "series"
        if path.is_dir():
            if suffix:
                raise IsADirectoryError(path)
            return "series"
        with open(path, "rb") as file:
            start = file.read(352)
        if not start:
            raise UserError(f"{path}: empty file (0 bytes); copy it again from where it came, or take it out")
        content = _content(start)
    if not suffix and content == "dicom":
        return "dicom"
    if not suffix:
        raise UserError(f"{path}: not a format that is read ({' '.join(SUFFIXES)}); convert it or take it out")
    kind = SUFFIXES[suffix]
    expected = "gzip" if suffix == ".nii.gz" else kind
    if content is not None and content != expected:
        title = FORMATS[content].title if content in FORMATS else content
        raise UserError(f"{path}: named {suffix}, but its content is {title}; give it its right suffix")
    if content is None and FORMATS[kind].always_marked:
        title = FORMATS[kind].title
        raise UserError(f"{path}: named {suffix}, but its content is not {title}; convert it or take it out")
    return kind


def _content(start: bytes) -> str | None:
    """The format, or the kind of archive, that the first bytes of a file show."""
    for kind, format in FORMATS.items():
        if any(start[offset : offset + len(mark)] == mark for offset, mark in format.marks):
            return kind
    return next((kind for kind, mark in _PACKED.items() if start.startswith(mark)), None)


def _refuse_others(path: Path) -> None:
    """A folder that is one volume holds no images of other kinds; a note or a list of files does not matter."""
    if path.is_dir():
        for other in dicom.find(path).others:
            if file_suffix(other):
                raise UserError(f"{other}: not a DICOM slice; a folder among images must hold one DICOM series only")


def _npy_image(array: np.ndarray, path: Path) -> np.ndarray:
    if channels_first(array.shape):
        raise UserError(
            f"{path}: array of size {array.shape}, with channels first or slices first; save it with them last, "
            "np.moveaxis(array, 0, -1)"
        )
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] > 4):
        return array[..., None]
    if array.ndim in (3, 4):
        return array
    raise UserError(f"{path}: array of size {array.shape}; save [height, width], [..., channels] or [x, y, z]")
