"""Read k-space that a person brings, from npz files or those of fastMRI; nothing in them is ever unpickled."""

from os import PathLike
from pathlib import Path

import numpy as np

from jaxgen.data import checks, fastmri
from jaxgen.data.arrays import npz_headers, read_npz
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.imaging.mri import check_kspace, check_mask


def read_kspace(path: str | PathLike[str]) -> Image:
    """Read k-space and, if it is there, the mask of what was measured.

    Args:
        path: an npz file with ``kspace``, complex ``[h, w]``, ``[h, w, coils]`` or ``[slices, h, w, coils]``, zero
            frequency in the middle; and perhaps ``mask``, ``[h, w]`` or ``[slices, h, w]`` of 0 and 1. Without a mask,
            what is not exactly 0 was measured. Or a file of fastMRI (.h5), see `jaxgen.data.fastmri`.

    Returns:
        complex64 ``[h, w, coils]``, or ``[h, w, slices, coils]`` of several slices, 0 where it was not measured.

    Raises:
        UserError: naming the file and the fix, as `jaxgen.imaging.mri.check_kspace` does.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kspace = np.zeros((8, 8), np.complex64)
        ...     kspace[4, 4] = 1
        ...     np.savez(os.path.join(folder, "a.npz"), kspace=kspace)
        ...     read_kspace(os.path.join(folder, "a.npz")).array.shape
        (8, 8, 1)
    """
    path = Path(path)
    if path.suffix.lower() == ".h5":
        with checks.reading(path, "HDF5"):
            held = fastmri.kspace(path)
    else:
        held = _npz(path)
    kspace = check_kspace(held["kspace"], f"{path}: `kspace`")
    if "mask" in held:
        mask = check_mask(held["mask"], kspace, f"{path}: `mask`")
        kspace = kspace * mask[..., None]
    array = kspace[0] if len(kspace) == 1 else np.moveaxis(kspace, 0, 2)
    return Image(array, None, {"kind": "kspace", "path": path})


def _npz(path: Path) -> dict[str, np.ndarray]:
    with checks.reading(path, "npz"):
        names = npz_headers(path)
        if "kspace" not in names:
            held = ", ".join(names) or "nothing"
            raise UserError(f"{path}: it holds no array `kspace` (but {held}); save it by np.savez(path, kspace=...)")
        return read_npz(path, [name for name in ("kspace", "mask") if name in names])
