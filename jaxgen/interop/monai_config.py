"""Configuration files of MONAI bundles: references are followed, small arithmetic is read, and no code is run.

A value ``"@id"`` refers to another entry, ``"%file.json::id"`` to one of another file; ``::`` and ``#`` go down into
lists and objects. A value that starts with ``$`` is Python. Of that, only numbers, texts, lists, arithmetic and a few
functions of numbers are understood; all else stays code, which other functions may look at and nobody runs.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.errors import UserError
from jaxgen.interop import files, json_files
from jaxgen.interop.entries import shown

_REFERENCE = re.compile(r"@\w*(?:(?:::|#)\w*)*")
_LONGEST = 2000
_MOST_LEVELS = 50
_LARGEST = 10**15
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (bool, float, int, len, list, max, min, round, str, tuple)
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}


class CodeError(Exception):
    """An expression that is more than arithmetic."""


def parts_of(name: str) -> list[str]:
    """The parts of an id.

    Example:
        >>> parts_of("train::inferer#scheduler")
        ['train', 'inferer', 'scheduler']
    """
    return name.replace("#", "::").split("::")


def is_code(value: Any) -> bool:
    """Whether a value is an expression."""
    return isinstance(value, str) and value.startswith("$")


def parse(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The syntax tree of an expression, and the ids that its names ``_r0, _r1, ...`` stand for.

    Args:
        text: it starts with ``$``.

    Returns:
        The tree, in which each reference is a name, and the id of each.

    Raises:
        CodeError: if it is no single expression, or a very long one.

    Example:
        >>> tree, names = parse("$@train#size * 2")
        >>> type(tree).__name__, names
        ('BinOp', {'_r0': 'train::size'})
    """
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        names[f"_r{len(names)}"] = "::".join(parts_of(match[0][1:]))
        return f"_r{len(names) - 1}"

    if len(text) > _LONGEST:
        raise CodeError("an expression of more than 2000 characters")
    try:
        return ast.parse(_REFERENCE.sub(name, text[1:]).strip(), mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CodeError("no expression") from error


def calculate(node: ast.expr, look_up: Callable[[str], Any]) -> Any:
    """The value of an expression of constants, lists, arithmetic and a few functions of numbers.

    Args:
        node: its syntax tree.
        look_up: ``name -> value`` of the names in it.

    Returns:
        A number, text, truth value, None, or lists and objects of such.

    Raises:
        CodeError: if it is anything else, or its value is huge.

    Example:
        >>> calculate(ast.parse("[n // 4, int(n / 3)] + [1]", mode="eval").body, {"n": 32}.__getitem__)
        [8, 10, 1]
    """

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None):
                return node.value
            case ast.Name():
                return look_up(node.id)
            case ast.List() | ast.Tuple():
                return [value(element) for element in node.elts]
            case ast.UnaryOp(op=ast.USub()):
                return -_number(value(node.operand))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                return _joined(type(node.op), value(node.left), value(node.right))
            case ast.Subscript():
                return value(node.value)[value(node.slice)]
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*map(value, node.args))
        raise CodeError("more than arithmetic")

    try:
        found = value(node)
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise CodeError(str(error)) from error
    return list(found) if isinstance(found, tuple) else found


def _number(x: Any) -> Any:
    if not isinstance(x, (int, float)) or abs(x) > _LARGEST:
        raise CodeError("no number, or a huge one")
    return x


def _joined(operator: type[ast.operator], a: Any, b: Any) -> Any:
    if operator is ast.Add and type(a) is type(b) and type(a) in (str, list):
        if len(a) + len(b) > _LONGEST:
            raise CodeError("a very long text or list")
        return a + b
    return _number(_ARITHMETIC[operator](_number(a), _number(b)))


class Config:
    """The entries of one or several configuration files of a bundle.

    Args:
        content: the entries.
        file: where they are from, for messages and for macros.

    Example:
        >>> config = Config({"size": [64, 32], "half": ["$@size::0 // 2", "@size::1"]}, Path("inference.json"))
        >>> config.value("half")
        [32, 32]
    """

    def __init__(self, content: Mapping[str, Any], file: Path) -> None:
        self.file = file
        self._content = dict(content)

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry of this id."""
        try:
            self.raw(name)
        except UserError:
            return False
        return True

    def raw(self, name: str, depth: int = 0) -> Any:
        """An entry as it is written, with nothing followed but macros.

        Args:
            name: its id.
            depth: how many macros led here.

        Raises:
            UserError: if there is no such entry.
        """
        found: Any = self._content
        for part in parts_of(name):
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise UserError(f"{self.file}: has no entry {shown(name)}; add it, or take the files of one bundle")
            if isinstance(found, str) and found.startswith("%"):
                found = self._macro(found[1:], depth + 1)
        return found

    def _macro(self, text: str, depth: int) -> Any:
        if depth > _MOST_LEVELS:
            raise UserError(f"{self.file}: the macro {shown('%' + text)} leads to itself; write what it stands for")
        name, separator, rest = text.replace("#", "::").partition("::")
        if not name.endswith(".json"):
            return self.raw(text, depth)
        other = read(self.file.parent, [name.removeprefix("configs/")])
        return other.raw(rest, depth) if separator else other._content

    def value(self, name: str) -> Any:
        """An entry with all references followed and all arithmetic done.

        Args:
            name: its id, such as ``"train::inferer::scale_factor"``.

        Returns:
            Numbers, texts, truth values, None, and lists and objects of such.

        Raises:
            UserError: if there is no such entry, it refers to itself, or it is code.
        """
        return self._value(name, ())

    def _value(self, name: str, above: tuple[str, ...]) -> Any:
        if name in above or len(above) > _MOST_LEVELS:
            raise UserError(f"{self.file}: {above[0]} refers to itself; write its value")
        return self._resolved(self.raw(name), (*above, name))

    def _resolved(self, value: Any, above: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: self._resolved(item, above) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, above) for item in value]
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            return self._value("::".join(parts_of(value[1:])), above)
        if not is_code(value):
            return value
        try:
            tree, names = parse(value)
            return calculate(tree, lambda one: self._value(names[one], above))
        except CodeError as error:
            raise UserError(
                f"{self.file}: {above[0]} is not resolved, since {shown(value)} is code, which is never run; "
                "write its value there"
            ) from error

    def entries(self) -> Iterator[tuple[str, Any]]:
        """All entries at any depth with their ids, as they are written."""

        def walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
            if depth > _MOST_LEVELS:
                raise UserError(f"{self.file}: {name.split('::')[0]} is nested too deeply; write it in a simpler way")
            if isinstance(value, str) and value.startswith("%"):
                value = self._macro(value[1:], depth)
            if name:
                yield name, value
            if isinstance(value, (dict, list)):
                for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                    yield from walk(item, f"{name}::{key}" if name else str(key), depth + 1)

        return walk(self._content, "", 0)


def read(folder: Path, names: Sequence[str], overrides: Mapping[str, Any] | None = None) -> Config:
    """Read configuration files as one, later ones over earlier ones; ``metadata.json`` is their entry ``_meta_``.

    Args:
        folder: the ``configs`` folder.
        names: of files in it.
        overrides: entries that are put in place of the files' own, by id: as MONAI's command line takes them.

    Returns:
        Their entries.

    Raises:
        UserError: if a file is missing, is no JSON or holds no object, or there is no place for an override.
    """
    content: dict[str, Any] = {}
    if (folder / "metadata.json").exists():
        content["_meta_"] = _read(files.inside(folder, "metadata.json"))
    for name in names:
        content |= _read(files.inside(folder, name))
    for name, value in (overrides or {}).items():
        *above, last = parts_of(name)
        place: Any = content
        for part in above:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise UserError(f"{folder}: there is no place for the override {shown(name)}; give an id of an entry")
        place[last] = value
    return Config(content, folder / names[-1])


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json_files.read(file)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); give the folder of a MONAI bundle, with configs/*.json"
        ) from error
    except ValueError as error:
        raise UserError(f"{file}: is no JSON ({error}); copy it again from where it came") from error
    if not isinstance(found, dict):
        raise UserError(f"{file}: holds no JSON object; copy it again from where it came")
    return found
