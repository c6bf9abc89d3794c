"""Facts about data that sampling needs and a configuration cannot know: measured once, saved with the run."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from jaxgen.config import nearest
from jaxgen.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run's training data; an experiment subclasses it with fields of its own.

    A field is a number, a text, a truth value, None, or a tuple of such; it is saved in ``constants.json``.

    Attributes:
        home: which training images the run has (`jaxgen.data.source.identity`); the runner fills it in.
        renamed: old names of fields, as runs of before have them in their files, and the names of now; an empty name
            for what is no longer kept.
        sparse: fields that are left out of the file where they are empty.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Size(Facts):
        ...     sides: tuple[int, ...]
        >>> Size(sides=(2, 3)).to_json()
        {'sides': [2, 3]}
        >>> Size.from_json({"sides": [2, 3]}).sides
        (2, 3)
    """

    home: str = ""
    renamed: ClassVar[Mapping[str, str]] = {}
    sparse: ClassVar[tuple[str, ...]] = ("home",)

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict that JSON can hold; those of `sparse` are left out where they are empty."""
        values = {field.name: _listed(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name not in self.sparse or value}

    @classmethod
    def current_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Saved values under the names of now."""
        now = {name: cls.renamed.get(name, name) for name in values}
        return {now[name]: value for name, value in values.items() if now[name]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The facts that `to_json` made, of this version or of one before.

        Raises:
            UserError: for a name that is no field, or a field that is missing.
        """
        values = cls.current_names(values)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise UserError(f"constants.json: no fact is called {name!r}{nearest(name, list(fields))}")
        for name, field in fields.items():
            if name not in values and field.default is dataclasses.MISSING:
                raise UserError(f"constants.json: {name!r} is missing; restore the file from a copy of the run")
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _listed(value: Any) -> Any:
    return [_listed(entry) for entry in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list | tuple) else value
