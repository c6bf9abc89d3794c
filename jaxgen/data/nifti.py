"""NIfTI through nibabel."""

import gzip
import logging
import math
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import io_orientation

from jaxgen.data import limits
from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it cannot put right in a header it raises


def open_file(path: Path) -> Any:
    """The nibabel image of a file, its announced size and its affine checked; voxels are not read."""
    limits.check_size(path, _start_of_voxels(path), "its header")
    picture = nibabel.load(path, mmap=False)
    if not isinstance(picture, nibabel.Nifti1Image):
        raise ValueError(f"{type(picture).__name__} is no NIfTI")
    head, dtype = picture.header, picture.header.get_data_dtype()
    if dtype.names or dtype.kind not in "buif":
        raise UserError(f"{path}: NIfTI voxels of type {dtype}; save one number a voxel")
    if min(picture.shape, default=0) < 1:
        raise UserError(f"{path}: has no voxels (size {picture.shape}); take it out")
    voxels = math.prod(picture.shape)
    voxels_on_disk: Any = picture.dataobj
    scaled = (voxels_on_disk.slope, voxels_on_disk.inter) != (1, 0)
    limits.check_size(path, voxels * (8 if scaled else dtype.itemsize))  # nibabel scales in float64
    if path.suffix.lower() == ".nii":
        wanted = int(head.get_data_offset()) + dtype.itemsize * voxels
        have = path.stat().st_size
        if have < wanted:
            raise ValueError(f"{have} of {wanted} bytes")
    _check_affine(picture.affine, len(split_shape(picture.shape, path)[0]), path)
    return picture


def _start_of_voxels(path: Path) -> int:
    """Bytes before the voxels as the header says: nibabel reads all of them."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
        start = file.read(540)
    for order in "<>":
        size = struct.unpack(order + "i", start[:4].ljust(4, b"\0"))[0]
        if size == 348 and len(start) >= 112:
            offset = struct.unpack(order + "f", start[108:112])[0]
            return int(offset) if math.isfinite(offset) else 2**63
        if size == 540 and len(start) >= 176:
            return struct.unpack(order + "q", start[168:176])[0]
    return 0


def _check_affine(affine: np.ndarray, rank: int, path: Path) -> None:
    if not np.isfinite(affine).all():
        raise UserError(f"{path}: its affine has NaN or infinite values; set sform and qform anew, or convert it again")
    if np.linalg.matrix_rank(affine[:3, :rank]) < rank:
        raise UserError(f"{path}: its affine is singular (voxels without a size); set sform and qform anew")


def split_shape(shape: tuple[int, ...], path: Path) -> tuple[tuple[int, ...], int]:
    """Spatial shape and channels: a fourth axis (time, contrast) is channels, a single slice is a 2-D image."""
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 4:
        raise UserError(f"{path}: NIfTI of size {shape}; save 2 or 3 spatial axes, then at most one of channels")
    channels = shape[3] if len(shape) == 4 else 1
    spatial = shape[:3]
    return (spatial[:2] if len(spatial) == 3 and spatial[2] == 1 else spatial), channels


def header(path: Path) -> Header:
    """Size, channels and affine."""
    picture = open_file(path)
    shape, channels = split_shape(picture.shape, path)
    return Header(shape, channels, picture.affine)


def image(path: Path) -> Image:
    """Voxels [x, y, z, c] or [x, y, c], scaled as the header asks."""
    picture = open_file(path)
    shape, channels = split_shape(picture.shape, path)
    array = np.asanyarray(picture.dataobj).reshape((*shape, channels))
    return Image(array, picture.affine, {"kind": "nifti", "path": path, "header": picture.header.copy()})


def thinner(affine: np.ndarray | None, factor: int) -> np.ndarray:
    """The affine of a volume whose slices along its last axis are cut into `factor` thin ones each.

    The volume stays where it is: thin slice k has its middle at ``(k + 1/2) / factor - 1/2`` of the thick ones.

    Args:
        affine: ``[4, 4]``, voxel index to millimetres; None for voxels of 1.
        factor: how many thin slices a thick one becomes.

    Returns:
        ``[4, 4]``.

    Raises:
        UserError: if voxels are longer along another axis than along the last.

    Example:
        >>> thinner(np.diag([1.0, 1.0, 3.0, 1.0]), 3)[2].tolist()
        [0.0, 0.0, 1.0, -1.0]
    """
    affine, inner = np.eye(4) if affine is None else affine, np.eye(4)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.max() > 1.01 * spacing[2]:
        raise UserError(f"its slices are thickest along axis {spacing.argmax()} of 0, 1, 2; make that the last axis")
    inner[2, 2:] = 1 / factor, 0.5 / factor - 0.5
    return np.asarray(affine @ inner)


def axial_axis(affine: np.ndarray | None) -> int:
    """The array axis that runs from feet to head; the last where the file does not say.

    Example:
        >>> axial_axis(np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1.0]]))
        1
    """
    if affine is None:
        return 2
    axes = io_orientation(affine)[:, 0]
    found = np.flatnonzero(axes == 2)
    return int(found[0]) if len(found) else 2
