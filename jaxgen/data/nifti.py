"""NIfTI through nibabel."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import io_orientation

from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError


def open_file(path: Path):
    """The nibabel image of a file, its size on disk checked against its header; voxels are not read."""
    picture = nibabel.load(path, mmap=False)
    if not isinstance(picture, nibabel.Nifti1Image):
        raise ValueError(f"{type(picture).__name__} is no NIfTI")
    head = picture.header
    if head.get_data_dtype().names or head.get_data_dtype().kind not in "buif":
        raise UserError(f"{path}: NIfTI voxels of type {head.get_data_dtype()}; save one number a voxel")
    if path.suffix.lower() == ".nii":
        wanted = int(head.get_data_offset()) + head.get_data_dtype().itemsize * int(np.prod(picture.shape))
        have = path.stat().st_size
        if have < wanted:
            raise ValueError(f"{have} of {wanted} bytes")
    return picture


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
