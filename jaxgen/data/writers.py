"""Write masks and maps for the files they were made from; whole or not at all, and never over an existing file."""

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image

from jaxgen.data.image import Image
from jaxgen.errors import UserError


def write_mask(path: str | PathLike[str], mask: np.ndarray, *, overwrite: bool = False) -> Path:
    """Write a 2-D binary mask as PNG, 0 and 255.

    Args:
        path: ending in .png.
        mask: [height, width]; all but 0 is foreground.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        UserError: if the file exists or cannot be written.
        ValueError: if the mask is not 2-D.
    """
    if np.ndim(mask) != 2:
        raise ValueError(f"a PNG mask needs 2 axes, not the shape {np.shape(mask)}")
    picture = PIL.Image.fromarray(np.where(np.asarray(mask) != 0, 255, 0).astype(np.uint8))
    return write_atomically(path, lambda temporary: picture.save(temporary, "png"), overwrite=overwrite)


def write_nifti(
    path: str | PathLike[str], array: np.ndarray, *, like: Image | None = None, overwrite: bool = False
) -> Path:
    """Write an array as NIfTI, in the space of the image it was made from.

    Args:
        path: ending in .nii or .nii.gz.
        array: ``[*spatial]`` or ``[*spatial, c]``; whole numbers keep their type (those of 64 bits become int32 where
            they fit), bool becomes uint8, and floats float32, or float64 where large or whole numbers need it.
        like: the image read: its affine is kept and, if it came from NIfTI, qform and sform with their codes, units and
            voxel sizes. Texts, intents and extensions are not: they may name a patient.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        UserError: if the values are no real numbers, or the file exists or cannot be written.
        ValueError: if the spatial shape is not that of `like`, or the suffix is another.
    """
    path = Path(path)
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    if not path.name.endswith(suffix):
        raise ValueError(f"{path} ends in neither .nii nor .nii.gz")
    array = _storable(np.asarray(array), path)
    affine, header = np.eye(4), None
    if like is not None:
        spatial = like.array.shape[:-1]
        if array.shape[: len(spatial)] != spatial:
            raise ValueError(f"array {array.shape} does not fit the image {spatial}")
        affine = np.eye(4) if like.affine is None else like.affine
        header = like.meta.get("header")
        if like.meta.get("kind") == "dicom" and len(spatial) == 2:
            array = array.swapaxes(0, 1)  # NIfTI counts columns first, as the affine does
        if len(spatial) == 2:
            array = array[:, :, None]
    kind = nibabel.Nifti1Image if max(array.shape) < 2**15 else nibabel.Nifti2Image
    picture = kind(array, affine, dtype=array.dtype)
    if header is not None and np.allclose(header.get_best_affine(), affine):
        picture = kind(array, None, _geometry(picture.header, header), dtype=array.dtype)
    elif header is not None:
        picture.header["xyzt_units"] = header["xyzt_units"]
    picture.header.set_slope_inter(1, 0)
    return write_atomically(
        path, lambda temporary: nibabel.save(picture, temporary), overwrite=overwrite, suffix=suffix
    )


def write_field(path: str | PathLike[str], displacement: np.ndarray, *, like: Image, overwrite: bool = False) -> Path:
    """Write a displacement field as NIfTI in the form that ITK and ANTs read.

    Args:
        path: ending in .nii or .nii.gz.
        displacement: ``[x, y, z, 3]`` in millimetres along the patient's left, posterior and superior
            (`jaxgen.medical.registration.to_itk_displacement`).
        like: the fixed image, whose affine is kept.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        UserError: if the file exists or cannot be written.
    """
    affine = np.eye(4) if like.affine is None else like.affine
    picture = nibabel.Nifti1Image(np.asarray(displacement, np.float32)[:, :, :, None], affine)
    picture.header.set_intent(1007)  # a vector at each voxel
    picture.header.set_xyzt_units("mm")
    suffix = ".nii.gz" if str(path).endswith(".nii.gz") else ".nii"
    return write_atomically(
        path, lambda temporary: nibabel.save(picture, temporary), overwrite=overwrite, suffix=suffix
    )


def _storable(array: np.ndarray, path: Path) -> np.ndarray:
    """The values in a type that NIfTI has and that holds all of them."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: values of type {array.dtype} cannot be written as NIfTI; write real numbers")
    if array.dtype in (np.int64, np.uint64):
        fits = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return array.astype(np.int32) if fits else array
    if array.dtype.kind != "f" or array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    lost = (np.isinf(single) != np.isinf(array)) | ((array == np.round(array)) & (single != array))
    return array.astype(np.float64) if lost.any() else single


_GEOMETRY = {
    "sform_code": ("srow_x", "srow_y", "srow_z"),
    "qform_code": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
}


def _geometry(header: Any, like: Any) -> Any:
    """A header with the place and size of voxels of another, and nothing else of it."""
    for code, fields in _GEOMETRY.items():
        known = int(like[code]) > 0 and all(np.isfinite(like[field]).all() for field in fields)
        header[code] = like[code] if known else 0
        for field in fields:
            header[field] = like[field] if known else 0
    kept = 5 if min(header["dim"][0], like["dim"][0]) > 3 else 4
    sizes = like["pixdim"][:kept]
    header["pixdim"][:kept] = np.where(np.isfinite(sizes) & (sizes != 0), sizes, 1)
    header["xyzt_units"] = like["xyzt_units"]
    return header


def write_dicom_seg(
    path: str | PathLike[str],
    mask: np.ndarray,
    *,
    like: Image,
    label: str = "Segmentation",
    model: str = "jaxgen",
    overwrite: bool = False,
) -> Path:
    """Write a binary mask of a DICOM image as DICOM SEG, or as NIfTI beside it where highdicom is not installed.

    Args:
        path: ending in .dcm; the NIfTI instead ends in .nii.gz.
        mask: [rows, columns] or [columns, rows, slices], as read.
        like: the image as `jaxgen.data.read_image` gave it.
        label: what is marked.
        model: name of the algorithm, for the file's record.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path that was written.

    Raises:
        UserError: if the file exists or cannot be written.
        ValueError: if `like` is not a DICOM image of the mask's shape.
    """
    path = Path(path)
    if like.meta.get("kind") != "dicom" or mask.shape != like.array.shape[:-1]:
        raise ValueError(f"a mask {mask.shape} and an image {like.array.shape} from {like.meta.get('kind')}")
    try:
        import highdicom  # noqa: F401
        import pydicom
    except ImportError:
        instead = path.with_name(path.name.removesuffix(".dcm") + ".nii.gz")
        return write_nifti(instead, np.asarray(mask != 0, np.uint8), like=like, overwrite=overwrite)
    files = like.meta["files"]
    sources = [pydicom.dcmread(file) for file in files]
    for source, file in zip(sources, files, strict=True):
        _complete_for_seg(source, file)
    frames = (mask.transpose(2, 1, 0) if mask.ndim == 3 else mask[None]) != 0
    frames = _in_stored_order(frames, like)
    try:
        dataset = _segmentation(sources, frames, label, model)
    except Exception as error:  # highdicom raises what comes on tags that it needs
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{like.meta['path']}: DICOM SEG cannot be made for it ({type(error).__name__}: {reason}); "
            "leave --dicom-seg out for NIfTI"
        ) from error
    return write_atomically(path, lambda temporary: dataset.save_as(temporary), overwrite=overwrite)


# What the standard lets be empty in a study, and files without a patient lack.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_MUST_BE_THERE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def _complete_for_seg(source: Any, file: Path) -> None:
    """Give a source the empty tags that it lacks; refuse one whose study cannot be named."""
    for keyword in _MAY_BE_EMPTY:
        if source.get(keyword) is None:
            setattr(source, keyword, "")
    for keyword in _MUST_BE_THERE:
        if not source.get(keyword):
            raise UserError(f"{file}: has no {keyword}, which DICOM SEG needs; leave --dicom-seg out for NIfTI")


def _in_stored_order(frames: np.ndarray, like: Image) -> np.ndarray:
    """Frames of a mask in the order in which a file of several frames holds its own."""
    numbers = like.meta.get("frames", [None])
    if numbers[0] is None:
        return frames
    if sorted(numbers) != list(range(len(frames))) or len(like.meta["files"]) > 1:
        raise UserError(
            f"{like.meta['path']}: DICOM SEG is not written for some frames of a file; leave --dicom-seg out for NIfTI"
        )
    return frames[np.argsort(numbers)]


def _segmentation(sources: Sequence[Any], frames: np.ndarray, label: str, model: str) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    from jaxgen import __version__

    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames.astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=highdicom.UID(),
        series_number=1000,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="jaxgen",
        manufacturer_model_name=model,
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=bool(frames.any()),
    )


def write_atomically(
    path: str | PathLike[str], write: Callable[[str], Any], *, overwrite: bool = False, suffix: str | None = None
) -> Path:
    """Write to a temporary file in the same folder, then rename: a reader sees the whole file or none.

    Args:
        path: where it goes; its folder is made if need be.
        write: ``write(name)`` writes the temporary file.
        overwrite: whether an existing file may be replaced.
        suffix: of the temporary file, where `write` chooses the format by it.

    Returns:
        The path.

    Raises:
        UserError: if the file exists, or the folder or file cannot be written.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise UserError(f"{path}: exists already and is not written over; choose another --out, or move it away")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".writing-", suffix=suffix or path.suffix, dir=path.parent)
        os.close(handle)
        write(temporary)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        if overwrite:
            os.replace(temporary, path)
        else:
            _rename_new(temporary, path)
    except FileExistsError as error:
        raise UserError(f"{error.filename2 or error.filename or path}: exists already; choose another --out") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{path}: this name is too long for the file system; shorten the image's name") from error
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error
    finally:
        if temporary is not None and os.path.lexists(temporary):
            os.unlink(temporary)
    return path


def _rename_new(temporary: str, path: Path) -> None:
    """Rename, refusing to replace a file that appeared meanwhile, where the file system has hard links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        os.replace(temporary, path)
