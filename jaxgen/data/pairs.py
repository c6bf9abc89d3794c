"""The files of a data folder: which mask and which class belong to which image."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data import checks
from jaxgen.data.dicom import is_dicom
from jaxgen.data.options import Options
from jaxgen.data.readers import check_readable, file_suffix, stem
from jaxgen.data.tables import find_table, look_up, read_table
from jaxgen.errors import UserError

ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
TABLES = ("labels.csv", "patients.csv", "patients.tsv", "covariates.csv", "covariates.tsv")
BESIDE = (*TABLES, *(f"{n}.txt" for names in ALIASES.values() for n in names))
"""Files that may lie among images and say something of them."""
_JUNK = ("thumbs.db", "desktop.ini", "__macosx")


class Pair(NamedTuple):
    """One image with what belongs to it.

    Attributes:
        name: unique in the data set.
        image: its file.
        mask: its mask's file, or None.
        label: the number of its class, or None.
        more: files of its other channels.
        covariates: numbers that come with it ``[k]``, or None.
    """

    name: str
    image: Path
    mask: Path | None = None
    label: int | None = None
    more: tuple[Path, ...] = ()
    covariates: np.ndarray | None = None


class Found(NamedTuple):
    """The files of one split.

    Attributes:
        pairs: still without labels.
        classes: the class of each as it is written, or None.
    """

    pairs: list[Pair]
    classes: list[str] | None


def alias(folder: Path, inside: set[str], names: Sequence[str]) -> str | None:
    """The subfolder of a split, whatever its capitals.

    Args:
        folder: for the message.
        inside: the names of what it holds.
        names: of the split, in lower case.

    Returns:
        The one that is there, or None.

    Raises:
        UserError: if there are two.
    """
    present = sorted(entry for entry in inside if entry.lower() in names)
    if len(present) > 1:
        raise UserError(f"{folder}: has both {present[0]}/ and {present[1]}/; keep one of them")
    return present[0] if present else None


def check_wanted(folder: Path, options: Options) -> None:
    """Refuse what no folder can give.

    Raises:
        UserError: if masks of several raters, several labels for an image or captions are wanted.
    """
    if "source" in options.wants:
        raise UserError(
            f"{folder}: has no source/ and target/ folders; put the images to translate and their targets there"
        )
    if "text" in options.wants:
        raise UserError(f"{folder}: captions are read from an npz only; give an npz with `images` and `texts` [n]")
    if "masks" in options.wants:
        raise UserError(
            f"{folder}: masks of several raters are read from an npz only; give an npz with `masks` [n, raters, ...]"
        )
    if "labels" in options.wants:
        raise UserError(
            f"{folder}: several labels an image are read from an npz only; give an npz with `labels` [n, classes]"
        )


def find(folder: Path, options: Options, prefix: str) -> Found:
    """The images of one folder, with their masks and classes.

    Args:
        folder: holds images/ and perhaps masks/, images alone, or a subfolder for each class.
        options: what each example holds.
        prefix: of the images' names.

    Returns:
        What was found.

    Raises:
        UserError: naming the file without its counterpart.
    """
    wanted = options.wants + options.optional
    needs_mask = "mask" in options.wants or "instances" in options.wants
    folders = [] if needs_mask else _class_folders(folder, "label" in options.wants)
    if folders:
        pairs, classes = [], []
        for inner in folders:
            name = unicodedata.normalize("NFC", inner.name)
            found = files_of(inner, "images")
            pairs += [Pair(f"{prefix}{name}/{key}", file) for key, file in found.items()]
            classes += [name] * len(found)
        return Found(pairs, classes)
    image_dir, mask_dir = folder / "images", folder / "masks"
    if not image_dir.is_dir() and not needs_mask:
        image_dir = folder
    images = files_of(image_dir, "images", () if image_dir != folder else BESIDE)
    use_masks = needs_mask or (("mask" in wanted or "instances" in wanted) and mask_dir.is_dir())
    masks = files_of(mask_dir, "masks") if use_masks else {}
    if use_masks:
        for name, file in images.items():
            if name not in masks:
                raise UserError(
                    f"{file}: has no mask; add {mask_dir / name} with any known suffix, or take the image out"
                )
        for name, file in masks.items():
            if name not in images:
                raise UserError(f"{file}: a mask without an image; add {image_dir / name} or take the mask out")
    pairs = [Pair(prefix + name, file, masks.get(name)) for name, file in images.items()]
    return Found(pairs, classes_of(folder, list(images), options))


def _class_folders(folder: Path, labels_wanted: bool) -> list[Path]:
    """The subfolders, if each holds the images of one class."""
    with checks.reading(folder, "a folder"):
        if any((folder / name).exists() for name in ("images", "labels.csv")):
            return []
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name.lower() not in _JUNK)
        inner = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if entry not in inner and file_suffix(entry)]
    if inner and loose and labels_wanted:
        raise UserError(f"{loose[0]}: lies beside the folders of classes; move it into one of them, or take it out")
    if loose or not inner:
        return []
    with checks.reading(inner[0], "a folder"):
        first = next((f for f in sorted(inner[0].iterdir()) if not f.name.startswith(".")), None)
        series = first is not None and first.is_file() and is_dicom(first)
    return [] if series and not labels_wanted else inner


def classes_of(folder: Path, names: list[str], options: Options) -> list[str] | None:
    """The class of each image by labels.csv, or None.

    Raises:
        UserError: if classes are wanted and the table lacks one.
    """
    path = folder / "labels.csv"
    if not path.exists():
        if "label" in options.wants:
            raise UserError(
                f"{path}: no such file; write name,label lines into it, or put the images of each class into a "
                "subfolder of its own"
            )
        return None
    try:
        return look_up(read_table(path, "label"), names, path, "label")
    except UserError:
        if "label" in options.wants + options.optional:
            raise
        return None  # a table that nobody asked for


def files_of(folder: Path, what: str, beside: Sequence[str] = (), ending: str = "") -> dict[str, Path]:
    """Stem -> file of everything in a folder, in the order of the stems.

    Args:
        folder: of images or of masks.
        what: they are, for messages.
        beside: files to leave out, in lower case.
        ending: if given, only files that end so.

    Raises:
        UserError: for a file that is no image, and for two of one name.
    """
    if not os.path.lexists(folder):
        raise UserError(f"{folder.parent}: has no {folder.name}/ folder; put the {what} there")
    with checks.reading(folder, "a folder"):
        if not folder.is_dir():
            os.stat(folder)  # a loop of links says so itself
            raise UserError(f"{folder}: a file where a folder of {what} is needed; make it a folder")
        skipped = (*_JUNK, *beside)
        entries = [
            Path(e.path)
            for e in os.scandir(folder)
            if not e.name.startswith(".") and e.name.lower() not in skipped and e.name.endswith(ending)
        ]
    found: dict[str, Path] = {}
    for file in sorted(entries):
        check_readable(file)
        name = stem(file)
        if name in found:
            raise UserError(f"{file}: has the same name as {found[name].name} but for the suffix; keep one of them")
        found[name] = file
    if not found:
        raise UserError(f"{folder}: {f'no file ends in {ending}' if ending else 'empty folder'}; put the {what} there")
    return dict(sorted(found.items()))


def patients_of(folder: Path, names: list[str]) -> list[str] | None:
    """The patient of each image by patients.csv (or .tsv), or None without such a table.

    Raises:
        UserError: if the table lacks an image, or gives one two patients.
    """
    path = find_table(folder, "patients")
    return None if path is None else look_up(read_table(path, "patient"), names, path, "patient")
