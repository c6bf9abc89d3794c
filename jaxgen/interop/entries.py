"""Reading the entries of a configuration file one by one, so that none is passed over in silence."""

import math
import reprlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxgen.errors import UserError


class Kind(NamedTuple):
    """What an entry of a configuration may be.

    Attributes:
        types: of the value, or of the values of a list; an int also stands for a float.
        least: of a number.
        most: of a number.
        null: whether it may be None.
        many: whether it may be a list; of how many at most.
        single: whether it may be one value.
    """

    types: tuple[type, ...]
    least: float = -math.inf
    most: float = math.inf
    null: bool = False
    many: int = 0
    single: bool = True


def kind_of(default: Any) -> Kind:
    """The kind of an entry, from its default.

    Example:
        >>> kind_of(3).types, kind_of((1, 2)).many, kind_of(None).null
        ((<class 'int'>,), 64, True)
    """
    if default is None:
        return Kind((str, bool, int, float), null=True)
    if isinstance(default, (list, tuple)):
        return Kind((type(default[0]),) if default else (str, bool, int, float), many=64, single=False)
    return Kind((type(default),))


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list"}


def misfit(value: Any, kind: Kind) -> str | None:
    """What would have fitted in place of a value, or None where it fits.

    Example:
        >>> misfit("3", Kind((int,), 1, 10)), misfit(3, Kind((float,)))
        ('a whole number from 1 to 10', None)
    """

    def fits(x: Any) -> bool:
        if isinstance(x, bool) or not isinstance(x, (int, float)):
            return type(x) in kind.types
        if isinstance(x, int) and not {int, float} & set(kind.types):
            return False
        if isinstance(x, float) and float not in kind.types:
            return False
        return kind.least <= x <= kind.most and (math.isinf(kind.most) or abs(x) < math.inf)

    listed = isinstance(value, (list, tuple))
    if value is None:
        good = kind.null
    elif listed:
        good = 0 < kind.many >= len(value) and all(map(fits, value))
    else:
        good = kind.single and fits(value)
    if good:
        return None
    words = " or ".join(_WORDS[one] for one in kind.types)
    if {int, float} & set(kind.types) and math.isfinite(kind.most):
        words += f" from {kind.least:g} to {kind.most:g}"
    if kind.many:
        words = f"{words}, or a list of such" if kind.single else f"a list of at most {kind.many}, each {words}"
    return f"{words}, or null" if kind.null else words


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 80, 80, 40
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8


def shown(value: Any) -> str:
    """A value as a message shows it: cut short where it is long or deep.

    Example:
        >>> shown([["a"] * 3, None]), len(shown("a" * 1000))
        ("[['a', 'a', 'a'], None]", 80)
    """
    return _SHORT.repr(value)


class Entries:
    """The entries of a configuration, each asked for by name.

    Args:
        config: the entries.
        file: their file's name, for messages.
        defaults: what an entry is where the configuration does not have it.
        kinds: what an entry may be; one that is not named here is of the kind of its default.
        see: the module whose documentation says what is supported, for messages.

    Raises:
        UserError: if the configuration has an entry without a default, so one that nobody here knows, or one of
            another kind; names that start with an underscore are comments, unless they have a default.

    Example:
        >>> entries = Entries({"dropout": 0.1}, "config.json", {"dropout": 0.0, "act_fn": "silu"})
        >>> entries["dropout"], entries.only("act_fn", "silu", "swish")
        (0.1, 'silu')
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        file: str,
        defaults: Mapping[str, Any],
        kinds: Mapping[str, Kind] | None = None,
        see: str = "jaxgen.interop.diffusers",
    ) -> None:
        self._file, self._see = file, see
        self._values = dict(defaults)
        for name, value in config.items():
            if name not in defaults:
                if str(name).startswith("_"):
                    continue
                raise self.error(str(name)[:80], value)
            wanted = misfit(value, (kinds or {}).get(name) or kind_of(defaults[name]))
            if wanted is not None:
                raise UserError(f"{file}: {name} is {shown(value)}, which is not supported; it must be {wanted}")
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
            raise UserError(f"{self._file}: {name} is {shown(self[name])}; supported: {choices}")
        return self[name]

    def error(self, name: str, value: Any) -> UserError:
        """What to raise for an entry whose value is not supported."""
        return UserError(f"{self._file}: {name} is {shown(value)}, which is not supported; see {self._see}")
