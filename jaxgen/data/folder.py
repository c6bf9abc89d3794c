"""A folder of images, and of masks with the same names, decoded when asked for.

::

    folder/images/a.png   folder/masks/a.png     split by a hash of the names, 70 / 15 / 15
    folder/train/images/a.png ...                or by hand: train/, validation/, test/
    folder/train.txt                             or lists of names (without suffix), one a line
    folder/patients.csv                          optional, `name,patient`: a patient is in one split only
    folder/labels.csv                            `name,label`, if labels are wanted
    folder/glioma/a.png  folder/healthy/b.png    or, without masks, a subfolder for each class
    folder/Training/glioma/a.png  Testing/...    or both: splits, and classes in each

A mask may be in another format than its image. Without masks, grey and colour may come together: all become colour.
DICOM series are folders in images/, or in the folder of a class.
"""

import csv
import math
import os
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jaxgen.data import checks
from jaxgen.data.dicom import is_dicom
from jaxgen.data.image import Header
from jaxgen.data.images import convert_channels
from jaxgen.data.labels import number_classes, require_classes, require_trained, split_by_class
from jaxgen.data.nifti import axial_axis
from jaxgen.data.options import Options
from jaxgen.data.readers import check_readable, file_kind, file_suffix, read_header, read_image, read_mask, stem
from jaxgen.data.source import SHARES, Example, Splits, Subset, assign_splits, complete
from jaxgen.errors import UserError

CHECK_BYTES = 256 * 2**20
CACHE_BYTES = 256 * 2**20
_ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_JUNK = ("thumbs.db", "desktop.ini", "__macosx")


class Pair(NamedTuple):
    """One image with what belongs to it.

    Attributes:
        name: unique in the data set.
        image: its file.
        mask: its mask's file, or None.
        label: the number of its class, or None.
    """

    name: str
    image: Path
    mask: Path | None = None
    label: int | None = None


class _Found(NamedTuple):
    """The files of one split: their pairs, still without labels, and the class of each as it is written."""

    pairs: list[Pair]
    classes: list[str] | None


class FolderSource:
    """Examples decoded from files when asked for; see `jaxgen.data.source.Source`.

    Args:
        pairs: the files.
        options: what each example holds.

    Raises:
        UserError: if a header cannot be read, or sizes, ranks or channels do not fit together.
    """

    def __init__(self, pairs: Sequence[Pair], options: Options):
        self._pairs = list(pairs)
        self._options = options._replace(foreground=checks.parse_foreground(options.foreground))
        self._first_value: tuple[int, object] | None = None
        self._lock = threading.Lock()
        self._cache = _Cache(CACHE_BYTES)
        with ThreadPoolExecutor(_threads()) as pool:
            headers = list(pool.map(lambda pair: _check_pair(pair, options), self._pairs))
        values = max((math.prod(head.shape) * head.channels for head in headers), default=1)
        self._workers = max(1, min(_threads(), CHECK_BYTES // (4 * values)))  # what they decode fits into memory
        masked = any(pair.mask for pair in self._pairs)
        self._colour = _check_alike(self._pairs, headers, may_mix=not masked)
        self._axes = [axial_axis(head.affine) for head in headers]
        self._items: list[tuple[int, int | None]] = []
        for i, head in enumerate(headers):
            if options.slices and len(head.shape) == 3:
                self._items += [(i, z) for z in range(head.shape[self._axes[i]])]
            else:
                self._items.append((i, None))

    @property
    def names(self) -> Sequence[str]:
        """The image's name, with the slice in brackets."""
        return [self._pairs[i].name + ("" if z is None else f"[{z}]") for i, z in self._items]

    @property
    def owners(self) -> np.ndarray:
        """For each example the number of its file."""
        return np.array([i for i, _ in self._items])

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> Example:
        pair, z = self._items[i]
        if z is None:
            return self._read(pair)
        volume = self._cache.get(pair)
        if volume is None:
            volume = self._read(pair)
            self._cache.put(pair, volume)
        axis = self._axes[pair]
        return {k: v if k == "label" else np.ascontiguousarray(v.take(z, axis=axis)) for k, v in volume.items()}

    def check(self) -> None:
        """Decode every file once.

        Raises:
            UserError: for the first file that cannot be read or whose values make no sense.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            found = list(pool.map(self._check_one, range(len(self._pairs))))
        for i, (_, value) in enumerate(found):
            self._check_value(i, value)
        if all(flat for flat, _ in found):
            raise UserError(f"{self._pairs[0].image.parent}: every image has one value only; check how they were saved")

    def _check_one(self, i: int) -> tuple[bool, int]:
        """Whether an image is constant, and the foreground value of its mask."""
        example, value = self._decode(i)
        image = example["image"]
        flat = bool(image.min() == image.max())
        if flat and "mask" in example and example["mask"].any():
            raise UserError(
                f"{self._pairs[i].image}: every pixel is {image.flat[0]}, yet its mask marks something; "
                "check how it was saved, or take both out"
            )
        return flat, value

    def _check_value(self, i: int, value: int) -> None:
        if value == 0:
            return
        with self._lock:
            if self._first_value is None:
                self._first_value = (value, self._pairs[i].mask)
            checks.check_one_value(value, self._pairs[i].mask, self._first_value)

    def _read(self, i: int) -> Example:
        example, value = self._decode(i)
        self._check_value(i, value)
        return example

    def _decode(self, i: int) -> tuple[Example, int]:
        """An example, and the foreground value of its mask if masks must be binary (else 0)."""
        pair, options = self._pairs[i], self._options
        wanted = options.wants + options.optional
        image = read_image(pair.image).array
        example: Example = {"image": convert_channels(image, 3) if self._colour else image}
        value = 0
        if pair.mask is not None:
            mask = read_mask(pair.mask)
            if mask.ndim == example["image"].ndim and mask.shape[-1] == 1:
                mask = mask[..., 0]
            if mask.shape != example["image"].shape[:-1]:
                raise _mismatch(pair, example["image"].shape[:-1], mask.shape)
            if "instances" in wanted:
                example["instances"] = mask
            if "mask" in wanted:
                foreground = "any" if "instances" in wanted else options.foreground
                example["mask"] = checks.apply_foreground(mask, foreground, pair.mask)
                value = checks.foreground_value(mask) if foreground == "binary" else 0
        if pair.label is not None:
            example["label"] = np.asarray(pair.label, np.int32)
        return example, value


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


class _Cache:
    """The volumes used last, up to a number of bytes; safe between threads."""

    def __init__(self, max_bytes: int):
        self._max, self._bytes, self._lock = max_bytes, 0, threading.Lock()
        self._held: OrderedDict[int, Example] = OrderedDict()

    def get(self, key: int) -> Example | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: int, value: Example) -> None:
        size = sum(a.nbytes for a in value.values())
        with self._lock:
            if key in self._held or size > self._max:
                return
            self._held[key] = value
            self._bytes += size
            while self._bytes > self._max:
                _, old = self._held.popitem(last=False)
                self._bytes -= sum(a.nbytes for a in old.values())


def load_folder(folder: Path, options: Options) -> Splits:
    """Find, pair, check and split the files of a folder.

    Args:
        folder: laid out as this module's docstring says.
        options: what each example holds.

    Returns:
        The three splits; nothing is decoded before it is asked for, except that sets of up to 256 MB of files are read
        through once to find broken ones before training starts.

    Raises:
        UserError: naming the file at fault and the fix.
    """
    with checks.reading(folder, "a folder"):
        inside = {entry.name for entry in os.scandir(folder)}
    given = {split: _alias(folder, inside, names) for split, names in _ALIASES.items()}
    if any(given.values()):
        if "images" in inside:
            raise UserError(f"{folder}: has both images/ and {next(n for n in given.values() if n)}/; keep one layout")
        if given["train"] is None:
            raise UserError(f"{folder}: has no train/ beside its other splits; add it, or use images/ and masks/ alone")
        parts = {s: _find(folder / name, options, f"{name}/") for s, name in given.items() if name is not None}
    else:
        parts = {"": _find(folder, options, "")}
    pairs = [pair for part in parts.values() for pair in part.pairs]
    labels, label_names = _number(folder, list(parts.values()), options)
    if labels is not None and "label" in options.wants + options.optional:
        pairs = [pair._replace(label=int(k)) for pair, k in zip(pairs, labels, strict=True)]
    source = FolderSource(pairs, options)
    if sum(f.stat().st_size for pair in pairs for f in (pair.image, pair.mask) if f is not None) <= CHECK_BYTES:
        source.check()
    chosen = _split(folder, inside, parts, pairs, labels, label_names, options)
    owners = source.owners
    train, validation, test = (Subset(source, np.flatnonzero(np.isin(owners, chosen[name]))) for name in SHARES)
    return Splits(
        train,
        validation,
        test,
        name=folder.resolve().name,
        origin=f"folder {folder}",
        label_names=label_names if pairs[0].label is not None else (),
    )


def _alias(folder: Path, inside: set[str], names: Sequence[str]) -> str | None:
    """The subfolder of a split, whatever its capitals."""
    present = sorted(entry for entry in inside if entry.lower() in names)
    if len(present) > 1:
        raise UserError(f"{folder}: has both {present[0]}/ and {present[1]}/; keep one of them")
    return present[0] if present else None


def _number(folder: Path, parts: list[_Found], options: Options) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class of each image over all splits, and the names; None where images have none."""
    classes: list[str] = []
    for part in parts:
        if part.classes is None:
            return None, ()
        classes += part.classes
    labels, names = number_classes(classes, str(folder))
    if "label" in options.wants:
        require_classes(labels, names, str(folder))
    return labels, names


def _split(
    folder: Path,
    inside: set[str],
    parts: dict[str, _Found],
    pairs: list[Pair],
    labels: np.ndarray | None,
    label_names: tuple[str, ...],
    options: Options,
) -> dict[str, np.ndarray]:
    wanted = "label" in options.wants

    def draw(chosen: np.ndarray) -> dict[str, np.ndarray]:
        names = [pairs[i].name for i in chosen]
        if "patients.csv" in inside:
            table = _table(folder / "patients.csv")
            owners = [_look_up(table, name, folder / "patients.csv") for name in names]
            return assign_splits(owners, seed=options.seed, where=str(folder), what="patient")
        own = None if labels is None else labels[chosen]
        return split_by_class(names, own, label_names, seed=options.seed, where=str(folder), wanted=wanted)

    if "" in parts:
        split = _listed(folder, inside, pairs) or draw(np.arange(len(pairs)))
    else:
        ends = np.cumsum([len(part.pairs) for part in parts.values()])
        held = {s: np.arange(end - len(part.pairs), end) for (s, part), end in zip(parts.items(), ends, strict=True)}
        split = complete(held, draw)
    if wanted and labels is not None:
        require_trained(labels, split, label_names, str(folder))
    return split


def _listed(folder: Path, inside: set[str], pairs: list[Pair]) -> dict[str, np.ndarray] | None:
    """The split by lists of names, if there are any."""
    lists = {
        split: next((n + ".txt" for n in names if n + ".txt" in inside), None) for split, names in _ALIASES.items()
    }
    if not any(lists.values()):
        return None
    index = {pair.name: i for i, pair in enumerate(pairs)}
    seen: dict[str, Path] = {}
    chosen = {}
    for split, file in lists.items():
        if file is None:
            raise UserError(f"{folder}: has no {split}.txt beside its other lists; add it")
        path = folder / file
        with checks.reading(path, "a list of names"):
            listed = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        listed = [name if (name := _without_suffix(line)) in index else stem(line) for line in listed]
        for name in listed:
            if name not in index:
                raise UserError(f"{path}: names {name}, which is not among the images; correct the list")
            if name in seen:
                raise UserError(f"{path}: names {name}, which is also in {seen[name].name}; keep it in one list, once")
            seen[name] = path
        if not listed:
            raise UserError(f"{path}: empty list; name at least one image")
        chosen[split] = np.array([index[name] for name in listed])
    return chosen


def _find(folder: Path, options: Options, prefix: str) -> _Found:
    """The images of one folder, with their masks and classes."""
    wanted = options.wants + options.optional
    if "masks" in options.wants:
        raise UserError(
            f"{folder}: masks of several raters are read from an npz only; give an npz with `masks` [n, raters, ...]"
        )
    if "labels" in options.wants:
        raise UserError(
            f"{folder}: several labels an image are read from an npz only; give an npz with `labels` [n, classes]"
        )
    needs_mask = "mask" in options.wants or "instances" in options.wants
    folders = [] if needs_mask else _class_folders(folder, "label" in options.wants)
    if folders:
        pairs, classes = [], []
        for inner in folders:
            name = unicodedata.normalize("NFC", inner.name)
            found = _files(inner, "images")
            pairs += [Pair(f"{prefix}{name}/{key}", file) for key, file in found.items()]
            classes += [name] * len(found)
        return _Found(pairs, classes)
    image_dir, mask_dir = folder / "images", folder / "masks"
    if not image_dir.is_dir() and not needs_mask:
        image_dir = folder
    images = _files(image_dir, "images", () if image_dir != folder else ("labels.csv", "patients.csv"))
    use_masks = needs_mask or (("mask" in wanted or "instances" in wanted) and mask_dir.is_dir())
    masks = _files(mask_dir, "masks") if use_masks else {}
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
    return _Found(pairs, _classes(folder, list(images), options))


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


def _classes(folder: Path, names: list[str], options: Options) -> list[str] | None:
    """The class of each image by labels.csv."""
    path = folder / "labels.csv"
    if not path.exists():
        if "label" in options.wants:
            raise UserError(
                f"{path}: no such file; write name,label lines into it, or put the images of each class into a "
                "subfolder of its own"
            )
        return None
    try:
        table = _table(path)
        return [_look_up(table, name, path) for name in names]
    except UserError:
        if "label" in options.wants + options.optional:
            raise
        return None  # a table that nobody asked for


def _files(folder: Path, what: str, beside: Sequence[str] = ()) -> dict[str, Path]:
    """Stem -> file of everything in a folder but the files `beside`, in the order of the stems."""
    if not os.path.lexists(folder):
        raise UserError(f"{folder.parent}: has no {what}/ folder; put the {what} there")
    with checks.reading(folder, "a folder"):
        if not folder.is_dir():
            os.stat(folder)  # a loop of links says so itself
            raise UserError(f"{folder}: a file where a folder of {what} is needed; make it a folder")
        skipped = (*_JUNK, *beside)
        entries = [
            Path(e.path) for e in os.scandir(folder) if not e.name.startswith(".") and e.name.lower() not in skipped
        ]
    found: dict[str, Path] = {}
    for file in sorted(entries):
        check_readable(file)
        name = stem(file)
        if name in found:
            raise UserError(f"{file}: has the same name as {found[name].name} but for the suffix; keep one of them")
        found[name] = file
    if not found:
        raise UserError(f"{folder}: empty folder; put the {what} there")
    return dict(sorted(found.items()))


def _table(path: Path) -> dict[str, str]:
    with checks.reading(path, "a table of two columns"):
        rows = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if row]
    if rows and rows[0][0].strip().lower() in ("name", "image", "file"):
        rows = rows[1:]
    for row in rows:
        if len(row) != 2 or not row[1].strip():
            raise UserError(f"{path}: the line {','.join(row)!r} has not two columns; write name,value")
    bare = {stem(row[0].strip()): row[1].strip() for row in rows}
    return bare | {_without_suffix(row[0].strip()): row[1].strip() for row in rows}


def _without_suffix(text: str) -> str:
    """As `stem`, with the folders in front kept."""
    return str(PurePosixPath(text.replace("\\", "/")).parent / stem(text))


def _look_up(table: dict[str, str], name: str, path: Path) -> str:
    key = name if name in table else name.rsplit("/", 1)[-1]
    if key not in table:
        raise UserError(f"{path}: has no line for the image {name}; add one")
    return table[key]


def _check_pair(pair: Pair, options: Options) -> Header:
    head = read_header(pair.image)
    rank = len(head.shape)
    if options.spatial == 2 and rank == 3 and not options.slices:
        raise UserError(
            f"{pair.image}: a volume of {checks.describe(head.shape)} where 2-D images are wanted; "
            "add --slices to take it slice by slice"
        )
    if options.spatial == 3 and rank == 2:
        raise UserError(
            f"{pair.image}: a 2-D image of {checks.describe(head.shape)} where volumes are wanted; take it out"
        )
    if pair.mask is not None:
        mask = read_header(pair.mask, mask=True)
        shape = mask.shape[:-1] if len(mask.shape) == rank + 1 and mask.shape[-1] == 1 else mask.shape
        if shape != head.shape:
            raise _mismatch(pair, head.shape, mask.shape)
        if head.affine is not None and mask.affine is not None:
            here, there = _corners(pair.image, head, shape), _corners(pair.mask, mask, shape)
            apart = np.linalg.norm(here - there, axis=0).max()
            if apart > 0.5 * np.linalg.norm(head.affine[:3, :rank], axis=0).min():
                raise UserError(
                    f"{pair.mask}: lies {apart:.1f} mm away from its image {pair.image} (their affines differ); "
                    "resample the mask onto the image's grid"
                )
    return head


def _corners(path: Path, head: Header, shape: tuple[int, ...]) -> np.ndarray:
    """Where the corners of an array lie, in millimetres ``[3, corners]``."""
    assert head.affine is not None
    ends = [(0, n - 1) for n in shape] + [(0,)] * (3 - len(shape)) + [(1,)]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(4, -1)
    if len(shape) == 2 and file_kind(path) == "dicom":
        corners = corners[[1, 0, 2, 3]]  # rows come first, but the affine counts columns first
    return (head.affine @ corners)[:3]


def _mismatch(pair: Pair, image: Iterable[int], mask: Iterable[int]) -> UserError:
    return UserError(
        f"{pair.mask}: mask of {checks.describe(tuple(mask))}, but its image {pair.image} is "
        f"{checks.describe(tuple(image))}; save both in one size"
    )


def _check_alike(pairs: Sequence[Pair], headers: Sequence[Header], may_mix: bool) -> bool:
    """Refuse images with volumes and, unless it may be, grey with colour; whether grey must become colour."""
    first = headers[0]
    for pair, head in zip(pairs, headers, strict=True):
        if head.channels != first.channels and not (may_mix and {head.channels, first.channels} == {1, 3}):
            raise UserError(
                f"{pair.image}: {head.channels} channels, but {pairs[0].image} has {first.channels}; "
                "convert all images to grey or all to RGB"
            )
        if len(head.shape) != len(first.shape):
            raise UserError(
                f"{pair.image}: {checks.describe(head.shape)}, but {pairs[0].image} is {checks.describe(first.shape)}; "
                "keep images and volumes in separate folders"
            )
    return len({head.channels for head in headers}) > 1
