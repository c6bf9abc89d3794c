"""Files of the fastMRI data set (.h5) through h5py (extra `mri`): k-space, and the images of full measurements."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError

_IMAGES = ("reconstruction_rss", "reconstruction_esc")


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError("fastMRI files (.h5) need h5py; install it with: pip install 'jaxgen[mri]'") from error
    return h5py.File(path, "r")


def _images(file: Any, path: Path) -> Any:
    """The data set ``[slices, h, w]`` of images."""
    name = next((name for name in _IMAGES if name in file), None)
    if name is None:
        raise UserError(
            f"{path}: holds no images ({' or '.join(_IMAGES)}), but {', '.join(file) or 'nothing'}; take it out: the "
            "test sets of fastMRI have k-space alone"
        )
    if file[name].ndim != 3 or file[name].dtype.kind != "f":
        raise UserError(f"{path}: `{name}` is {file[name].dtype} of {file[name].shape}, not real [slices, h, w]")
    return file[name]


def header(path: Path) -> Header:
    """Size of the volume."""
    with _open(path) as file:
        slices, height, width = _images(file, path).shape
    return Header((height, width, slices), 1)


def image(path: Path) -> Image:
    """Slices of the images ``[h, w, slices, 1]``, the brightest value 1: the scale of scans is arbitrary."""
    with _open(path) as file:
        volume = np.asarray(_images(file, path), np.float32)
    brightest = float(volume.max(initial=0))
    volume = volume / brightest if brightest > 0 else volume
    return Image(np.moveaxis(volume, 0, -1)[..., None], None, {"kind": "fastmri", "path": path})


def kspace(path: Path) -> dict[str, np.ndarray]:
    """``kspace`` as ``[slices, h, w, coils]`` and, if it is there, the ``mask`` of columns as ``[h, w]``.

    Columns of nothing but 0 are padding, which a mask may name all the same.
    """
    with _open(path) as file:
        if "kspace" not in file:
            held = ", ".join(file) or "nothing"
            raise UserError(f"{path}: it holds no data set `kspace` (but {held}), as files of fastMRI do")
        array = np.asarray(file["kspace"])
        mask = np.asarray(file["mask"]) if "mask" in file else None
    if array.ndim not in (3, 4):
        raise UserError(f"{path}: `kspace` {array.shape}; fastMRI has [slices, h, w] or [slices, coils, h, w]")
    array = array[..., None] if array.ndim == 3 else np.moveaxis(array, 1, -1)
    found = {"kspace": array}
    if mask is not None:
        if mask.shape != array.shape[2:3]:
            raise UserError(f"{path}: `mask` {mask.shape} is not one number for each of {array.shape[2]} columns")
        measured = (np.abs(array) > 0).any((0, 1, 3))
        found["mask"] = np.broadcast_to(mask * measured, array.shape[1:3])
    return found
