"""Displacement fields as ITK and ANTs keep them: millimetres along the axes of the patient, not voxels."""

import numpy as np


def to_itk_displacement(flow: np.ndarray, moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The displacement from each fixed voxel to its counterpart in the moving image, in millimetres, LPS.

    ``d(p) = F (M [p + u(p)] - A [p])`` with A and M the affine maps of the fixed and the moving image, voxel to
    millimetres in the frame of NIfTI (right, anterior, superior), and F the change to that of ITK (left, posterior,
    superior): the first two components change sign.

    Args:
        flow: ``[*spatial, 3]`` on the grid of the fixed image, in voxels of the moving image (`warp`).
        moving: affine ``[4, 4]`` of the moving image, as nibabel gives it.
        fixed: affine ``[4, 4]`` of the fixed image.

    Returns:
        float64 ``[*spatial, 3]``. For a NIfTI file of ANTs or ITK store it as ``[x, y, z, 1, 3]`` with the fixed
        image's affine and the intent code 1007 (vector).

    Raises:
        ValueError: for other shapes.

    Example:
        >>> flow = np.zeros((2, 2, 2, 3)) + [1.0, 0.0, 0.0]
        >>> to_itk_displacement(flow, np.diag([2.0, 1, 1, 1]), np.diag([2.0, 1, 1, 1]))[0, 0, 0].tolist()
        [-2.0, 0.0, 0.0]
    """
    flow, moving, fixed = (np.asarray(x, np.float64) for x in (flow, moving, fixed))
    if flow.ndim != 4 or flow.shape[-1] != 3 or moving.shape != (4, 4) or fixed.shape != (4, 4):
        raise ValueError(f"needs a flow [x, y, z, 3] and two affines [4, 4], got {flow.shape}, {moving.shape}")
    place = np.stack(np.meshgrid(*(np.arange(n) for n in flow.shape[:3]), indexing="ij"), axis=-1)
    ends = (place + flow) @ moving[:3, :3].T + moving[:3, 3]
    starts = place @ fixed[:3, :3].T + fixed[:3, 3]
    return (ends - starts) * np.array([-1.0, -1.0, 1.0]) + 0.0  # -0.0 becomes 0.0
