"""Read k-space that a person brings, from npz files or those of fastMRI; nothing in them is ever unpickled."""

from os import PathLike
from pathlib import Path

import numpy as np

from jaxgen.data import checks, fastmri
from jaxgen.data.arrays import npz_headers, read_npz
from jaxgen.data.image import Image
from jaxgen.errors import UserError
from jaxgen.imaging.mri import check_kspace, check_mask, measured_mask

LEAST_MEASURED = 0.7
"""Share of k-space to be measured where all of it should be: scanners leave its edges out and fill them with 0."""


def read_kspace(path: str | PathLike[str]) -> Image:
    """Read k-space and, if it is there, the mask of what was measured.

    Args:
        path: an npz file with ``kspace``, complex ``[h, w]``, ``[h, w, coils]`` or ``[slices, h, w, coils]``, zero
            frequency in the middle; and perhaps ``mask``, ``[h, w]`` or ``[slices, h, w]`` of 0 and 1. Without a mask,
            what is not exactly 0 was measured. Or a file of fastMRI (.h5), see `jaxgen.data.fastmri`.

    Returns:
        complex64 ``[h, w, coils]``, or ``[h, w, slices, coils]`` of several slices, 0 where it was not measured. Its
        ``meta`` holds the number of ``coils``, and ``mask``, ``[h, w]`` or ``[h, w, slices]``, 1 where measured.

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
    measured = measured_mask(kspace)
    one = len(kspace) == 1
    meta = {
        "kind": "kspace",
        "path": path,
        "coils": kspace.shape[-1],
        "mask": measured[0] if one else np.moveaxis(measured, 0, 2),
    }
    return Image(kspace[0] if one else np.moveaxis(kspace, 0, 2), None, meta)


def read_whole_kspace(path: str | PathLike[str], *, coils_first: bool = False) -> np.ndarray:
    """Read fully sampled k-space of one slice: of several the middle one.

    Args:
        path: as `read_kspace` takes it.
        coils_first: an npz has ``[coils, h, w]`` and not ``[h, w, coils]``.

    Returns:
        complex64 ``[h, w, coils]``.

    Raises:
        UserError: naming the file and the fix; also if more than the edges of k-space, which scanners leave out and
            fill with 0, was not measured.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kspace = np.full((2, 8, 8), 0.01j)
        ...     kspace[:, 4, 4] = 1
        ...     np.savez(os.path.join(folder, "a.npz"), kspace=kspace)
        ...     read_whole_kspace(os.path.join(folder, "a.npz"), coils_first=True).shape
        (8, 8, 2)
    """
    path = Path(path)
    if coils_first and path.suffix.lower() != ".h5":
        with checks.reading(path, "npz"):
            array = np.moveaxis(read_npz(path, ["kspace"])["kspace"], -3, -1)
        kspace = check_kspace(array, f"{path}: `kspace`")[0]
    else:
        kspace = read_kspace(path).array
    if kspace.ndim == 4:  # [h, w, slices, coils]
        kspace = kspace[:, :, kspace.shape[2] // 2]
    if (np.abs(kspace) > 0).any(-1).mean() < LEAST_MEASURED:
        raise UserError(
            f"{path}: k-space must be fully sampled for --kspace; `jaxgen apply` takes undersampled k-space"
        )
    return kspace


def _npz(path: Path) -> dict[str, np.ndarray]:
    with checks.reading(path, "npz"):
        names = npz_headers(path)
        if "kspace" not in names:
            held = ", ".join(names) or "nothing"
            raise UserError(f"{path}: it holds no array `kspace` (but {held}); save it by np.savez(path, kspace=...)")
        return read_npz(path, [name for name in ("kspace", "mask") if name in names])
