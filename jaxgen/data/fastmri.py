"""Files of the fastMRI data set (.h5) through h5py (extra `mri`): k-space, and the images of full measurements.

Links, external storage and virtual data sets are refused: a file must not pull other files from the disk.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.data import limits
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
    held = list(file)  # names alone: asking whether a name is there would follow links into other files
    name = next((name for name in _IMAGES if name in held), None)
    if name is None:
        raise UserError(
            f"{path}: holds no images ({' or '.join(_IMAGES)}), but {', '.join(held) or 'nothing'}; take it out: the "
            "test sets of fastMRI have k-space alone"
        )
    dataset = _dataset(file, name, path)
    if dataset.ndim != 3 or dataset.dtype.kind != "f":
        raise UserError(f"{path}: `{name}` is {dataset.dtype} of {dataset.shape}, not real [slices, h, w]")
    return dataset


def _dataset(file: Any, name: str, path: Path) -> Any:
    """A data set whose bytes lie in this file, and are no more than they may be.

    Raises:
        UserError: for links, for storage in other files, and for what announces or unpacks to too much.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UserError(f"{path}: `{name}` is a link, which is never followed; copy the data into the file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise UserError(f"{path}: `{name}` is no data set of numbers; save an array")
    if dataset.external or dataset.is_virtual:
        raise UserError(f"{path}: `{name}` lies in other files, which are never opened; copy the data into the file")
    if dataset.dtype.hasobject or dataset.dtype.kind not in "buifcV":
        raise UserError(f"{path}: `{name}` has values of type {dataset.dtype}, not numbers; save an array of numbers")
    if not dataset.size:
        raise UserError(f"{path}: `{name}` is empty (size {dataset.shape}); take it out")
    limits.check_size(path, math.prod(dataset.shape) * dataset.dtype.itemsize, f"`{name}`")
    _check_chunks(dataset, name, path)
    return dataset


def _check_chunks(dataset: Any, name: str, path: Path) -> None:
    """Refuse chunks that unpack to more than their size: HDF5 goes on as long as the stream does."""
    if dataset.chunks is None or dataset.compression is None:
        return
    full = math.prod(dataset.chunks) * dataset.dtype.itemsize
    limits.check_size(path, full, f"a chunk of `{name}`")
    for i in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(i)
        if dataset.compression == "gzip" and 1032 * info.size > limits.most_bytes(path):  # deflate's best
            _, content = dataset.id.read_direct_chunk(info.chunk_offset)
            if len(zlib.decompressobj().decompress(content, full + 5)) > full + 4:  # a checksum may follow
                raise UserError(f"{path}: a chunk of `{name}` unpacks to more than its {full} bytes; write it again")


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
        held = list(file)
        if "kspace" not in held:
            raise UserError(f"{path}: it holds no data set `kspace` (but {', '.join(held) or 'nothing'}); take it out")
        array = np.asarray(_dataset(file, "kspace", path))
        mask = np.asarray(_dataset(file, "mask", path)) if "mask" in held else None
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
