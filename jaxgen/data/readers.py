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
from os import PathLike
from pathlib import Path

import numpy as np

from jaxgen.data import checks, dicom, fastmri, nifti, pixels, tiff
from jaxgen.data.arrays import channels_first, load_npy
from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError

SUFFIXES = {
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".bmp": "bmp",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".dcm": "dicom",
    ".npy": "npy",
    ".h5": "fastmri",
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"\x1f\x8b", "gzip"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"\x89HDF\r\n\x1a\n", "fastmri"),
)


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
        with checks.reading(path, _NAMES["series"]):
            _refuse_others(path)
            dicom.series_files(path)


def read_image(path: str | PathLike[str]) -> Image:
    """Read an image or volume.

    Args:
        path: a file, or a folder that holds one DICOM series; ``folder#2`` is the second volume of a folder of several.

    Returns:
        Pixels [*spatial, c] as uint8, uint16, int16 or float32; the affine, if there is one; what a writer needs.

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
    with checks.reading(path, _NAMES[kind]):
        if kind == "nifti":
            result = nifti.image(path)
        elif kind == "dicom":
            result = dicom.image(path)
        elif kind == "series":
            _refuse_others(path)
            result = dicom.series(path)
        elif kind == "fastmri":
            result = fastmri.image(path)
        else:
            array = _npy_image(load_npy(path), path) if kind == "npy" else _picture(path, kind)
            result = Image(array, None, {"kind": kind, "path": path})
        return result._replace(array=checks.image_values(result.array, path))


def read_mask(path: str | PathLike[str]) -> np.ndarray:
    """Read a mask.

    Args:
        path: a file, or a folder that holds one DICOM series.

    Returns:
        Whole numbers [*spatial], 0 for background: uint8, or uint16 or int32 if they do not fit.

    Raises:
        UserError: if it cannot be read, or holds anything but whole numbers from 0.
    """
    path = Path(path)
    kind = file_kind(path)
    with checks.reading(path, _NAMES[kind]):
        if kind == "npy":
            array = load_npy(path)
        elif kind in ("nifti", "dicom", "series"):
            if kind == "series":
                _refuse_others(path)
            channels = (read := {"nifti": nifti.image, "dicom": dicom.image, "series": dicom.series}[kind](path)).array
            if channels.shape[-1] != 1:
                raise UserError(f"{path}: mask with {channels.shape[-1]} channels; save one, with whole numbers")
            array = read.array[..., 0]
        elif kind == "fastmri":
            raise UserError(f"{path}: files of fastMRI hold no masks; save yours as NIfTI or npy")
        else:
            array = tiff.mask(path) if kind == "tiff" else pixels.mask(path, kind)
        return checks.mask_values(array, path)


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
    with checks.reading(path, _NAMES[kind]):
        if kind == "nifti":
            return nifti.header(path)
        if kind == "dicom":
            return dicom.header(path)
        if kind == "series":
            _refuse_others(path)
            return dicom.series_header(path)
        if kind == "fastmri":
            return fastmri.header(path)
        if kind == "npy":
            array = load_npy(path, mmap_mode="r")
            shape = array.shape if mask else _npy_image(array, path).shape
            return Header(shape, 1) if mask else Header(shape[:-1], shape[-1])
        return tiff.header(path, mask=mask) if kind == "tiff" else pixels.header(path, kind)


def _picture(path: Path, kind: str) -> np.ndarray:
    return tiff.image(path) if kind == "tiff" else pixels.image(path, kind)


_NAMES = {"png": "PNG", "tiff": "TIFF", "jpeg": "JPEG", "bmp": "BMP", "nifti": "NIfTI", "dicom": "DICOM", "npy": "npy"}
_NAMES |= {"series": "a DICOM series", "fastmri": "HDF5"}


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
        content = next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)
        if start[128:132] == b"DICM":
            content = "dicom"
        elif start[344:348] in (b"n+1\0", b"ni1\0") or start[4:8] in (b"n+2\0", b"ni2\0"):
            content = "nifti"
    if not suffix and content == "dicom":
        return "dicom"
    if not suffix:
        raise UserError(f"{path}: not a format that is read ({' '.join(SUFFIXES)}); convert it or take it out")
    kind = SUFFIXES[suffix]
    expected = "gzip" if suffix == ".nii.gz" else kind
    if content is not None and content != expected:
        raise UserError(
            f"{path}: named {suffix}, but its content is {_NAMES.get(content, content)}; give it its right suffix"
        )
    if content is None and kind in ("png", "tiff", "jpeg", "npy", "fastmri"):
        raise UserError(f"{path}: named {suffix}, but its content is not {_NAMES[kind]}; convert it or take it out")
    return kind


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
