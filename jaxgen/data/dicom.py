"""DICOM through pydicom (extra `dicom`): single files, multi-frame files, and series (a folder of slices)."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.dicom_limits import check_announced_pixels, check_deflated_dicom
from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError("DICOM files need pydicom; install it with: pip install 'jaxgen[dicom]'") from error
    return pydicom


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM part 10 files do."""
    if not path.is_file():  # a pipe would never end
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def header(path: Path) -> Header:
    """Size, channels and affine, from the tags alone."""
    return _header(_open(path, pixels=False), path)


def image(path: Path) -> Image:
    """One file: [rows, columns, c], or [columns, rows, frames, c] if it has several frames."""
    dataset = _open(path, pixels=True)
    head = _header(dataset, path)
    array = _values(dataset, path)
    if len(head.shape) == 3:
        array = array.reshape(head.shape[2], head.shape[1], head.shape[0], head.channels).transpose(2, 1, 0, 3)
    else:
        array = array.reshape((*head.shape, head.channels))
    return Image(array, head.affine, {"kind": "dicom", "path": path, "files": [path]})


def series_files(folder: Path) -> list[Path]:
    """The slices in a folder, in the order of their places in the body (or of InstanceNumber).

    Raises:
        UserError: if the folder holds other files, several series, or slices of several sizes.
    """
    files = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
    for file in files:
        if file.is_dir() or not is_dicom(file):
            raise UserError(f"{file}: not a DICOM slice; a folder among the images must hold one DICOM series only")
    if not files:
        raise UserError(f"{folder}: empty folder among the images; take it out")
    heads = [(file, _open(file, pixels=False)) for file in files]
    first_file, first = heads[0]
    for file, head in heads:
        for tag in ("SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient"):
            if head.get(tag) != first.get(tag):
                raise UserError(
                    f"{file}: {tag} {head.get(tag)} is not that of {first_file.name} ({first.get(tag)}); "
                    "keep one series a folder"
                )
    if all("ImagePositionPatient" in head and "ImageOrientationPatient" in head for _, head in heads):
        normal = np.cross(*_directions(first))

        def place(item: tuple[Path, Any]) -> float:
            return float(np.dot(normal, _position(item[1])))
    else:

        def place(item: tuple[Path, Any]) -> float:
            return float(item[1].get("InstanceNumber") or 0)

    heads.sort(key=lambda item: (place(item), item[0].name))
    return [file for file, _ in heads]


def series_header(folder: Path) -> Header:
    """Size, channels and affine of a series."""
    files = series_files(folder)
    first, last = _open(files[0], pixels=False), _open(files[-1], pixels=False)
    head = _header(first, files[0])
    if len(head.shape) == 3:
        raise UserError(
            f"{files[0]}: several frames in a file of a series; put multi-frame files among the images directly"
        )
    affine = head.affine
    if affine is not None and len(files) > 1:
        affine = affine.copy()
        flip = np.array([-1, -1, 1])
        affine[:3, 2] = (_position(last) - _position(first)) * flip / (len(files) - 1)
    return Header((head.shape[1], head.shape[0], len(files)), head.channels, affine)


def series(folder: Path) -> Image:
    """A series as a volume [columns, rows, slices, c] with its affine."""
    files = series_files(folder)
    head = series_header(folder)
    slices = [image(file).array.swapaxes(0, 1) for file in files]
    if len({s.dtype for s in slices}) > 1:  # each slice may have its own rescale
        slices = [s.astype(np.float32) for s in slices]
    return Image(np.stack(slices, axis=2), head.affine, {"kind": "dicom", "path": folder, "files": files})


def _open(path: Path, *, pixels: bool) -> Any:
    check_deflated_dicom(path)
    dataset = _pydicom().dcmread(path, stop_before_pixels=not pixels)
    check_announced_pixels(dataset, path)
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise UserError(f"{path}: DICOM without an image (no Rows and Columns); take it out")
    if dataset.get("Modality") == "SEG":
        raise UserError(f"{path}: DICOM SEG is not read as input; convert it to NIfTI")
    return dataset


def _header(dataset: Any, path: Path) -> Header:
    channels = int(dataset.get("SamplesPerPixel", 1))
    if channels not in (1, 3):
        raise UserError(f"{path}: DICOM with {channels} samples a pixel; save it in grey or RGB")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise UserError(f"{path}: DICOM with a colour palette; save it in grey or RGB")
    shape: tuple[int, ...] = (int(dataset.Rows), int(dataset.Columns))
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        return Header((shape[1], shape[0], frames), channels)
    return Header(shape, channels, _affine(dataset))


def _affine(dataset: Any) -> np.ndarray | None:
    """[column, row, slice] to millimetres in NIfTI's axes; DICOM's x and y point the other way."""
    if any(tag not in dataset for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        return None
    along_row, along_column = _directions(dataset)
    between_rows, between_columns = (float(v) for v in dataset.PixelSpacing)
    thickness = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1.0)
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = np.cross(along_row, along_column) * thickness
    affine[:3, 3] = _position(dataset)
    affine[:2] *= -1
    return affine


def _directions(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    cosines = np.array([float(v) for v in dataset.ImageOrientationPatient])
    return cosines[:3], cosines[3:]


def _position(dataset: Any) -> np.ndarray:
    return np.array([float(v) for v in dataset.ImagePositionPatient])


def _values(dataset: Any, path: Path) -> np.ndarray:
    """Stored pixels, brighter meaning more, in the units of the rescale tags (Hounsfield for CT)."""
    array = dataset.pixel_array
    photometric = dataset.get("PhotometricInterpretation", "MONOCHROME2")
    if photometric.startswith("YBR"):
        from pydicom.pixels import convert_color_space

        array = convert_color_space(array, photometric, "RGB")
    if photometric == "MONOCHROME1":
        array = (-1 - array) if dataset.get("PixelRepresentation") else (2 ** int(dataset.BitsStored) - 1 - array)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    if (slope, intercept) == (1.0, 0.0):
        return array
    scaled = array * np.float64(slope) + intercept
    whole = slope.is_integer() and intercept.is_integer()
    if whole and scaled.min() >= -(2**15) and scaled.max() < 2**15:
        return scaled.astype(np.int16)
    return scaled.astype(np.float32)
