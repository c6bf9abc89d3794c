"""Class labels: numbering them, splitting by them, and refusing what cannot be learned from."""

from collections.abc import Sequence

import numpy as np

from jaxgen.data.source import SHARES, assign_splits
from jaxgen.errors import UserError

LEAST = 3
"""Images that a class needs, one for each split."""


def number_classes(
    values: Sequence[object] | np.ndarray, where: str, names: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the classes 0, 1, 2 ... in the order of their values.

    Whole numbers are ordered as numbers, names by the alphabet. Only classes that occur get a number.

    Args:
        values: one label an image: whole numbers (in any type) or names.
        where: what holds them, for messages.
        names: of the classes, if `values` are whole numbers that count from 0 into this list.

    Returns:
        ``(labels [n] int32, names)``: the number of each image's class, and the name of each number.

    Raises:
        UserError: if a label is missing (empty, negative or NaN), has a fraction, or has no name.

    Example:
        >>> labels, names = number_classes(["10", "9", "10"], "labels.csv")
        >>> labels.tolist(), names
        ([1, 0, 1], ('9', '10'))
        >>> number_classes(np.array([2, 0, 2]), "a.npz", ["glioma", "none", "pituitary"])[1]
        ('glioma', 'pituitary')
    """
    array = np.asarray(values)
    if array.dtype.kind in "bui":
        numbers = array.astype(np.int64)
    elif array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.round(array))
        for i in np.flatnonzero(~whole)[:1]:
            raise UserError(
                f"{where}: example {i} has the label {array[i]}; save whole numbers or names, one per image"
            )
        numbers = array.astype(np.int64)
    else:
        text = np.array([str(v).strip() for v in array])
        for i in np.flatnonzero(text == "")[:1]:
            raise UserError(f"{where}: example {i} has no label; give it one, or take the image out")
        if names or not all(v.isdecimal() for v in text):
            found, labels = np.unique(text, return_inverse=True)
            return labels.astype(np.int32), tuple(str(v) for v in found)
        numbers = text.astype(np.int64)
    for i in np.flatnonzero(numbers < 0)[:1]:
        raise UserError(f"{where}: example {i} has the label {numbers[i]}; number classes from 0, or take it out")
    found, labels = np.unique(numbers, return_inverse=True)
    if names and found[-1] >= len(names):
        raise UserError(f"{where}: the label {found[-1]} has no name among the {len(names)} given; add names, or none")
    return labels.astype(np.int32), tuple(str(names[v]) if names else str(v) for v in found)


def require_classes(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Refuse a set with a single class where labels are wanted.

    Args:
        labels: ``[n]``, from `number_classes`.
        names: of the classes.
        where: for the message.

    Raises:
        UserError: if there are fewer than two classes.
    """
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"{where}: every image has the label {names[int(labels[0])]}; give images of two classes or more, "
            "or do without labels"
        )


def assign_stratified(
    groups: Sequence[str], labels: np.ndarray, names: Sequence[str], *, seed: int, where: str
) -> dict[str, np.ndarray]:
    """Split examples as `assign_splits` does, class by class, so that each class has its share of every split.

    A group with several classes counts for the one that most of its examples have (the first of several).

    Args:
        groups: for each example the name of what must stay together.
        labels: ``[n]``, the number of its class.
        names: of the classes.
        seed: another seed, another split.
        where: the file or folder, for the message.

    Returns:
        train, validation, test -> ascending indices of examples.

    Raises:
        UserError: if a class has fewer than three groups.

    Example:
        >>> labels = np.repeat([0, 1], [20, 10])
        >>> parts = assign_stratified([str(i) for i in range(30)], labels, ["a", "b"], seed=0, where="here")
        >>> {split: np.bincount(labels[chosen]).tolist() for split, chosen in parts.items()}
        {'train': [14, 6], 'validation': [3, 2], 'test': [3, 2]}
    """
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SHARES}
    counts_for = _class_of_group(groups, labels)
    for k in np.unique(labels):
        members = np.flatnonzero(counts_for == k)
        different = len({groups[i] for i in members.tolist()})
        if different < LEAST:
            images = int((labels == k).sum())
            count = f"only {images} image{'s' * (images != 1)}"
            if images >= LEAST:
                count = f"only {different} different image{'s' * (different != 1)}"
            raise UserError(
                f"{where}: the class {names[int(k)]} has {count}, too few to split "
                f"into train, validation and test; add more (at least {LEAST} a class), or take the class out"
            )
        for split, chosen in assign_splits([groups[i] for i in members.tolist()], seed=seed, where=where).items():
            parts[split].append(members[chosen])
    return {split: np.sort(np.concatenate(chosen)) for split, chosen in parts.items()}


def _class_of_group(groups: Sequence[str], labels: np.ndarray) -> np.ndarray:
    """For each example the class that most of its group have."""
    _, number = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    counts = np.zeros((number.max() + 1, labels.max() + 1), int)
    np.add.at(counts, (number, labels), 1)
    return counts.argmax(1)[number]


def split_by_class(
    groups: Sequence[str],
    labels: np.ndarray | None,
    names: Sequence[str],
    *,
    seed: int,
    where: str,
    wanted: bool,
    what: str = "image",
) -> dict[str, np.ndarray]:
    """`assign_stratified` where labels allow it, else `assign_splits`.

    Labels guide the split even where they are not wanted, so that a model without labels and a classifier with them
    learn from the same images and are tested on the same ones. Where groups mix classes so much that one of them has
    fewer than three groups of its own, the split is by group alone.

    Args:
        groups: for each example the name of what must stay together.
        labels: ``[n]``, or None if there are none.
        names: of the classes.
        seed: another seed, another split.
        where: the file or folder, for messages.
        wanted: whether a class that is too small to split is an error.
        what: what a group is, for messages.

    Returns:
        train, validation, test -> ascending indices of examples.

    Raises:
        UserError: if there are too few images, or too few of a class and labels are wanted.
    """
    if len(set(groups)) < len(groups) and what == "image":
        what = "different image"
    if labels is None:
        return assign_splits(groups, seed=seed, where=where, what=what)
    images = np.unique(labels, return_counts=True)[1].min()
    split_of = _class_of_group(groups, labels)
    own = min(len({g for g, of in zip(groups, split_of, strict=True) if of == k}) for k in np.unique(labels))
    mixed = bool((split_of != labels).any())
    if own < LEAST and (not wanted or (mixed and images >= LEAST)):
        return assign_splits(groups, seed=seed, where=where, what=what)
    return assign_stratified(groups, labels, names, seed=seed, where=where)


def require_trained(labels: np.ndarray, parts: dict[str, np.ndarray], names: Sequence[str], where: str) -> None:
    """Refuse a given split in which a class is only held out.

    Args:
        labels: ``[n]``, the number of each example's class.
        parts: split -> indices of its examples.
        names: of the classes.
        where: for the message.

    Raises:
        UserError: naming the class that train lacks.
    """
    seen = set(labels[parts["train"]].tolist())
    for split, chosen in parts.items():
        for k in sorted(set(labels[chosen].tolist()) - seen):
            raise UserError(
                f"{where}: {split} has the class {names[k]}, which train lacks; add it to train, or take it out"
            )
