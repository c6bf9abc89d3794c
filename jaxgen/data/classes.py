"""Masks of several classes: which values are which class, and what they are called.

A mask of K classes holds 0 for the background and the numbers 1 to K. The value of a class in a file may be another.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from jaxgen.data.source import Source
from jaxgen.errors import UserError

MOST = 64
"""Classes at most: masks with more values number objects."""


class Classes(NamedTuple):
    """The classes of a set of masks, class k + 1 being entry k.

    Attributes:
        values: of each class in the files.
        names: of each class.
        others: whether other values than these are background; otherwise they are refused.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]
    others: bool = False


def choose_classes(
    foreground: object, named: Mapping[str, int], values: Callable[[], Iterable[int]], where: object
) -> Classes | None:
    """The classes that ``--foreground`` means: every label for ``each``, or those listed.

    Args:
        foreground: the choice, from `jaxgen.data.checks.parse_foreground`.
        named: the value of each label's name; empty where the data have none.
        values: gives the values of all masks, called where labels have no names.
        where: the data, for messages.

    Returns:
        The classes, or None where one foreground is meant.

    Raises:
        UserError: if a label is not known or listed twice, or there is none, or there are too many.

    Example:
        >>> choose_classes("each", {"background": 0, "cyst": 4}, tuple, "here")
        Classes(values=(4,), names=('cyst',), others=False)
        >>> choose_classes("2,cyst", {"cyst": 4}, tuple, "here").values
        (2, 4)
    """
    if foreground == "each":
        known = {value: name for name, value in named.items() if value > 0}
        known = known or {int(value): str(value) for value in values() if value > 0}
        if not known:
            raise UserError(f"--foreground each: no mask of {where} marks anything; check how they were saved")
        if len(known) > MOST:
            raise UserError(
                f"--foreground each: the masks of {where} have {len(known)} values, more than {MOST} classes; "
                "if they number objects use --foreground any, else list labels, such as 1,2"
            )
        return Classes(tuple(sorted(known)), tuple(known[value] for value in sorted(known)))
    if not isinstance(foreground, str) or "," not in foreground:
        return None
    by_name = {name.casefold(): value for name, value in named.items() if value > 0}
    labels = [label.strip() for label in foreground.split(",")]
    for label in labels:
        if not label.isdecimal() and label.casefold() not in by_name:
            shown = ", ".join(f"{name} ({value})" for name, value in named.items() if value > 0) or "no names"
            raise UserError(f"--foreground {foreground}: {where} has no label {label} (it has {shown}); use its value")
    chosen = [int(label) if label.isdecimal() else by_name[label.casefold()] for label in labels]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--foreground {foreground}: a label is listed twice; name each once")
    called = {value: name for name, value in named.items()}
    return Classes(tuple(chosen), tuple(called.get(value, str(value)) for value in chosen), others=True)


def number_mask(mask: np.ndarray, classes: Classes, where: object) -> np.ndarray:
    """Bring the values of a mask to the numbers of its classes.

    Args:
        mask: whole numbers, 0 for background.
        classes: which value is which class.
        where: the file, for the message.

    Returns:
        uint8, 0 for background and 1 to K for the classes.

    Raises:
        UserError: for a value that is of no class, unless other values are background.

    Example:
        >>> number_mask(np.array([0, 4, 2]), Classes((2, 4), ("core", "rim")), "a.nii").tolist()
        [0, 2, 1]
    """
    numbers = np.zeros(mask.shape, np.uint8)
    for number, value in enumerate(classes.values, 1):
        numbers[mask == value] = number
    if not classes.others:
        unknown = np.unique(mask[(numbers == 0) & (mask != 0)])
        if len(unknown):
            known = ", ".join(f"{v} ({n})" if n != str(v) else n for v, n in zip(*classes[:2], strict=True))
            raise UserError(
                f"{where}: mask with the value {unknown[0]}, which is no class of the data (they have {known}); "
                "name it where the data name their labels, correct the mask, or list labels with --foreground, "
                "such as 1,2"
            )
    return numbers


def require_trained(train: Source, names: tuple[str, ...], where: object) -> None:
    """Refuse a class that no training mask marks; masks are read until each was seen.

    Args:
        train: examples with ``mask`` or ``masks`` of classes by number.
        names: of the classes.
        where: the data, for the message.

    Raises:
        UserError: naming the class that is absent.

    Example:
        >>> from jaxgen.data.source import ArraySource
        >>> require_trained(ArraySource({"mask": np.array([[0, 1]])}), ("rim",), "here")
    """
    missing = set(range(1, len(names) + 1))
    for i in range(len(train)):
        example = train[i]
        missing -= set(np.unique(example["masks"] if "masks" in example else example["mask"]).tolist())
        if not missing:
            return
    absent = names[min(missing) - 1]
    left = ",".join(name for name in names if name != absent)
    raise UserError(
        f"{where}: no training mask has the class {absent}; leave it out of --foreground (such as {left}), "
        "or add cases with it to train"
    )


def majority(masks: np.ndarray, classes: int = 1) -> np.ndarray:
    """What at least half of the raters marked; of two classes in a tie, the first.

    Args:
        masks: ``[n, raters, *spatial]``, the numbers of classes.
        classes: how many there are.

    Returns:
        uint8 ``[n, *spatial]``.

    Example:
        >>> majority(np.array([[[1, 2, 0], [1, 0, 0], [2, 2, 1]]]), 2).tolist()
        [[1, 2, 0]]
    """
    found = np.zeros((len(masks), *masks.shape[2:]), np.uint8)
    for number in range(classes, 0, -1):
        found[2 * (masks == number).sum(1, dtype=np.int32) >= masks.shape[1]] = number
    return found
