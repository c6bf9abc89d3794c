"""Images of people who come several times: who is who, pairs of images of one person, and what is missing for them."""

import numpy as np

from jaxgen.data.source import ArraySource, Example, Source, Splits, Subset, patients_of
from jaxgen.errors import UserError


def people_of(source: Source) -> np.ndarray:
    """The number of the person of each example, ``[n]``, in the order in which they come first.

    Raises:
        ValueError: if nobody is named.

    Example:
        >>> people_of(ArraySource({"label": np.arange(4)}, patients=["b", "a", "b", "c"])).tolist()
        [0, 1, 0, 2]
    """
    patients = patients_of(source)
    if patients is None:
        raise ValueError("the source names no patients")
    known = {name: k for k, name in enumerate(dict.fromkeys(patients))}
    return np.array([known[name] for name in patients], np.int32)


def require_visits(splits: Splits, where: str) -> None:
    """Refuse data that no network can learn from who is who.

    Args:
        splits: the data.
        where: the flag and its value, for the message.

    Raises:
        UserError: if no patients are named, if the training data are of one patient, if training or validation data
            hold no two images of any, or if a class has one training image.

    Example:
        >>> alone = ArraySource({"image": np.zeros((3, 4, 4, 1))}, patients=["p", "q", "r"])
        >>> require_visits(Splits(alone, alone, alone), "--data x.npz")
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: --data x.npz: no patient has two training images; add second visits of some
    """
    train = splits.train
    if patients_of(train) is None:
        raise UserError(f"{where}: no patients are named; add an array `patient`, one value for each image, to an npz")
    counts = np.bincount(people_of(train))
    if len(counts) < 2:
        raise UserError(f"{where}: the training data are of one patient; add images of others")
    for name in ("train", "validation"):
        if not len(pairs_of(people_of(getattr(splits, name)))):
            said = "training" if name == "train" else name
            raise UserError(f"{where}: no patient has two {said} images; add second visits of some")
    if splits.label_names:
        images = np.bincount([int(train[i]["label"]) for i in range(len(train))], minlength=len(splits.label_names))
        for name, count in zip(splits.label_names, images.tolist(), strict=True):
            if count == 1:
                raise UserError(f"{where}: class {name!r} has one training image; add more, or leave the class out")


def first_people(source: Source, most: int) -> Subset:
    """All images of the first people.

    Args:
        source: images whose patients are known.
        most: how many people.

    Example:
        >>> source = ArraySource({"label": np.arange(4)}, patients=["b", "a", "b", "c"])
        >>> [first_people(source, 2)[i]["label"].item() for i in range(3)]
        [0, 1, 2]
    """
    return Subset(source, np.flatnonzero(people_of(source) < most))


def pairs_of(people: np.ndarray, most: int = 20) -> np.ndarray:
    """Pairs of images of one person.

    Args:
        people: the person of each image, ``[n]``.
        most: pairs of each person, the first ones.

    Returns:
        ``[m, 2]``, numbers of images, the smaller first.

    Example:
        >>> pairs_of(np.array([0, 1, 0, 0])).tolist()
        [[0, 2], [0, 3], [2, 3]]
    """
    found = []
    for person in range(int(people.max()) + 1 if len(people) else 0):
        own = np.flatnonzero(people == person)
        first, second = np.triu_indices(len(own), 1)
        found.append(np.stack([own[first], own[second]], -1)[:most])
    return np.concatenate(found) if found else np.zeros((0, 2), int)


def strangers_of(people: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Random pairs of images of two people.

    Args:
        people: the person of each image, ``[n]``, of two people at least.
        count: how many pairs.
        seed: of the choice.

    Returns:
        ``[count, 2]``, numbers of images; none of one person alone.

    Example:
        >>> people = np.array([0, 0, 1])
        >>> bool((np.diff(people[strangers_of(people, 9, seed=0)]) != 0).all())
        True
    """
    rng, found = np.random.default_rng(seed), np.zeros((0, 2), int)
    while len(found) < count and len(people) and np.ptp(people):
        drawn = rng.integers(len(people), size=(2 * count, 2))
        found = np.concatenate([found, drawn[people[drawn[:, 0]] != people[drawn[:, 1]]]])
    return found[:count]


class PairedVisits:
    """Pairs of images of one person: ``image``, ``other``, the person's number ``owner``, and what else the first has.

    Args:
        source: images of one size, in memory.
        seen: the same images seen in another way, such as through an autoencoder, ``[n, *spatial, c]``; each pair then
            comes a second time, with its other image taken from there. None for none.

    Example:
        >>> source = ArraySource({"image": np.arange(3)}, patients=["p", "q", "p"])
        >>> pairs = PairedVisits(source, seen=np.arange(10, 13))
        >>> [(pairs[i]["image"].item(), pairs[i]["other"].item(), pairs[i]["owner"].item()) for i in range(len(pairs))]
        [(0, 2, 0), (0, 12, 0)]
    """

    def __init__(self, source: ArraySource, seen: np.ndarray | None = None) -> None:
        self._source, self._people, self._ways = source, people_of(source), [source.arrays["image"]]
        self._ways += [] if seen is None else [seen]
        self._pairs = pairs_of(self._people)

    @property
    def names(self) -> list[str]:
        """The name of the first image of each pair."""
        return [self._source.names[first] for first in self._pairs[:, 0]] * len(self._ways)

    def __len__(self) -> int:
        return len(self._pairs) * len(self._ways)

    def __getitem__(self, i: int) -> Example:
        way, k = divmod(range(len(self))[i], len(self._pairs))
        first, second = self._pairs[k]
        owner = np.asarray(self._people[first], np.int32)
        return {**self._source[first], "other": self._ways[way][second], "owner": owner}
