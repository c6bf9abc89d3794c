"""Data that a run is evaluated on without having seen any of them: all of their examples are the test set."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import numpy as np

from jaxgen.data.source import ArraySource, Example, Source, Splits, Subset, patients_of
from jaxgen.errors import UserError

P = ParamSpec("P")


class Everything(str):
    """A value of ``--data`` that asks for every example of the data as the test set; see `knows_everything`.

    Example:
        >>> Everything("other.npz") == "other.npz"
        True
    """


def most_of(data: str, most: int) -> int | None:
    """At most how many test examples to evaluate: None, for all of them, where `data` is `Everything`.

    Args:
        data: the value of ``--data``.
        most: the limit that holds otherwise.

    Returns:
        The limit, or None.

    Example:
        >>> most_of("home.npz", 3), most_of(Everything("other.npz"), 3)
        (3, None)
    """
    return None if isinstance(data, Everything) else most


def without_blank(splits: Splits, data: str) -> Splits:
    """Only the images that are not constant: of volumes taken slice by slice, those with content.

    Args:
        splits: images ``[*spatial, c]``.
        data: the value of ``--data``, for the message; of `Everything` only the test set needs content.

    Returns:
        The splits with fewer images.

    Raises:
        UserError: if nothing is left of a part.

    Example:
        >>> half = ArraySource({"image": np.stack([np.zeros((2, 2, 1)), np.eye(2)[..., None]])})
        >>> [len(part) for part in without_blank(Splits(half, half, half), "home.npz")[:3]]
        [1, 1, 1]
    """
    kept: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        source = getattr(splits, name)
        kept[name] = Subset(source, [i for i in range(len(source)) if np.ptp(source[i]["image"])])
        if not len(kept[name]) and (name == "test" or not isinstance(data, Everything)):
            raise UserError(f"--data {data}: every slice of its {name} set is blank; name other volumes")
    return splits._replace(**kept)


class Joined:
    """The examples of several sources, one source after the other.

    Args:
        parts: the sources; their examples may differ in size.

    Example:
        >>> one, two = (ArraySource({"label": np.arange(n)}) for n in (2, 3))
        >>> Joined([one, two])[3]["label"].item(), len(Joined([one, two]))
        (1, 5)
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    @property
    def names(self) -> Sequence[str]:
        """The names of all examples."""
        return [name for part in self._parts for name in part.names]

    @property
    def patients(self) -> Sequence[str] | None:
        """The patients of all examples, or None where those of a part are not known."""
        known = [patients_of(part) for part in self._parts]
        return None if None in known else [patient for of in known for patient in of or ()]

    @property
    def affines(self) -> Sequence[np.ndarray | None] | None:
        """The affine of the file of each example, or None where a part has no files."""
        known = [getattr(part, "affines", None) for part in self._parts]
        return None if None in known else [affine for of in known for affine in of or ()]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, i: int) -> Example:
        if not 0 <= i < len(self):
            raise IndexError(f"example {i} of {len(self)}")
        k = int(np.searchsorted(self._ends, i, side="right"))
        return self._parts[k][i - int(self._ends[k]) + len(self._parts[k])]


def all_in_test(splits: Splits) -> Splits:
    """The same data, every example in the test set; train and validation are empty.

    Example:
        >>> parts = (ArraySource({"label": np.arange(n)}) for n in (4, 2, 3))
        >>> [len(part) for part in all_in_test(Splits(*parts))[:3]]
        [0, 0, 9]
    """
    parts = [part for part in splits[:3] if len(part)]
    test: Source = parts[0] if len(parts) == 1 else Joined(parts)
    if len(parts) > 1 and all(type(part) is ArraySource for part in parts):
        held = [part.arrays for part in parts if isinstance(part, ArraySource)]
        if len({tuple(sorted((k, a.shape[1:]) for k, a in arrays.items())) for arrays in held}) == 1:
            joined = {name: np.concatenate([arrays[name] for arrays in held]) for name in held[0]}
            test = ArraySource(joined, test.names)
    nothing = Subset(splits.test, [])
    return splits._replace(train=nothing, validation=nothing, test=test)


def knows_everything(load: Callable[P, Splits]) -> Callable[P, Splits]:
    """Let a loader answer `Everything`, its first argument, by `all_in_test`.

    What is computed has no end, and its training subjects may be the run's at another size: there the test set counts.
    """

    @functools.wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> Splits:
        splits = load(*args, **kwargs)
        asked = bool(args) and isinstance(args[0], Everything)
        return all_in_test(splits) if asked and splits.origin != "computed" else splits

    return loaded


class Renumbered:
    """Examples whose classes get other numbers.

    Args:
        source: where the examples come from.
        numbers: the new number of each class.

    Example:
        >>> Renumbered(ArraySource({"label": np.array([0, 1])}), [5, 3])[1]["label"].item()
        3
    """

    def __init__(self, source: Source, numbers: Sequence[int]) -> None:
        self._source, self._numbers = source, np.asarray(numbers, np.int32)

    @property
    def names(self) -> Sequence[str]:
        """The names of the examples."""
        return self._source.names

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example:
        example = self._source[i]
        return example | {"label": self._numbers[example["label"]]} if "label" in example else example


def with_classes_of(source: Source, names: Sequence[str], known: Sequence[str], where: str) -> Source:
    """The same examples, their classes numbered as those of the same name in another data set.

    Args:
        source: examples, perhaps with a ``label``.
        names: the name of each class number of theirs.
        known: the name of each class number wanted.
        where: the data, for the message.

    Returns:
        The examples with the numbers wanted.

    Raises:
        UserError: if a class has a name that is not known.

    Example:
        >>> with_classes_of(ArraySource({"label": np.array([0, 1])}), ("b", "a"), ("a", "b"), "here")[0]["label"].item()
        1
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"{where}: has the class {unknown[0]}, which the run does not know (it knows {', '.join(known)}); "
            "name classes alike, or take its images out"
        )
    if tuple(names) == tuple(known[: len(names)]):
        return source
    return Renumbered(source, [list(known).index(name) for name in names])
