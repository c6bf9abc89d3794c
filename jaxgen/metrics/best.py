"""The best of several numbers, among which some may be none: a model that diverged is never the best."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


def highest(values: Mapping[Name, float]) -> Name:
    """The name of the highest finite value, the first of several.

    Example:
        >>> highest({"a": float("nan"), "b": 1.0, "c": float("inf"), "d": 2.0})
        'd'
    """
    return max(values, key=lambda name: values[name] if np.isfinite(values[name]) else -np.inf)


def lowest(values: Mapping[Name, float]) -> Name:
    """The name of the lowest finite value, the first of several.

    Example:
        >>> lowest({"a": float("nan"), "b": 1.0, "c": float("-inf"), "d": 2.0})
        'b'
    """
    return highest({name: -value for name, value in values.items()})


def nearest(known: tuple[int, ...], value: float) -> int:
    """Which of some numbers is nearest to a value, by their ratio.

    Example:
        >>> nearest((12, 50), 20)
        12
    """
    return min(known, key=lambda one: abs(np.log(one / value)))
