"""The entries of a scheduler's file, with words for what is wrong with them."""

import difflib
from collections.abc import Mapping
from typing import Any

from jaxgen.errors import UserError
from jaxgen.interop.entries import kind_of, misfit, shown
from jaxgen.interop.schedulers.defaults import DEFAULTS, KINDS, KNOWN


class Config:
    """The entries of a file: those it has, and the defaults of its class for the others.

    Args:
        entries: of the file.
        name: of the file, for messages.

    Raises:
        UserError: if the class or an entry is unknown, or a value does not fit.
    """

    def __init__(self, entries: Mapping[str, Any], name: str) -> None:
        self.name = name
        kind = entries.get("_class_name")
        if not isinstance(kind, str) or kind not in DEFAULTS:
            self.refuse("_class_name", kind, list(DEFAULTS))
        self.kind = str(kind)
        self.values = dict(DEFAULTS[self.kind])
        for key, value in entries.items():
            # As in diffusers, an entry that only another class knows says nothing.
            if key in self.values:
                fitting = KINDS.get(key) or kind_of(self.values[key])
                wanted = misfit(value, fitting._replace(null=fitting.null or self.values[key] is None))
                if wanted is not None:
                    raise UserError(f"{name}: {key} is {shown(value)}, which is not supported; it must be {wanted}")
                self.values[key] = value
            elif not key.startswith("_") and key not in KNOWN:
                nearest = _nearest(key, list(self.values))
                raise UserError(f"{name}: unknown entry {shown(key)}{nearest}; remove it if it is not needed")

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of an entry, or the default where the class has no such entry."""
        return self.values.get(key, default)

    def refuse(self, key: str, value: Any, supported: list) -> None:
        """Say that an entry's value is not supported, and which are."""
        nearest, names = _nearest(value, supported), [str(one) for one in supported]
        word = "supported"
        if all(name.endswith("Scheduler") for name in names):
            word, names = "supported, with Scheduler after each", [name.removesuffix("Scheduler") for name in names]
        raise UserError(
            f"{self.name}: {key} is {shown(value)}, which is not supported{nearest}; {word}: {', '.join(names)}"
        )

    def one_of(self, key: str, *supported: Any) -> Any:
        """The value of an entry, which must be one of these; the first of them where the class has no such entry."""
        value = self.values.get(key, supported[0])
        if value not in supported:
            self.refuse(key, value, list(supported))
        return value

    def wrong(self, message: str) -> UserError:
        """An error that names the file."""
        return UserError(f"{self.name}: {message}")


def _nearest(value: Any, choices: list) -> str:
    near = difflib.get_close_matches(shown(value).strip("'"), [str(c) for c in choices], n=1, cutoff=0.5)
    return f" (nearest: {near[0]})" if near else ""
