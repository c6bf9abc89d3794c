"""Reading the entries of a configuration file one by one, so that none is passed over in silence."""

from collections.abc import Mapping
from typing import Any

from jaxgen.errors import UserError


class Entries:
    """The entries of a configuration, each asked for by name.

    Args:
        config: the entries.
        file: their file's name, for messages.
        defaults: what an entry is where the configuration does not have it.

    Raises:
        UserError: if the configuration has an entry without a default, so one that nobody here knows; names that
            start with an underscore are comments.

    Example:
        >>> entries = Entries({"dropout": 0.1}, "config.json", {"dropout": 0.0, "act_fn": "silu"})
        >>> entries["dropout"], entries.only("act_fn", "silu", "swish")
        (0.1, 'silu')
    """

    def __init__(self, config: Mapping[str, Any], file: str, defaults: Mapping[str, Any]):
        self._file = file
        self._values = dict(defaults)
        for name, value in config.items():
            if name.startswith("_"):
                continue
            if name not in defaults:
                raise self.error(name, value)
            self._values[name] = value

    def __getitem__(self, name: str) -> Any:
        """Any value of an entry."""
        return self._values[name]

    def only(self, name: str, *values: Any) -> Any:
        """The value of an entry, which must be one of those that are supported.

        Raises:
            UserError: if it is not.
        """
        if self[name] not in values:
            choices = " or ".join(repr(value) for value in values)
            raise UserError(f"{self._file}: {name} is {self[name]!r}; supported: {choices}")
        return self[name]

    def error(self, name: str, value: Any) -> UserError:
        """What to raise for an entry whose value is not supported."""
        return UserError(f"{self._file}: {name} is {value!r}, which is not supported; see jaxgen.interop.diffusers")
