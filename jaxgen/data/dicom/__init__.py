"""DICOM through pydicom (extra `dicom`): single files, multi-frame files, and series (a folder of slices).

A folder is one volume if all that it holds, folders inside it included, is one. Where it holds several, ``folder#2`` is
the second of them, and ``file.dcm#2`` the second volume of a file with several.
"""

import re
from pathlib import Path

import numpy as np

from jaxgen.data import checks, limits
from jaxgen.data.dicom.files import Found, find, is_dicom
from jaxgen.data.dicom.frames import frame_count, slices
from jaxgen.data.dicom.geometry import affine
from jaxgen.data.dicom.tags import Slice, open_file
from jaxgen.data.dicom.values import values
from jaxgen.data.dicom.volumes import Volume, telling_tag
from jaxgen.data.image import Header, Image
from jaxgen.errors import UserError

__all__ = [
    "Found",
    "Volume",
    "find",
    "header",
    "image",
    "is_dicom",
    "numbered",
    "series",
    "series_files",
    "series_header",
]


def header(path: Path) -> Header:
    """Size, channels and affine, from the tags alone."""
    dataset = open_file(path, pixels=False)
    if frame_count(dataset, path) > 1:
        return series_header(path)
    (only,) = slices(dataset, path)
    return Header(_size(only), _channels(only), affine([only]))


def image(path: Path) -> Image:
    """One file: [rows, columns, c], or [columns, rows, frames, c] if it has several frames."""
    dataset = open_file(path, pixels=False)
    if frame_count(dataset, path) > 1:
        return series(path)
    (only,) = slices(dataset, path)
    (array,) = values(open_file(path, pixels=True), [only], path)
    return Image(array, affine([only]), {"kind": "dicom", "path": path, "files": [path]})


def numbered(path: Path) -> tuple[Path, int] | None:
    """The folder or file, and the number of the volume in it, that a name such as ``scans#2`` stands for.

    Example:
        >>> numbered(Path("/no/such/folder#2")) is None
        True
    """
    match = re.fullmatch(r"(.+)#([1-9]\d{0,8})", str(path), re.DOTALL)
    if match is None or not Path(match[1]).exists():
        return None
    return Path(match[1]), int(match[2])


def series_files(path: Path) -> list[Path]:
    """The files of a volume, in the order of their places in the body.

    Args:
        path: a folder, a file of several frames, or one volume of either, such as ``folder#2``.

    Raises:
        UserError: if it holds no volume, several, or one with slices missing.
    """
    return list(dict.fromkeys(s.path for s in _volume(path).slices))


def series_header(path: Path) -> Header:
    """Size, channels and affine of a volume; `path` as in `series_files`."""
    found = _volume(path).slices
    rows, columns = _size(found[0])
    return Header((columns, rows, len(found)), _channels(found[0]), affine(found))


def series(path: Path) -> Image:
    """A volume [columns, rows, slices, c] with its affine; `path` as in `series_files`."""
    found = _volume(path).slices
    rows, columns = _size(found[0])
    announced = 4 * rows * columns * _channels(found[0]) * len(found)
    limits.check_files(path, [s.path for s in found], announced)
    read: dict[tuple[Path, int | None], np.ndarray] = {}
    for file in dict.fromkeys(s.path for s in found):
        frames = [s for s in found if s.path == file]
        with checks.reading(file, "DICOM"):
            found_values = values(open_file(file, pixels=True), frames, file)
        for s, array in zip(frames, found_values, strict=True):
            read[s.path, s.frame] = array.swapaxes(0, 1)
    arrays = [read.pop((s.path, s.frame)) for s in found]
    if len({a.dtype for a in arrays}) > 1:  # each slice may have its own rescale
        arrays = [a.astype(np.float32) for a in arrays]
    files = list(dict.fromkeys(s.path for s in found))
    meta = {"kind": "dicom", "path": path, "files": files, "frames": [s.frame for s in found]}
    return Image(np.stack(arrays, axis=2), affine(found), meta)


def _volume(path: Path) -> Volume:
    """The one volume that a path stands for."""
    chosen = None if path.exists() else numbered(path)
    base = path if chosen is None else chosen[0]
    found = find(base)
    for why in found.damaged.values():
        raise UserError(why)
    if not found.volumes:
        for why in found.left_out.values():
            raise UserError(why)
        raise UserError(f"{base}: it holds no DICOM image; take it out")
    if chosen is None:
        if len(found.volumes) > 1:
            raise _several(base, found)
        volume = found.volumes[0]
    elif chosen[1] > len(found.volumes):
        raise UserError(f"{path}: {base} holds {len(found.volumes)} volumes or images; choose one of them")
    else:
        volume = found.volumes[chosen[1] - 1]
    if volume.problem is not None:
        raise UserError(f"{path}: {volume.problem}")
    return volume


def _several(base: Path, found: Found) -> UserError:
    """What is found in a folder or file with more than one volume."""
    first, second = (volume.slices[0] for volume in found.volumes[:2])
    counts = [len(volume.slices) for volume in found.volumes]
    sizes = ", ".join(map(str, counts[:6])) + (", ..." if len(counts) > 6 else "")
    tag = telling_tag(first.tags, second.tags)
    if tag is None and max(counts) > 1:
        return UserError(
            f"{base}: holds {len(counts)} volumes or images (slices: {sizes}), among them {first.path.name} and "
            f"{second.path.name}; put each into a folder of its own, or name one, as in {base}#1"
        )
    if tag is None:
        why = "nothing tells the order of its slices (ImagePositionPatient, SliceLocation, InstanceNumber)"
        if "ImagePositionPatient" in first.tags:
            why = f"{first.name} and {second.name} lie at one place"
        return UserError(f"{base}: {why}; it holds {len(counts)} images and no volume; put them among the images")
    a, b = first.tags.get(tag), second.tags.get(tag)
    what = f"{tag} {_shown(b)} is not that of {first.name} ({_shown(a)})"
    return UserError(
        f"{second.path}: {what}; {base} holds {len(counts)} volumes or images (slices: {sizes}); "
        "put each into a folder of its own, or name one, as in "
        f"{base}#1"
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "\\".join(_shown(v) for v in value)
    return "absent" if value is None else f"{value:g}" if isinstance(value, float) else str(value)[:64]


def _size(s: Slice) -> tuple[int, int]:
    return int(s.tags["Rows"]), int(s.tags["Columns"])


def _channels(s: Slice) -> int:
    return int(s.tags.get("SamplesPerPixel", 1))
