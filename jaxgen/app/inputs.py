"""The images that files, folders and patterns on the command line stand for, and what in folders is left out."""

import glob
from collections.abc import Iterable
from pathlib import Path

from jaxgen.app import runs
from jaxgen.data import dicom, readers
from jaxgen.data.dicom import Found, Volume
from jaxgen.errors import UserError, printable


def find_inputs(inputs: Iterable[str], suffixes: tuple[str, ...] = ()) -> list[Path]:
    """The images that files, folders and patterns stand for, each once, in order.

    A folder stands for the images in it (or in its ``images/``), and for the DICOM images in it and in the folders
    inside it: slices that belong together are one volume, all others an image each. A folder with one volume is named
    by the folder; the second volume of a folder with several is ``folder#2``.

    Args:
        inputs: what the command line says.
        suffixes: of the files to look for in folders, where they are not images.

    Returns:
        Paths that `jaxgen.data.readers.read_image` reads.

    Raises:
        UserError: if something is not there or holds no image.
    """
    return list(find_all(inputs, suffixes)[0])


def find_all(inputs: Iterable[str], suffixes: tuple[str, ...] = ()) -> tuple[dict[Path, str], dict[str, str]]:
    """As `find_inputs`, with the names of results, and what is left out.

    Args:
        inputs: as there.
        suffixes: as there.

    Returns:
        Path -> what the names of its results start with (folders inside a folder are part of it); and, for all that
        is left out of folders, its name -> one line that says why.

    Raises:
        UserError: as there.
    """
    found: dict[Path, str] = {}
    left_out: dict[str, str] = {}
    for text in inputs:
        try:
            _find_one(text, suffixes, found, left_out)
        except OSError as error:  # a name that is too long for the file system, among others
            raise UserError(f"{text}: it cannot be read ({runs.explain(error)})") from error
    return found, left_out


def _find_one(text: str, suffixes: tuple[str, ...], found: dict[Path, str], left_out: dict[str, str]) -> None:
    path = Path(text)
    if path.is_dir():
        folder = path.resolve() if path.name in ("", "..") else path
        if suffixes:
            _with_suffix(folder, suffixes, found, left_out)
        else:
            _in_folder(folder, found, left_out)
    elif path.exists():
        for one in [path] if suffixes else _in_file(path):
            found.setdefault(one, _stem(one, suffixes))
    elif path.is_symlink():
        raise UserError(f"{text}: it is a symbolic link that leads nowhere; mend it or leave it out")
    elif dicom.numbered(path) is not None:
        found.setdefault(path, path.name)
    elif glob.has_magic(text):
        matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        if not matches:
            raise UserError(f"{text}: nothing matches this pattern; check it, or name a folder")
        for match in matches:
            for one in [match] if suffixes else _in_file(match):
                found.setdefault(one, _stem(one, suffixes))
    else:
        raise UserError(f"{text}: there is no such file or folder; check its name")


def _stem(path: Path, suffixes: tuple[str, ...]) -> str:
    return path.stem if path.suffix.lower() in suffixes else readers.stem(path)


def _with_suffix(folder: Path, suffixes: tuple[str, ...], found: dict[Path, str], left_out: dict[str, str]) -> None:
    entries = _entries(folder)
    named = [entry for entry in entries if entry.name.lower().endswith(suffixes) and entry.is_file()]
    wanted = f"*{' or *'.join(suffixes)}"
    if not named:
        raise UserError(f"{folder}: it holds no file named {wanted}; name another folder")
    for entry in named:
        found.setdefault(entry, _stem(entry, suffixes))
    for entry in entries:
        if entry not in named:
            _leave_out(left_out, folder, entry, f"it is not named {wanted}")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: it cannot be read ({runs.explain(error)})") from error


def _leave_out(left_out: dict[str, str], folder: Path, path: Path, why: str) -> None:
    name = str(path.relative_to(folder)) if path != folder else path.name
    if printable(name) in left_out:  # of another folder
        name = str(path)
    left_out[printable(name)] = printable(why if str(path) in why else f"{path}: {why}")


def _in_file(path: Path) -> list[Path]:
    """A file, or each volume in a DICOM file (or a folder that a pattern matches) of several."""
    if path.is_dir() or _is_dicom(path):
        held = dicom.find(path)
        if len(held.volumes) > 1:
            return [_path_of(volume, held, path) for volume in held.volumes]
    return [path]


def _in_folder(folder: Path, found: dict[Path, str], left_out: dict[str, str]) -> None:
    entries = _entries(folder)
    inside = folder / "images"
    if inside.is_dir() and not any(entry.is_file() and _may_be_image(entry) for entry in entries):
        _in_folder(inside, found, left_out)
        for entry in entries:
            if entry != inside:
                _leave_out(left_out, folder, entry, "it lies next to images/, whose images are taken")
        return
    held = dicom.find(folder)
    own = [other for other in held.others if other.parent == folder]
    images = {p: _stem(p, ()) for p in own if readers.file_suffix(p) and (p.is_file() or not p.exists())}
    for path in [*held.damaged, *(_path_of(volume, held, folder) for volume in held.volumes)]:
        relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        images[path] = "_".join((*relative.parent.parts, readers.stem(relative))) if path != folder else path.name
    if not images:
        raise UserError(f"{folder}: it holds no image ({' '.join(readers.SUFFIXES)}); name another folder")
    for path in sorted(images):
        found.setdefault(path, images[path])
    for path, why in held.left_out.items():
        _leave_out(left_out, folder, path, why)
    for path in own:
        if path not in images:
            _leave_out(left_out, folder, path, "no image of a format that is read")
    for parent in dict.fromkeys(other.parent for other in held.others if other.parent != folder):
        rest = [other for other in held.others if other.parent == parent]
        count = sum(bool(readers.file_suffix(other)) for other in rest)
        more = f"; {count} of them are images, to take which name this folder" if count else ""
        _leave_out(left_out, folder, parent, f"{len(rest)} files inside that are no DICOM ({rest[0].name}, ...){more}")


def _may_be_image(path: Path) -> bool:
    return bool(readers.file_suffix(path)) or _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    """Whether it is, as far as it can be read: what cannot be is the failure of that file, later."""
    try:
        return dicom.is_dicom(path)
    except OSError:
        return False


def _path_of(volume: Volume, held: Found, folder: Path) -> Path:
    """A path that `read_image` reads as this volume, and as nothing else."""
    if len(volume.slices) == 1 and volume.slices[0].frame is None:
        return volume.slices[0].path
    files = {s.path for s in volume.slices}
    parents = {path.parent for path in files}
    if len(files) == 1 and volume.slices[0].frame is not None:
        (file,) = files
        alike = [v for v in held.volumes if v.slices[0].path == file]
        return file if len(alike) == 1 else Path(f"{file}#{alike.index(volume) + 1}")
    base = parents.pop() if len(parents) == 1 else folder
    there = held if base == folder else dicom.find(base)
    numbers = [i for i, other in enumerate(there.volumes, 1) if {s.path for s in other.slices} == files]
    if not numbers:  # slices of other folders make a volume another one
        base, there, numbers = folder, held, [held.volumes.index(volume) + 1]
    alone = len(there.volumes) == 1 and not any(map(readers.file_suffix, there.others))
    return base if alone and not readers.file_suffix(base) else Path(f"{base}#{numbers[0]}")
