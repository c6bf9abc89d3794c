"""Typed configurations: a frozen dataclass whose every field is a checked command-line flag.

An experiment subclasses `RunConfig` and adds its own fields with `option`. The flags, their help, their range checks
and their JSON form all come from the dataclass, so there is one place to read and one place to change.
"""

import argparse
import dataclasses
import difflib
import inspect
import math
import sys
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar

from jaxgen.errors import UserError

C = TypeVar("C", bound="RunConfig")

_BOUNDS = (
    ("ge", "at least", lambda value, bound: value >= bound),
    ("gt", "greater than", lambda value, bound: value > bound),
    ("le", "at most", lambda value, bound: value <= bound),
    ("lt", "less than", lambda value, bound: value < bound),
)


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Collection[Any] | None = None,
    group: str = "",
    formerly: str = "",
) -> Any:
    """A field of a configuration: its default, its help text and the values it may take.

    Args:
        default: the default value; its type is the field's annotation.
        help: one line for ``--help``, with the unit where there is one.
        ge: the value (each entry of a tuple) must be at least this.
        gt: the value must be greater than this.
        le: the value must be at most this.
        lt: the value must be less than this.
        choices: the allowed values (of each entry of a tuple), or a table whose keys they are; an annotation
            ``Literal[...]`` says the same.
        group: the heading under which ``--help`` lists the flag.
        formerly: the field's name in the version before: its flag still works, and runs of before still open.

    Returns:
        A `dataclasses.field`.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Config(RunConfig):
        ...     width: int = option(32, "channels of the first level", ge=1)
        >>> Config(width=8).width
        8
        >>> Config(width=0)
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: --width must be at least 1, got 0
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "bounds": {name: bound for name, bound in bounds.items() if bound is not None},
            "choices": choices,  # a registry is looked at when a value is checked, so that it may grow
            "group": group,
            "formerly": formerly,
        },
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every training run can be told; experiments subclass it with their own flat fields.

    A configuration checks itself when it is made, so one that exists is valid.

    Raises:
        UserError: if a value has the wrong type or is out of range; the message names the flag.

    Example:
        >>> RunConfig(steps=10).steps
        10
    """

    data: str = option("", "data: a TFDS name, a folder, or a .npz file", group="data")
    seed: int = option(
        0, "seed of every random number: initial weights, order of examples, samples", ge=0, lt=2**32, group="data"
    )
    batch_size: int = option(16, "examples per step, over all devices together", ge=1, group="data")
    workers: int = option(0, "threads that decode images ahead of training (0: none)", ge=0, le=256, group="data")

    steps: int = option(1000, "training steps of each stage", ge=1, group="training")
    learning_rate: float = option(1e-3, "peak learning rate", gt=0, le=10, group="training")
    warmup_steps: int = option(100, "steps of linear learning-rate warm-up", ge=0, group="training")
    schedule: Literal["cosine", "constant", "linear"] = option(
        "cosine", "learning rate after the warm-up", group="training"
    )
    optimizer: Literal["adamw", "adam", "muon"] = option("adamw", "optimizer", group="training")
    weight_decay: float = option(0.0, "decoupled weight decay (adamw, muon)", ge=0, le=10, group="training")
    gradient_clip: float = option(
        1.0, "clip the global gradient norm at this value (0: do not clip)", ge=0, group="training"
    )
    ema_decay: float = option(0.999, "decay of the running average of the parameters", ge=0, lt=1, group="training")

    precision: Literal["float32", "bfloat16"] = option("float32", "dtype that networks compute in", group="speed")
    steps_per_call: int = option(1, "training steps in one call to the device", ge=1, group="speed")
    parallel: Literal["jit", "pmap"] = option("jit", "how a step is spread over devices", group="speed")
    devices: int = option(0, "devices to use (0: all)", ge=0, group="speed")
    shard_state: int = option(
        1,
        "devices that share one copy of parameters, averages and optimizer state (1: each has all of it)",
        ge=1,
        group="speed",
    )
    space: int = option(
        1, "devices that share one image or volume, split along its first spatial axis", ge=1, group="speed"
    )
    accumulate: int = option(
        1, "parts of a batch whose gradients are computed one after the other: less memory", ge=1, group="speed"
    )

    checkpoint_every: int = option(500, "steps between checkpoints", ge=1, group="saving")
    keep_checkpoints: int = option(2, "newest checkpoints to keep in each stage", ge=1, group="saving")
    log_every: int = option(20, "steps between lines of the log", ge=1, group="saving")
    evaluate_every: int = option(
        0,
        "steps between evaluations while training (0: none), shown in the log, TensorBoard and the page: generation "
        "and segmentation use a few validation images, not those of the final table; others their whole evaluation",
        ge=0,
        group="saving",
    )

    def __post_init__(self) -> None:
        """Check every field."""
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _typed(getattr(self, field.name), hints[field.name], flag(field.name))
            _check_range(value, field, flag(field.name))
            object.__setattr__(self, field.name, value)


def flag(name: str) -> str:
    """The command-line flag of a field.

    Example:
        >>> flag("batch_size")
        '--batch-size'
    """
    return "--" + name.replace("_", "-")


def to_dict(config: RunConfig) -> dict[str, Any]:
    """A configuration as a dict that JSON can hold; `from_dict` is its inverse.

    Example:
        >>> to_dict(RunConfig(seed=3))["seed"]
        3
    """
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }


def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """A configuration from what `to_dict` made; fields that are not there take their default.

    Args:
        cls: the dataclass to make.
        values: its fields by name; lists stand for tuples.

    Returns:
        A `cls`.

    Raises:
        UserError: for a name that is not a field, a wrong type or a value out of range.

    Example:
        >>> from_dict(RunConfig, to_dict(RunConfig(seed=3))) == RunConfig(seed=3)
        True
    """
    names = [field.name for field in dataclasses.fields(cls)]
    before = {old: field.name for field in dataclasses.fields(cls) if (old := field.metadata.get("formerly"))}
    values = {before.get(name, name): value for name, value in values.items()}
    for name in values:
        if name not in names:
            raise UserError(f"config.json: no field is called {name!r}{nearest(name, names)}")
    return cls(**values)


def diff(a: RunConfig, b: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configurations differ, as ``{name: (value in a, value in b)}``.

    Example:
        >>> diff(RunConfig(), RunConfig(seed=3))
        {'seed': (0, 3)}
    """
    left, right = to_dict(a), to_dict(b)
    return {
        name: (left.get(name), right.get(name))
        for name in [*left, *(name for name in right if name not in left)]
        if (name in left) != (name in right) or left.get(name) != right.get(name)
    }


def nearest(name: str, names: Iterable[str]) -> str:
    """The words ``; did you mean 'x'?`` for the nearest of `names`, or nothing if none is near.

    Example:
        >>> nearest("--step", ["--steps", "--seed"])
        "; did you mean '--steps'?"
        >>> nearest("zebra", ["--steps"])
        ''
    """
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def chosen_name(flag: str, name: str, offered: Sequence[str]) -> str:
    """One of the names on offer, whose spaces may be typed as underscores.

    Args:
        flag: the flag that it was given by.
        name: the name as typed.
        offered: the names on offer.

    Returns:
        The name as it is on offer.

    Raises:
        UserError: if it is none of them; the message names the flag and the nearest.

    Example:
        >>> chosen_name("--sampler", "probability_flow", ["ddim", "probability flow"])
        'probability flow'
    """
    typed = {one.replace(" ", "_"): one for one in offered}
    if name.replace(" ", "_") not in typed:
        raise UserError(f"{flag} must be one of {', '.join(typed)}, got {name!r}{nearest(name, list(typed))}")
    return typed[name.replace(" ", "_")]


def choose_preset(presets: Mapping[str, C], name: str | None) -> tuple[str, C]:
    """The preset of this name; without a name the one called ``small``, else the first.

    Args:
        presets: the presets by name.
        name: the name asked for, or None for the default.

    Returns:
        The name and the configuration.

    Raises:
        UserError: if there is no such preset; the message names the nearest.

    Example:
        >>> choose_preset({"smoke": RunConfig(steps=2), "small": RunConfig()}, None)[0]
        'small'
    """
    if name is None:
        name = "small" if "small" in presets else next(iter(presets))
    if name not in presets:
        hint = nearest(name, presets)
        raise UserError(f"--preset: there is no preset {name!r}{hint} (presets: {', '.join(presets)})")
    return name, presets[name]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line with the nearest name, raised as `UserError`.

    Example:
        >>> parser = Parser(prog="x")
        >>> _ = parser.add_argument("--steps")
        >>> parser.parse("--stepz 3".split())
        Traceback (most recent call last):
        ...
        jaxgen.errors.UserError: unknown flag --stepz; did you mean '--steps'? (see x --help)
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse `argv`; a flag that does not exist is an error that names the nearest one."""
        known, rest = self.parse_known_args(argv)
        for word in rest:
            if word.startswith("-") and word != "-":
                name = word.split("=")[0]
                hint = nearest(name, self.flags())
                raise UserError(f"unknown flag {name}{hint} (see {self.prog} --help)")
        if rest:
            raise UserError(f"unexpected argument {rest[0]!r} (see {self.prog} --help)")
        return known

    def flags(self) -> list[str]:
        """All long flags of this parser."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError` instead of printing the usage and leaving."""
        if message.startswith("argument "):
            name, _, said = message.removeprefix("argument ").partition(": ")
            name = name.split("/")[-1]
            said = {"expected one argument": "needs a value"}.get(said, said)
            message = said if said.startswith("--") else f"{name} {said}"
        raise UserError(f"{' '.join(message.split())} (see {self.prog} --help)")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)


def add_options(parser: argparse.ArgumentParser, config: RunConfig, title: str = "experiment") -> None:
    """Add every field of a configuration to a parser as a flag; the help shows the values of `config` as defaults.

    Flags that are not given leave nothing in the parsed namespace, so that `override` knows what was asked for. Those
    that the experiment's own module defines come first, then those of its task, then those of every run.

    Args:
        parser: the parser to extend.
        config: the configuration (a preset) that the flags change.
        title: the heading of the experiment's own flags.

    Example:
        >>> parser = Parser(prog="x")
        >>> add_options(parser, RunConfig())
        >>> override(RunConfig(), parser.parse(["--steps", "7"])).steps
        7
    """
    hints = typing.get_type_hints(type(config))
    groups: dict[str, Any] = {}
    for heading, field in _in_order(config, title):
        group = groups.get(heading) or groups.setdefault(heading, parser.add_argument_group(heading))
        hint, text = hints[field.name], field.metadata.get("help", "")
        text += f" [{_allowed(field, hint)}default: {_show(getattr(config, field.name))}]"
        kind: dict[str, Any] = {"action": _OnOff} if hint is bool else {"type": _reader(hint, flag(field.name))}
        if old := field.metadata.get("formerly"):  # without help and default, argparse lists nothing of it
            former = {"action": _FormerOnOff} if hint is bool else {"type": _reader(hint, flag(old)), "action": _Former}
            parser.add_argument_group().add_argument(
                flag(old), dest=field.name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **former
            )
        if hint is not bool:
            kind["metavar"] = _metavar(hint, field.metadata.get("choices"))
        group.add_argument(
            flag(field.name), dest=field.name, default=argparse.SUPPRESS, help=text.replace("%", "%%"), **kind
        )


def _in_order(config: RunConfig, title: str) -> list[tuple[str, dataclasses.Field[Any]]]:
    """The fields under their headings: the experiment's own first, then those of its task, then those of every run."""
    kind = type(config)
    found = []
    for field in dataclasses.fields(config):
        owner = next(one for one in kind.__mro__ if field.name in inspect.get_annotations(one))
        group = field.metadata.get("group", "")
        if owner is not RunConfig and owner.__module__ == kind.__module__:
            found.append((0, f"{title}: {group}" if group else title, field))
        elif owner is not RunConfig and group not in _SHARED:
            found.append((1, group or "task", field))
        else:
            found.append((2 + _SHARED.index(group) if group in _SHARED else 1, group or "run", field))
    headings = {heading: rank for rank, heading, _ in reversed(found)}
    places = {heading: i for i, heading in enumerate(dict.fromkeys(heading for _, heading, _ in found))}
    found.sort(key=lambda entry: (headings[entry[1]], places[entry[1]], entry[0]))
    return [(heading, field) for _, heading, field in found]


_SHARED = ("data", "training", "speed", "saving")
"""The headings of what every run can be told, in the order of ``--help``."""


def override(config: C, given: argparse.Namespace) -> C:
    """The configuration with the flags that were given.

    Args:
        config: the preset.
        given: the namespace of a parser extended by `add_options`.

    Returns:
        A configuration of the same class.

    Raises:
        UserError: if a value is out of range.
    """
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{k: v for k, v in vars(given).items() if k in names})


class _OnOff(argparse.BooleanOptionalAction):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        text = kwargs.get("help")
        super().__init__(*args, **kwargs)
        self.help = text  # BooleanOptionalAction of Python 3.11 appends the default once more


class _Former(argparse.Action):
    """A flag of the version before: it works, and says what it is called now."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        _say_renamed(option_string, self.dest)
        setattr(namespace, self.dest, values)


class _FormerOnOff(_OnOff):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        _say_renamed(option_string, self.dest)
        super().__call__(parser, namespace, values, option_string)


def _say_renamed(old: str | None, name: str) -> None:
    before = "--no-" if str(old).startswith("--no-") else "--"
    now = before + flag(name).removeprefix("--")
    print(f"jaxgen: note: {old} is now called {now}; the old name will go with the next version", file=sys.stderr)


def _options(hint: Any) -> list[Any]:
    """The alternatives of a union, the type itself otherwise."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return list(typing.get_args(hint))
    return [hint]


def _typed(value: Any, hint: Any, name: str) -> Any:
    """The value as its annotation asks, or a `UserError`."""
    options = _options(hint)
    if value is None and type(None) in options:
        return None
    for kind in options:
        origin = typing.get_origin(kind)
        if kind in (bool, str) and isinstance(value, kind):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise UserError(f"{name} must be a finite number, got {value}")
            return number
        if origin is Literal:
            allowed = typing.get_args(kind)
            if value in allowed:
                return value
            raise UserError(_not_a_choice(name, value, allowed))
        if origin is tuple and isinstance(value, tuple | list):
            inner = typing.get_args(kind)
            if len(inner) == 2 and inner[1] is Ellipsis:
                if not value:
                    raise UserError(f"{name} needs at least one value")
                return tuple(_typed(entry, inner[0], name) for entry in value)
            if len(inner) == len(value):
                return tuple(_typed(entry, one, name) for entry, one in zip(value, inner, strict=True))
            raise UserError(f"{name} needs {len(inner)} values, got {len(value)}")
    raise UserError(f"{name} must be {_describe(hint)}, got {value!r}")


def _check_range(value: Any, field: dataclasses.Field[Any], name: str) -> None:
    choices = field.metadata.get("choices")
    bounds = field.metadata.get("bounds", {})
    for entry in value if isinstance(value, tuple) else (value,):
        if entry is None:
            continue
        if choices is not None and entry not in choices:
            raise UserError(_not_a_choice(name, entry, choices))
        for key, words, holds in _BOUNDS:
            if key in bounds and not holds(entry, bounds[key]):
                raise UserError(f"{name} must be {words} {bounds[key]}, got {entry}")


def _not_a_choice(name: str, value: Any, allowed: Sequence[Any]) -> str:
    hint = nearest(str(value), [str(entry) for entry in allowed])
    return f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}{hint}"


def _reader(hint: Any, name: str) -> Any:
    """A function from the text after a flag to the value."""

    def read(text: str) -> Any:
        options = _options(hint)
        if type(None) in options and text.strip().lower() == "none":
            return None
        several = [kind for kind in options if typing.get_origin(kind) is tuple]
        if "," in text and several and str not in options:
            return _read(text, several[0], hint, name)
        for kind in options:
            if kind is not type(None):
                return _read(text, kind, hint, name)
        raise AssertionError(hint)

    return read


def _read(text: str, kind: Any, hint: Any, name: str) -> Any:
    if kind is str:
        return text
    try:
        if kind is int:
            # 1e4 and 1_000 are how people write steps; 1.5 is a mistake, not 1
            try:
                return int(text)
            except ValueError:
                number = float(text)
                if number != int(number):
                    raise
                return int(number)
        if kind is float:
            return float(text)
    except (ValueError, OverflowError):
        raise UserError(f"{name} must be {_describe(hint)}, got {text!r}") from None
    origin = typing.get_origin(kind)
    if origin is Literal:
        allowed = typing.get_args(kind)
        return {str(entry): entry for entry in allowed}.get(text, text)
    if origin is tuple:
        inner = typing.get_args(kind)
        words = [word.strip() for word in text.strip().strip("()[]").split(",")]
        if words and words[-1] == "":
            words = words[:-1]
        kinds = [inner[0]] * len(words) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) != len(words):
            raise UserError(f"{name} needs {len(kinds)} values separated by commas, got {text!r}")
        return tuple(_read(word, one, hint, name) for word, one in zip(words, kinds, strict=True))
    raise TypeError(f"{name}: fields of type {kind} have no flag form")


def _describe(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "none"}
    parts = []
    for kind in _options(hint):
        if typing.get_origin(kind) is tuple:
            inner = typing.get_args(kind)[0]
            parts.append({int: "whole numbers", float: "numbers"}.get(inner, "values") + " separated by commas")
        elif typing.get_origin(kind) is Literal:
            parts.append("one of " + ", ".join(map(str, typing.get_args(kind))))
        else:
            parts.append(words.get(kind, str(kind)))
    return " or ".join(parts)


def _choices(hint: Any, choices: Collection[Any] | None = None) -> list[str]:
    """The allowed values of a field, as they are typed."""
    kind = _options(hint)[0]
    if typing.get_origin(kind) is tuple:
        kind = typing.get_args(kind)[0]
    return list(map(str, typing.get_args(kind) if typing.get_origin(kind) is Literal else choices or ()))


def _metavar(hint: Any, choices: Collection[Any] | None = None) -> str:
    kind = _options(hint)[0]
    several = typing.get_origin(kind) is tuple
    if offered := _choices(hint, choices):
        listed = "{" + ",".join(offered) + "}"
        return (listed if len(listed) <= _LONGEST else "NAME") + ",..." * several
    if several:
        return "N,N,..." if typing.get_args(kind)[0] is int else "X,X,..."
    return {int: "N", float: "X", str: "TEXT"}.get(kind, "VALUE")


_LONGEST = 100
"""Letters of a list of choices at most that ``--help`` shows next to the flag; a longer one is in the text, folded."""

_NARROW = 8
"""An upper bound up to this is worth a word in ``--help``; a lower bound is, beside it or if it is not 0 or 1."""


def _allowed(field: dataclasses.Field[Any], hint: Any) -> str:
    bounds = field.metadata.get("bounds", {})
    narrow = any(bounds.get(key, math.inf) <= _NARROW for key in ("le", "lt"))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    parts = [
        f"{signs[key]} {bounds[key]}"
        for key, _, _ in _BOUNDS
        if key in bounds and (narrow or (key in ("ge", "gt") and bounds[key] not in (0, 1)))
    ]
    listed = ",".join(_choices(hint, field.metadata.get("choices")))
    if len(listed) + 2 > _LONGEST:
        parts.append("one of " + listed.replace(",", ", "))
    if type(None) in _options(hint):
        parts.append("or none")
    return "; ".join([*parts, ""]).lstrip() if parts else ""


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_show, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    return str(value) or "(empty)"
