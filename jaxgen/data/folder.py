"""A folder of images, and of masks with the same names, decoded when asked for.

::

    folder/images/a.png   folder/masks/a.png     split by a hash of the names, 70 / 15 / 15
    folder/train/images/a.png ...                or by hand: train/, validation/, test/
    folder/train.txt                             or lists of names (without suffix), one a line
    folder/patients.csv                          optional, `name,patient`: a patient is in one split only
    folder/labels.csv                            `name,label`, if labels are wanted
    folder/covariates.csv                        `name,age,volume`: numbers, if covariates are wanted
    folder/glioma/a.png  folder/healthy/b.png    or, without masks, a subfolder for each class
    folder/Training/glioma/a.png  Testing/...    or both: splits, and classes in each
    folder/imagesTr  labelsTr  dataset.json      or as nnU-Net has it, see `jaxgen.data.nnunet`

A mask may be in another format than its image. Without masks, grey and colour may come together: all become colour.
DICOM series are folders in images/, or in the folder of a class. Patients are those of patients.csv (or .tsv; see
`jaxgen.data.tables`) in the folder or in each of its splits; without it those of DICOM's PatientID, unless it is the
same everywhere.

A given split in which two parts share a patient, or an image pixel for pixel, is refused; where the split is drawn,
what is shared stays together. Two files of one name in train/ and test/ are two images. Sets of more than 256 MB are
not decoded for this: there, only files that are equal byte by byte count as one image.
"""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxgen.data import checks, groups, nnunet
from jaxgen.data.classes import Classes, choose_classes
from jaxgen.data.covariates import read_covariates
from jaxgen.data.dicom_patients import dicom_patients
from jaxgen.data.image import Header, Image
from jaxgen.data.images import convert_channels
from jaxgen.data.labels import number_classes, require_classes, require_trained, split_by_class
from jaxgen.data.nifti import axial_axis
from jaxgen.data.options import Options
from jaxgen.data.pairs import ALIASES, Found, Pair, alias, check_wanted, find, patients_of
from jaxgen.data.readers import file_kind, read_header, read_image, read_mask, stem
from jaxgen.data.source import SHARES, Example, Splits, Subset, complete
from jaxgen.data.tables import find_table, parts_of
from jaxgen.errors import UserError

CHECK_BYTES = 256 * 2**20
CACHE_BYTES = 256 * 2**20


class FolderSource:
    """Examples decoded from files when asked for; see `jaxgen.data.source.Source`.

    Args:
        pairs: the files.
        options: what each example holds.

    Attributes:
        patients_of_files: the patient of each file, where they are known.

    Raises:
        UserError: if a header cannot be read, or sizes, ranks or channels do not fit together.
    """

    def __init__(self, pairs: Sequence[Pair], options: Options) -> None:
        self._pairs = list(pairs)
        self.patients_of_files: Sequence[str] | None = None
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
        self._affines = [head.affine for head in headers]
        self._spacings = [voxel_size(pair.image, head) for pair, head in zip(self._pairs, headers, strict=True)]
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
    def patients(self) -> Sequence[str] | None:
        """The patient of each example, or None."""
        patients = self.patients_of_files
        return None if patients is None else [patients[i] for i, _ in self._items]

    @property
    def affines(self) -> Sequence[np.ndarray | None]:
        """For each example the affine of its file, see `jaxgen.data.image.Image`."""
        return [self._affines[i] for i, _ in self._items]

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]`` of each example, or None."""
        known = [pair.covariates for pair in self._pairs if pair.covariates is not None]
        return np.stack([known[i] for i, _ in self._items]) if len(known) == len(self._pairs) else None

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
        whole = ("label", "covariates", "spacing")
        found = {k: v if k in whole else np.ascontiguousarray(v.take(z, axis=axis)) for k, v in volume.items()}
        return found | ({"spacing": np.delete(found["spacing"], axis)} if "spacing" in found else {})

    def check(self) -> list[str | None]:
        """Decode every file once.

        Returns:
            A fingerprint of each file's image, see `jaxgen.data.groups.digest`.

        Raises:
            UserError: for the first file that cannot be read or whose values make no sense.
        """
        with ThreadPoolExecutor(self._workers) as pool:
            found = list(pool.map(self._check_one, range(len(self._pairs))))
        for i, (_, value, _) in enumerate(found):
            self._check_value(i, value)
        if all(flat for flat, _, _ in found):
            raise UserError(f"{self._pairs[0].image.parent}: every image has one value only; check how they were saved")
        return [pixels for _, _, pixels in found]

    def require_foreground(self, where: str) -> None:
        """Make sure that the value of the foreground is in a mask, if it is a number; masks are read up to the first.

        Args:
            where: the folder, for the message.

        Raises:
            UserError: naming the values that there are.
        """
        wanted, values = self._options.foreground, set[int]()
        if not isinstance(wanted, int):
            return
        for pair in self._pairs:
            if pair.mask is not None:
                values |= set(np.unique(read_mask(pair.mask)).tolist())
                if wanted in values:
                    return
        if values:
            raise checks.absent_foreground(wanted, values, where)

    def equal_files(self) -> list[str | None]:
        """A fingerprint of each file that is equal to another byte by byte, without decoding any but these."""
        found = groups.same_files([pair.image for pair in self._pairs])
        for i, key in enumerate(found):
            if key is not None and groups.digest(read_image(self._pairs[i].image).array) is None:
                found[i] = None
        return found

    def _check_one(self, i: int) -> tuple[bool, int, str | None]:
        """Whether an image is constant, the foreground value of its mask, and the fingerprint of the image."""
        example, value = self._decode(i)
        image = example["image"]
        flat = bool(image.min() == image.max())
        if flat and "mask" in example and example["mask"].any():
            raise UserError(
                f"{self._pairs[i].image}: every pixel is {image.flat[0]}, yet its mask marks something; "
                "check how it was saved, or take both out"
            )
        return flat, value, groups.digest(image)

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
        if pair.more:
            image = np.concatenate([image, *(read_image(file).array for file in pair.more)], axis=-1)
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
        if pair.covariates is not None:
            example["covariates"] = pair.covariates
        if "spacing" in wanted and (spacing := self._spacings[i]) is not None:
            example["spacing"] = spacing
        return example, value


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


class _Cache:
    """The volumes used last, up to a number of bytes; safe between threads."""

    def __init__(self, max_bytes: int) -> None:
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
    check_wanted(folder, options)
    with checks.reading(folder, "a folder"):
        inside = {entry.name for entry in os.scandir(folder)}
    names: dict[str, int] = {}
    if nnunet.is_nnunet(inside):
        parts, names = nnunet.find(folder, inside, options)
    else:
        nnunet.refuse_half(folder, inside)
        parts = _parts(folder, inside, options)
    if {"mask", "instances"} & {*options.wants, *options.optional}:
        options = options._replace(foreground=checks.name_foreground(options.foreground, names, folder))
    pairs = [pair for part in parts.values() for pair in part.pairs]
    classes = _classes(folder, pairs, names, options)
    options = options if classes is None else options._replace(foreground=classes)
    labels, label_names = _number(folder, list(parts.values()), options)
    if labels is not None and "label" in options.wants + options.optional:
        pairs = [pair._replace(label=int(k)) for pair, k in zip(pairs, labels, strict=True)]
    pairs, covariate_names = _with_covariates(folder, pairs, options)
    patients = _patients(folder, parts, cases=nnunet.is_nnunet(inside))
    source = FolderSource(pairs, options)
    source.patients_of_files = patients = dicom_patients([p.image for p in pairs]) if patients is None else patients
    files = [file for pair in pairs for file in (pair.image, *pair.more, pair.mask) if file is not None]
    if sum(file.stat().st_size for file in files) <= CHECK_BYTES:
        pixels = source.check()
    else:
        pixels = source.equal_files()
    source.require_foreground(str(folder))
    known = [*groups.identities(patients, [], pixels), groups.Identity("image", _volumes(parts))]
    chosen = _split(folder, inside, parts, pairs, known, patients, labels, label_names, options)
    owners = source.owners
    train, validation, test = (Subset(source, np.flatnonzero(np.isin(owners, chosen[name]))) for name in SHARES)
    return Splits(
        train,
        validation,
        test,
        name=folder.resolve().name,
        origin=f"folder {folder}",
        label_names=label_names if pairs[0].label is not None else (),
        covariate_names=covariate_names,
        mask_names=classes.names if classes is not None else (),
    )


def _classes(folder: Path, pairs: Sequence[Pair], names: dict[str, int], options: Options) -> Classes | None:
    """The classes of the masks, where several are wanted; only where they have no names are the masks read for it."""
    masks = [pair.mask for pair in pairs if pair.mask is not None]
    if not masks or "instances" in options.wants + options.optional:
        return None

    def values() -> set[int]:
        with ThreadPoolExecutor(_threads()) as pool:
            return set().union(*pool.map(lambda path: np.unique(read_mask(path)).tolist(), masks))

    return choose_classes(options.foreground, names, values, folder)


def _with_covariates(folder: Path, pairs: list[Pair], options: Options) -> tuple[list[Pair], tuple[str, ...]]:
    """The files with their numbers by covariates.csv, where they are wanted, and the names of these."""
    if "covariates" not in options.wants + options.optional:
        return pairs, ()
    path = find_table(folder, "covariates")
    if path is None:
        if "covariates" in options.wants:
            raise UserError(
                f"{folder}: has no covariates.csv; write a header such as name,age,volume and a line for each image"
            )
        return pairs, ()
    values, names = read_covariates(path, [pair.name for pair in pairs])
    return [pair._replace(covariates=row) for pair, row in zip(pairs, values, strict=True)], names


def _parts(folder: Path, inside: set[str], options: Options) -> dict[str, Found]:
    """The files of each split, or of "" where the folder does not say."""
    given = {split: alias(folder, inside, names) for split, names in ALIASES.items()}
    if not any(given.values()):
        return {"": find(folder, options, "")}
    if "images" in inside:
        raise UserError(f"{folder}: has both images/ and {next(n for n in given.values() if n)}/; keep one layout")
    if given["train"] is None and not options.whole:
        raise UserError(f"{folder}: has no train/ beside its other splits; add it, or use images/ and masks/ alone")
    return {s: find(folder / name, options, f"{name}/") for s, name in given.items() if name is not None}


def _volumes(parts: dict[str, Found]) -> list[str | None]:
    """The volume that each image is a slice of, where its name says so, without the folder of its split."""
    names = [(split, pair.name) for split, part in parts.items() for pair in part.pairs]
    return [groups.volume_of(name if split == "" else name.partition("/")[2] or name) for split, name in names]


def _patients(folder: Path, parts: dict[str, Found], cases: bool) -> list[str] | None:
    """The patient of each image: by the folder's table or those of its splits; `cases` are patients without one."""
    names = [pair.name for part in parts.values() for pair in part.pairs]
    found = patients_of(folder, names)
    if found is None and cases:
        return names
    where = str(folder)
    if found is None and "" not in parts:
        found = []
        for part in parts.values():
            own = [pair.name for pair in part.pairs]
            inner = folder / own[0].split("/")[0]
            found += patients_of(inner, own) or [""] * len(own)
        if not any(found):
            return None
        where += ": patients.csv"
    if found is not None:
        found = groups.as_texts(found, where)
        groups.require_patients(found, names, where)
    return found


def _number(folder: Path, parts: list[Found], options: Options) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class of each image over all splits, and the names; None where images have none."""
    classes: list[str] = []
    for part in parts:
        if part.classes is None:
            return None, ()
        classes += part.classes
    labels, names = number_classes(classes, str(folder))
    if "label" in options.wants and not options.whole:
        require_classes(labels, names, str(folder))
    return labels, names


def _split(
    folder: Path,
    inside: set[str],
    parts: dict[str, Found],
    pairs: list[Pair],
    known: Sequence[groups.Identity],
    patients: list[str] | None,
    labels: np.ndarray | None,
    label_names: tuple[str, ...],
    options: Options,
) -> dict[str, np.ndarray]:
    if options.whole:
        nothing = np.arange(0)
        return {"train": nothing, "validation": nothing, "test": np.arange(len(pairs))}
    wanted = "label" in options.wants
    names = [pair.name for pair in pairs]
    together = groups.join(names if patients is None else [p or n for p, n in zip(patients, names, strict=True)], known)

    def draw(chosen: np.ndarray) -> dict[str, np.ndarray]:
        own = [together[i] for i in chosen]
        if patients is not None:
            return split_by_class(own, None, (), seed=options.seed, where=str(folder), wanted=False, what="patient")
        of = None if labels is None else labels[chosen]
        return split_by_class(own, of, label_names, seed=options.seed, where=str(folder), wanted=wanted)

    if "" in parts:
        held = _listed(folder, inside, pairs)
    else:
        ends = np.cumsum([len(part.pairs) for part in parts.values()])
        held = {s: np.arange(end - len(part.pairs), end) for (s, part), end in zip(parts.items(), ends, strict=True)}
    if held is None:
        split = draw(np.arange(len(pairs)))
    else:
        groups.refuse_shared(held, known, names, str(folder), patients)
        split = complete(held, draw)
    if wanted and labels is not None:
        require_trained(labels, split, label_names, str(folder))
    return split


def _listed(folder: Path, inside: set[str], pairs: list[Pair]) -> dict[str, np.ndarray] | None:
    """The split by lists of names, if there are any."""
    lists = {split: next((n + ".txt" for n in names if n + ".txt" in inside), None) for split, names in ALIASES.items()}
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
        listed = [name if (name := "/".join(parts_of(line))) in index else stem(line) for line in listed]
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


def _check_pair(pair: Pair, options: Options) -> Header:
    head = read_header(pair.image)
    for file in pair.more:
        head = _stacked(pair, head, file, read_header(file))
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


def _stacked(pair: Pair, head: Header, file: Path, other: Header) -> Header:
    """The header of an image with one more file of channels."""
    if other.shape != head.shape:
        raise UserError(
            f"{file}: {checks.describe(other.shape)}, but {pair.image} is {checks.describe(head.shape)}; "
            "bring the channels of a case to one grid"
        )
    if (
        head.affine is not None
        and other.affine is not None
        and not np.allclose(head.affine, other.affine, rtol=1e-3, atol=1e-2)
    ):
        raise UserError(
            f"{file}: lies elsewhere than {pair.image} (their affines differ); "
            "resample the channels of a case onto one grid"
        )
    return head._replace(channels=head.channels + other.channels)


def voxel_size(path: Path, head: Header) -> np.ndarray | None:
    """Millimetres of a voxel along each axis of the array, or None where the file does not say.

    Args:
        path: the file.
        head: its header.

    Returns:
        float32 ``[rank]``, the lengths of the affine's columns, which an oblique orientation does not change.
    """
    if head.affine is None:
        return None
    rank = len(head.shape)
    size = np.linalg.norm(head.affine[:3, :rank], axis=0).astype(np.float32)
    return size[::-1].copy() if rank == 2 and file_kind(path) == "dicom" else size  # rows first, but columns there


def example_of(image: Image) -> Example:
    """An image read from a file as an example, a volume with the size of its voxels where the file says it.

    Example:
        >>> example_of(Image(np.zeros((2, 2, 2, 1)), np.diag([1.0, 1, 3, 1]), {}))["spacing"].tolist()
        [1.0, 1.0, 3.0]
    """
    head = Header(image.array.shape[:-1], image.array.shape[-1], image.affine)
    spacing = voxel_size(Path(image.meta.get("path", "")), head) if len(head.shape) == 3 else None
    return {"image": image.array} | ({} if spacing is None else {"spacing": spacing})


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
