"""Watching a training while it runs: numbers that the loss does not show, and a warning when they go wrong."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgen.types import Key, Params

Numbers = Mapping[str, float]
Memory = dict[str, Any]


class Adviser(NamedTuple):
    """One thing to look out for, as a fold over the lines of the log.

    Attributes:
        memory: what it remembers before the first line: a dict that JSON can hold.
        read: ``read(memory, numbers) -> (memory, warning or None)``, called with each line's numbers in their order. It
            is a pure function, and the memory is saved with the checkpoints: a resumed run warns as one that was not
            stopped. What has been said need not be said again.
    """

    memory: Memory
    read: Callable[[Memory, Numbers], tuple[Memory, str | None]]


class Watch(NamedTuple):
    """What to measure at lines of the log, and who reads them.

    Attributes:
        measure: ``measure(params, key, examples) -> numbers``, on the host, of the running average of the parameters;
            the key is a function of the run's seed and the step.
        advisers: they read each line: the means of the train step's metrics, and the measured numbers where there are
            any.
        every: measure at every so many lines.
        examples: how many training examples to hand to `measure`, the first of the run's order.
    """

    measure: Callable[[Params, Key, Mapping[str, np.ndarray]], Numbers]
    advisers: tuple[Adviser, ...] = ()
    every: int = 1
    examples: int = 0


def critic_wins(name: str = "accuracy/critic", *, above: float = 0.97, lines: int = 5) -> Adviser:
    """Warns once when a discriminator tells real from generated almost always, for some lines of the log in a row.

    Args:
        name: of its accuracy in the log.
        above: the accuracy that is too high.
        lines: for how many lines in a row.

    Returns:
        An `Adviser`.

    Example:
        >>> adviser = critic_wins(lines=2)
        >>> memory, warning = adviser.read(adviser.memory, {"accuracy/critic": 0.99})
        >>> warning is None, adviser.read(memory, {"accuracy/critic": 1.0})[1].split(";")[0]
        (True, 'the discriminator wins: accuracy/critic has been above 0.97 for 2 lines of the log')
    """

    def read(memory: Memory, numbers: Numbers) -> tuple[Memory, str | None]:
        if name not in numbers or memory["said"]:
            return memory, None
        row = memory["row"] + 1 if numbers[name] > above else 0
        if row < lines:
            return {"row": row, "said": False}, None
        return {"row": row, "said": True}, (
            f"the discriminator wins: {name} has been above {above:g} for {lines} lines of the log; the generator "
            "learns little from it. Raise the gradient penalty, augment more, or shrink the discriminator"
        )

    return Adviser({"row": 0, "said": False}, read)


def falls(name: str, *, below: float = 0.5, at_least: float = 0.0, lines: int = 3) -> Adviser:
    """Warns once when a number that should rise, a count of modes or a coverage, falls far below its best.

    Args:
        name: of the number in the log.
        below: the share of the best value so far that is too little.
        at_least: the best value counts only once it has reached this: before, nothing was there to collapse.
        lines: for how many measurements in a row.

    Returns:
        An `Adviser`.

    Example:
        >>> adviser, memory = falls("modes", lines=1), {"best": 8.0, "row": 0, "said": False}
        >>> adviser.read(memory, {"modes": 2.0})[1].split(";")[0]
        'modes collapse: modes is 2 and was 8'
    """

    def read(memory: Memory, numbers: Numbers) -> tuple[Memory, str | None]:
        if name not in numbers or memory["said"]:
            return memory, None
        value, best = float(numbers[name]), max(memory["best"], float(numbers[name]))
        low = best >= at_least and value < below * best
        row = memory["row"] + 1 if low else 0
        if row < lines:
            return {"best": best, "row": row, "said": False}, None
        return {"best": best, "row": row, "said": True}, (
            f"modes collapse: {name} is {value:.3g} and was {best:.3g}; the generator draws few kinds of examples. "
            "Raise the gradient penalty, lower the learning rate, or go back to an earlier checkpoint"
        )

    return Adviser({"best": 0.0, "row": 0, "said": False}, read)


def stays_low(name: str, *, below: float, lines: int = 5, skip: int = 0) -> Adviser:
    """Warns once when a number, a coverage or a count of modes, never gets anywhere.

    Args:
        name: of the number in the log.
        below: the value that is too low.
        lines: for how many measurements in a row.
        skip: measurements to let pass first, while the generator learns.

    Returns:
        An `Adviser`.

    Example:
        >>> adviser = stays_low("coverage", below=0.1, lines=1)
        >>> adviser.read(adviser.memory, {"coverage": 0.02})[1].split(";")[0]
        'modes are missing: coverage is 0.02, below 0.1 for 1 measurements'
    """

    def read(memory: Memory, numbers: Numbers) -> tuple[Memory, str | None]:
        if name not in numbers or memory["said"]:
            return memory, None
        seen = memory["seen"] + 1
        row = memory["row"] + 1 if seen > skip and numbers[name] < below else 0
        if row < lines:
            return {"seen": seen, "row": row, "said": False}, None
        return {"seen": seen, "row": row, "said": True}, (
            f"modes are missing: {name} is {numbers[name]:.3g}, below {below:g} for {lines} measurements; the "
            "generator draws few kinds of examples. Raise the gradient penalty, lower the learning rate or train longer"
        )

    return Adviser({"seen": 0, "row": 0, "said": False}, read)
