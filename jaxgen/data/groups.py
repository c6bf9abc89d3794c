"""What must stay in one split: images of one patient, of one name, and images that are equal pixel for pixel.

Images without any contrast (blank slices) are equal by nature and bind nothing together.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.errors import UserError

_MISSING = ("", "nan", "none", "null", "n/a", "<na>", "nat")
_BLOCK = 4096


class Identity(NamedTuple):
    """One way to tell that examples belong together.

    Attributes:
        what: "patient", "image" (the same name) or "pixels" (the same content).
        ids: one for each example; equal ones belong together, None belongs to nothing.
    """

    what: str
    ids: Sequence[str | None]


def as_texts(values: Sequence[object] | np.ndarray, where: str) -> list[str]:
    """Names or numbers of patients and images as text: 7, 7.0, b"7" and " 7" are the same.

    Args:
        values: ``[n]`` or ``[n, 1]``, in any type.
        where: the array or table, for the message.

    Returns:
        One text each; "" where a value is missing.

    Raises:
        UserError: if there is not one value for each example.

    Example:
        >>> as_texts(np.array([7.0, np.nan]), "here"), as_texts(np.array([b"A  1 "]), "here")
        (['7', ''], ['A 1'])
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(f"{where} has size {array.shape}; save one value for each image, [n]")
    return [_text(value) for value in array.tolist()]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = " ".join(unicodedata.normalize("NFC", str(value)).split())
    return "" if text.lower() in _MISSING else text


def require_patients(patients: Sequence[str], names: Sequence[str], where: str) -> None:
    """Refuse patients that are known for a part of the images only.

    Args:
        patients: from `as_texts`, or from a table.
        names: of the images.
        where: the array or table, for the message.

    Raises:
        UserError: naming the first image without a patient.
    """
    without = [name for name, patient in zip(names, patients, strict=True) if not patient]
    if without:
        raise UserError(
            f"{where} has no patient for {len(without)} of {len(names)} images (the first is {without[0]}); "
            "name the patient of each image, or of none"
        )


def identities(
    patients: Sequence[str] | None, names: Sequence[Sequence[str]], pixels: Sequence[str | None] | None
) -> list[Identity]:
    """What is known about which examples belong together, the strongest first.

    Args:
        patients: of each example, "" where not known; capitals do not matter.
        names: names or numbers of images, where equal ones mean the same image, and ``case[0]`` and ``case[1]`` slices
            of one; there may be several kinds.
        pixels: a fingerprint of each image, from `digest` or `same_files`.

    Returns:
        One `Identity` for each that is given.
    """
    found = []
    if patients is not None:
        found.append(Identity("patient", [patient.casefold() or None for patient in patients]))
    found += [Identity("image", [volume_of(name) or name or None for name in kind]) for kind in names]
    if pixels is not None:
        found.append(Identity("pixels", pixels))
    return found


def volume_of(name: str) -> str | None:
    """The volume that an image is a slice of, where its name says so as names of slices do here; else None.

    Example:
        >>> volume_of("case1[12]"), volume_of("case1_012")
        ('case1', None)
    """
    match = re.fullmatch(r"(.+)\[\d+\]", name)
    return match[1] if match else None


def join(names: Sequence[str], known: Sequence[Identity]) -> list[str]:
    """The group of each example: groups that share a patient, a name or an image are one.

    Args:
        names: of the groups to begin with, one for each example; equal ones belong together.
        known: what else binds examples together.

    Returns:
        For each example the name of its group, the first by the alphabet of those that became one; so examples that
        nothing binds keep their own, and the order of examples does not matter. Equal pixels bind only where this
        leaves the three groups that a split needs: a set of one image again and again has nothing to keep apart.

    Example:
        >>> join(list("abcde"), identities(["p", "q", "p", "r", "s"], [], [None, "x", "x", None, None]))
        ['a', 'a', 'a', 'd', 'e']
        >>> join(["a", "b", "c"], identities(None, [], ["x", "x", "x"]))
        ['a', 'b', 'c']
    """
    found = _join(names, known)
    if len(set(found)) >= 3:
        return found
    return _join(names, [identity for identity in known if identity.what != "pixels"])


def _join(names: Sequence[str], known: Sequence[Identity]) -> list[str]:
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for ids in (names, *(identity.ids for identity in known)):
        first: dict[str, int] = {}
        for i, key in enumerate(ids):
            if key is not None:
                parent[root(i)] = root(first.setdefault(key, i))
    smallest: dict[int, str] = {}
    roots = [root(i) for i in range(len(names))]
    for name, group in zip(names, roots, strict=True):
        smallest[group] = min(name, smallest.get(group, name))
    return [smallest[group] for group in roots]


def refuse_shared(
    parts: Mapping[str, np.ndarray],
    known: Sequence[Identity],
    names: Sequence[str],
    where: str,
    patients: Sequence[str] | None = None,
    fix: str = "or give no split: jaxgen then draws one that shares none",
) -> None:
    """Refuse a given split in which two parts share a patient or an image.

    Args:
        parts: split -> indices of its examples.
        known: which examples belong together.
        names: of the examples, for the message.
        where: the file or folder, for the message.
        patients: as they are written, for the message.
        fix: what else can be done, for the message.

    Raises:
        UserError: naming the first thing shared, where it is, how many there are, and the fix.

    Example:
        >>> known = identities(["p0", "p1", "p0"], [], None)
        >>> refuse_shared({"train": np.array([0, 1]), "test": np.array([2])}, known, ["a", "b", "c"], "set.npz")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: set.npz: patient p0 is in train (a) and in test (c), 1 patient is in several splits; \
keep each patient in one split, or give no split: jaxgen then draws one that shares none
    """
    for what, ids in known:
        places: dict[str, dict[str, int]] = {}
        for split, chosen in parts.items():
            for i in chosen.tolist():
                if (key := ids[i]) is not None:
                    places.setdefault(key, {}).setdefault(split, i)
        shared = {key: place for key, place in places.items() if len(place) > 1}
        if not shared:
            continue
        key, place = next(iter(shared.items()))
        noun = "patient" if what == "patient" else "image"
        count = f"1 {noun} is" if len(shared) == 1 else f"{len(shared)} {noun}s are"
        first = next(iter(place.values()))
        if what == "pixels":
            (a, i), (b, j) = list(place.items())[:2]
            said = f"the image {names[j]} of {b} is the image {names[i]} of {a}, pixel for pixel"
        elif what == "patient":
            shown = key if patients is None else patients[first]
            said = f"patient {shown} is in " + " and in ".join(f"{s} ({names[i]})" for s, i in place.items())
        else:
            said = f"image {key} is in " + " and in ".join(place)
        raise UserError(f"{where}: {said}, {count} in several splits; keep each {noun} in one split, {fix}")


def digest(image: np.ndarray) -> str | None:
    """A fingerprint of an image's values, whatever file they came from; None if it has no contrast.

    Args:
        image: ``[*spatial, c]``.

    Returns:
        Equal for equal sizes and values.

    Example:
        >>> image = np.arange(4).reshape(2, 2, 1)
        >>> digest(image) == digest(image.astype(np.float32)), digest(image * 0 + 5)
        (True, None)
    """
    if (image == image.reshape(-1, image.shape[-1])[0]).all():
        return None
    whole = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    whole.update((np.asarray(image, np.float32) + np.float32(0)).tobytes())  # -0.0 becomes 0.0
    return whole.hexdigest()


def same_files(files: Sequence[Path]) -> list[str | None]:
    """A fingerprint of each file that equals another of them byte by byte.

    Files of a size of their own are not read; of others a few blocks, and all bytes only where those are equal too.

    Args:
        files: to compare.

    Returns:
        For each file the fingerprint of its bytes, None where no other file has them.
    """
    sizes = [file.stat().st_size if file.is_file() else None for file in files]
    keys: list[tuple | None] = [None if size is None else (size,) for size in sizes]
    for read in (_sample, _whole):
        count: dict[tuple, int] = {}
        for key in keys:
            if key is not None:
                count[key] = count.get(key, 0) + 1
        keys = [
            (*key, read(file)) if key is not None and count[key] > 1 else None
            for key, file in zip(keys, files, strict=True)
        ]
    return [None if key is None else str(key[-1]) for key in keys]


def _sample(file: Path) -> str:
    size, found = file.stat().st_size, hashlib.blake2b(digest_size=16)
    with open(file, "rb") as stream:
        for k in range(16):
            stream.seek(max(0, size - _BLOCK) * k // 15, os.SEEK_SET)
            found.update(stream.read(_BLOCK))
    return found.hexdigest()


def _whole(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
