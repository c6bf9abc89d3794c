"""Sources of examples: what every data set looks like to the rest of the package."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxgen.errors import UserError

Example = dict[str, np.ndarray]
SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}


@runtime_checkable
class Source(Protocol):
    """Examples by number.

    ``source[i]`` is one example, unbatched: ``image [*spatial, c]`` with raw values (uint8, uint16, int16 or float32),
    ``mask [*spatial]`` (0 is background) and, where the data have them, ``masks [raters, *spatial]``, ``instances
    [*spatial]``, ``label``, ``covariates [k]`` and ``spacing [rank]`` in millimetres. Examples may differ in size.
    Reading the same example twice gives the same arrays, from any thread. Where patients are known, ``patients`` is one
    for each example; see `patients_of`.
    """

    @property
    def names(self) -> Sequence[str]:
        """A name for each example, for messages and reports."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Example: ...


class ArraySource:
    """Examples of equal size, held in memory.

    Args:
        arrays: name -> array whose first axis counts examples.
        names: a name for each example; "0", "1", ... if left out.
        patients: the patient of each example, where they are known.

    Raises:
        ValueError: if the arrays hold different numbers of examples.

    Example:
        >>> source = ArraySource({"image": np.zeros((3, 4, 4, 1), np.uint8)})
        >>> len(source), source[2]["image"].shape, source.names[2]
        (3, (4, 4, 1), '2')
    """

    patients: Sequence[str] | None = None

    def __init__(
        self, arrays: dict[str, np.ndarray], names: Sequence[str] | None = None, patients: Sequence[str] | None = None
    ) -> None:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of one source need the same number of examples, not {lengths}")
        self.arrays = arrays
        self.names: Sequence[str] = [str(i) for i in range(len(self))] if names is None else list(names)
        if len(self.names) != len(self):
            raise ValueError(f"{len(self.names)} names for {len(self)} examples")
        self.patients = None if patients is None else list(patients)
        if self.patients is not None and len(self.patients) != len(self):
            raise ValueError(f"{len(self.patients)} patients for {len(self)} examples")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, i: int) -> Example:
        return {name: array[i] for name, array in self.arrays.items()}

    @property
    def texts(self) -> Sequence[str] | None:
        """The captions, or None."""
        return [str(text) for text in self.arrays["text"]] if "text" in self.arrays else None

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]``, or None."""
        return self.arrays.get("covariates")

    @classmethod
    def from_source(cls, source: Source) -> "ArraySource":
        """Read every example of `source` and stack them.

        Args:
            source: examples of equal sizes.

        Returns:
            The same examples in memory.

        Raises:
            UserError: if two examples differ in size.
        """
        if isinstance(source, ArraySource):
            return source
        return cls(stack([source[i] for i in range(len(source))], source.names), source.names, patients_of(source))


class Subset:
    """Some examples of a source, in the order given.

    Args:
        source: where the examples come from.
        indices: which of them.

    Example:
        >>> whole = ArraySource({"label": np.arange(5)})
        >>> Subset(whole, [4, 0])[0]["label"].item()
        4
    """

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray) -> None:
        self._source = source
        self._indices = np.asarray(indices, np.int64)

    @property
    def names(self) -> Sequence[str]:
        """The names of the chosen examples."""
        names = self._source.names
        return [names[i] for i in self._indices]

    @property
    def patients(self) -> Sequence[str] | None:
        """The patients of the chosen examples, or None where they are not known."""
        patients = patients_of(self._source)
        return None if patients is None else [patients[i] for i in self._indices]

    @property
    def affines(self) -> Sequence[np.ndarray | None] | None:
        """The affine of the file of each chosen example, or None where the source has no files."""
        known = getattr(self._source, "affines", None)
        return None if known is None else [known[i] for i in self._indices]

    @property
    def texts(self) -> Sequence[str] | None:
        """The captions of the chosen examples, or None where the source does not know them unread."""
        texts = getattr(self._source, "texts", None)
        return None if texts is None else [texts[i] for i in self._indices]

    @property
    def covariates(self) -> np.ndarray | None:
        """The covariates ``[n, k]`` of the chosen examples, or None where the source does not know them unread."""
        known = getattr(self._source, "covariates", None)
        return None if known is None else known[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, i: int) -> Example:
        return self._source[int(self._indices[i])]


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """The numbers of at most `most` of n examples, from the first to the last.

    Args:
        n: how many there are.
        most: how many to choose.

    Returns:
        Ascending whole numbers ``[min(n, most)]``.

    Example:
        >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
        ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(int))


class ChangedSource:
    """Base of sources that change the examples of another, one by one: as many, with the same names and patients.

    Args:
        source: the other.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def names(self) -> Sequence[str]:
        """A name for each example."""
        return self._source.names

    @property
    def patients(self) -> Sequence[str] | None:
        """The patient of each example, or None."""
        return patients_of(self._source)

    def __len__(self) -> int:
        return len(self._source)


def patients_of(source: Source) -> Sequence[str] | None:
    """The patient of each example of a source, or None where they are not known.

    Example:
        >>> source = ArraySource({"image": np.zeros((2, 4, 4, 1))}, patients=["p", "q"])
        >>> patients_of(Subset(source, [1])), patients_of(ArraySource(source.arrays))
        (['q'], None)
    """
    return getattr(source, "patients", None)


class Splits(NamedTuple):
    """A data set in three parts that share no image, and no patient where patients are known.

    Attributes:
        train: what the model learns from.
        validation: what choices are made on.
        test: what is reported.
        name: a short name.
        origin: where the data came from.
        licence: under which terms; "not stated" for a user's own files.
        label_names: the name of each class number in ``label``; empty where there are no labels.
        rater_names: the name of each rater in ``masks``; empty where they are not known.
        covariate_names: the name of each number in ``covariates``; empty where there are none.
        mask_names: the name of each class in masks of several, from 1; empty where they have one foreground.
    """

    train: Source
    validation: Source
    test: Source
    name: str = ""
    origin: str = ""
    licence: str = "not stated"
    label_names: tuple[str, ...] = ()
    rater_names: tuple[str, ...] = ()
    covariate_names: tuple[str, ...] = ()
    mask_names: tuple[str, ...] = ()


def identity(source: Source) -> str:
    """Which examples these are: their number, and a checksum of their names.

    Example:
        >>> identity(ArraySource({"label": np.arange(3)}))
        '3 examples, 8a7d91bc'
    """
    return f"{len(source)} examples, {zlib.crc32(chr(0).join(source.names).encode('utf-8', 'replace')):08x}"


def stack(examples: Sequence[Example], names: Sequence[str]) -> Example:
    """Join examples along a new first axis.

    Args:
        examples: dicts of arrays.
        names: a name for each, for the message.

    Returns:
        A dict of arrays [n, ...].

    Raises:
        UserError: if two examples differ in size.

    Example:
        >>> stack([{"image": np.zeros((2, 2, 1))}] * 3, "abc")["image"].shape
        (3, 2, 2, 1)
    """
    first = examples[0]
    for example, name in zip(examples, names, strict=False):
        for key, array in example.items():
            if np.shape(array) != np.shape(first[key]):
                raise UserError(
                    f"{name}: {key} of size {_size(array)}, but that of {names[0]} is {_size(first[key])}; "
                    "bring all images to one size, or train on crops"
                )
    return {key: np.stack([example[key] for example in examples]) for key in first}


def _size(array: np.ndarray) -> str:
    return " x ".join(str(n) for n in np.shape(array)) or "()"


def assign_splits(groups: Sequence[str], *, seed: int, where: str, what: str = "image") -> dict[str, np.ndarray]:
    """Split examples 70 / 15 / 15 by group, at least one group each.

    Groups are ranked by a hash of `seed` and their name, so the split does not depend on the order of files.

    Args:
        groups: for each example the name of what must stay together (its own name, or its patient).
        seed: another seed, another split.
        where: the file or folder, for the message.
        what: what a group is, for the message.

    Returns:
        train, validation, test -> ascending indices of examples.

    Raises:
        UserError: with fewer than three groups.

    Example:
        >>> {k: len(v) for k, v in assign_splits([str(i) for i in range(20)], seed=0, where="here").items()}
        {'train': 14, 'validation': 3, 'test': 3}
    """
    unique = sorted(set(groups), key=lambda g: (hashlib.sha256(f"{seed}/{g}".encode()).hexdigest(), g))
    if len(unique) < 3:
        count = f"only {len(unique)} {what}" + ("s" if len(unique) > 1 else "")
        raise UserError(
            f"{where}: {count}, too few to split into train, validation and test; add more (at least 3 {what}s)"
        )
    held = {name: max(1, round(SHARES[name] * len(unique))) for name in ("test", "validation")}
    split_of = dict.fromkeys(unique, "train")
    split_of.update(dict.fromkeys(unique[: held["test"]], "test"))
    split_of.update(dict.fromkeys(unique[held["test"] :][: held["validation"]], "validation"))
    chosen = np.array([split_of[g] for g in groups])
    return {name: np.flatnonzero(chosen == name) for name in SHARES}


def complete(held: dict[str, np.ndarray], draw: Callable[[np.ndarray], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Take the splits that a data set comes without from its train split.

    Args:
        held: split -> indices of its examples; "train" must be among them.
        draw: ``draw(indices)`` splits these examples in three, as positions in `indices`.

    Returns:
        train, validation, test -> ascending indices of examples; those given are unchanged but for train.

    Example:
        >>> train = np.arange(20)
        >>> parts = complete({"train": train, "test": np.arange(20, 25)}, lambda x: assign_splits(
        ...     [str(i) for i in x], seed=0, where="here"))
        >>> {split: len(chosen) for split, chosen in parts.items()}
        {'train': 17, 'validation': 3, 'test': 5}
    """
    missing = [split for split in SHARES if split not in held]
    if not missing:
        return {split: held[split] for split in SHARES}
    train = held["train"]
    drawn = draw(train)
    parts = {**held, **{split: train[drawn[split]] for split in missing}}
    parts["train"] = np.setdiff1d(train, np.concatenate([parts[split] for split in missing]))
    return {split: parts[split] for split in SHARES}
