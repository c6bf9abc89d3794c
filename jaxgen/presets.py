"""Presets as differences: a recipe says what its ``small`` and ``full`` change, and a task makes ``smoke``."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from jaxgen.config import RunConfig

C = TypeVar("C", bound=RunConfig)
Changes = Mapping[str, Any]
NONE: Changes = MappingProxyType({})

SMOKE: Changes = {"steps": 6, "batch_size": 4, "checkpoint_every": 3, "log_every": 1}
"""A run of seconds, whatever it trains."""
FULL: Changes = {"data": "", "ema_decay": 0.9999, "checkpoint_every": 5000, "log_every": 100}
"""A run of days on an accelerator, on the user's data."""


def make(
    kind: type[C], changes: Mapping[str, Changes], *, small: Changes = NONE, smoke: Changes = NONE, full: Changes = NONE
) -> dict[str, C]:
    """The presets of an experiment.

    ``small`` and ``full`` change the defaults of the class, ``smoke`` changes ``small``, and so does any other preset
    whose name begins with ``small-``; the rest change ``full``. What a task says for all its experiments comes first; a
    field that the class does not have is left out.

    Args:
        kind: the class of the configuration.
        changes: what the recipe changes, by preset.
        small: what the task changes in ``small``.
        smoke: in ``smoke``.
        full: in ``full``.

    Returns:
        ``{"smoke": ..., "small": ..., "full": ..., ...}``.

    Raises:
        TypeError: if a recipe changes a field that the class does not have.
        UserError: if a value is out of range.

    Example:
        >>> made = make(RunConfig, {"small": {"steps": 50}, "full": {"steps": 10**6}}, smoke={"steps": 2, "size": 8})
        >>> {name: preset.steps for name, preset in made.items()}
        {'smoke': 2, 'small': 50, 'full': 1000000}
    """
    known = {field.name for field in dataclasses.fields(kind)}

    def of_task(task: Changes) -> dict[str, Any]:
        return {name: value for name, value in task.items() if name in known}

    middle = kind(**of_task(small) | dict(changes.get("small", {})))
    made = {
        "smoke": dataclasses.replace(middle, **of_task(smoke) | dict(changes.get("smoke", {}))),
        "small": middle,
        "full": kind(**of_task(full) | dict(changes.get("full", {}))),
    }
    return made | {
        name: dataclasses.replace(made["small" if name.startswith("small-") else "full"], **change)
        for name, change in changes.items()
        if name not in made
    }
