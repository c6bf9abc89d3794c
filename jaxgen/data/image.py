"""What a reader returns."""

from typing import Any, NamedTuple

import numpy as np


class Image(NamedTuple):
    """One image or volume from a file.

    Attributes:
        array: ``[*spatial, c]``, raw values.
        affine: [4, 4], voxel index to millimetres (right, anterior, superior), or None where the file has none.
        meta: ``kind`` ("png", "nifti", "dicom", "npy", ...), ``path``, and what a writer needs to keep: ``header`` for
            NIfTI, ``files`` (one a slice) for DICOM.
    """

    array: np.ndarray
    affine: np.ndarray | None
    meta: dict[str, Any]


class Header(NamedTuple):
    """What can be known of a file without decoding it.

    Attributes:
        shape: spatial shape.
        channels: number of channels.
        affine: as in `Image`.
    """

    shape: tuple[int, ...]
    channels: int
    affine: np.ndarray | None = None
