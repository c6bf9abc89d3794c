"""Displacement fields as NIfTI files that ANTs and ITK read."""

from os import PathLike
from pathlib import Path

import nibabel
import numpy as np

from jaxgen.data.writers import write_atomically
from jaxgen.errors import UserError
from jaxgen.medical.registration.itk import to_itk_displacement

VECTOR = 1007
"""The intent code of a file that holds one vector per voxel."""


def write_displacement(
    path: str | PathLike[str], flow: np.ndarray, moving: np.ndarray, fixed: np.ndarray, *, overwrite: bool = False
) -> Path:
    """Write a field so that ``antsApplyTransforms -i moving -r fixed -t FILE`` moves as `warp` does.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``.
        flow: ``[x, y, z, 3]`` on the grid of the fixed image, in voxels of the moving image.
        moving: affine ``[4, 4]`` of the moving image, as nibabel gives it.
        fixed: affine ``[4, 4]`` of the fixed image.
        overwrite: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        UserError: for another suffix, or if the file exists or cannot be written.
        ValueError: for other shapes.

    Example:
        >>> write_displacement("field.mha", np.zeros((2, 2, 2, 3)), np.eye(4), np.eye(4))
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: field.mha: fields are written as NIfTI; end the name in .nii.gz
    """
    if not str(path).endswith((".nii", ".nii.gz")):
        raise UserError(f"{path}: fields are written as NIfTI; end the name in .nii.gz")
    millimetres = to_itk_displacement(flow, moving, fixed).astype(np.float32)
    image = nibabel.Nifti1Image(millimetres[:, :, :, None], fixed)
    image.header.set_intent(VECTOR)
    image.header.set_xyzt_units("mm")
    suffix = ".nii.gz" if str(path).endswith(".gz") else ".nii"
    return write_atomically(path, lambda name: nibabel.save(image, name), overwrite=overwrite, suffix=suffix)
