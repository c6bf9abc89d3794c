"""The experiments that come with the package: where they are, and what they are, without importing them.

Importing an experiment brings in JAX, networks and readers, which takes seconds. Its name, its line and its presets are
written out at its end, in ``EXPERIMENT = Experiment(...)``, and are read there.
"""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxgen.errors import UserError

PACKAGE = "experiments"
ALWAYS = ("smoke", "small", "full")
"""The presets that a task makes for each of its experiments (`jaxgen.presets`)."""


class Card(NamedTuple):
    """What ``jaxgen list`` says of an experiment.

    Attributes:
        name: its name.
        summary: one line on what it does.
        data: one line on the data it trains on by default.
        presets: the names of its presets.
    """

    name: str
    summary: str
    data: str
    presets: tuple[str, ...]


def folder() -> Path:
    """The folder of the package ``experiments`` next to this one, whatever else is called so.

    Example:
        >>> (folder() / "segmentation" / "flow_sdf.py").is_file()
        True
    """
    return Path(__file__).resolve().parent.parent / PACKAGE


def names() -> list[str]:
    """The names of the experiments that come with the package, without importing them.

    Example:
        >>> "flow_sdf" in names()
        True
    """
    return sorted(_files())


def _files() -> dict[str, Path]:
    """The file of each experiment: a folder for each task holds its experiments."""
    return {file.stem: file for file in folder().glob("[!_]*/[!_]*.py")}


def group(name: str) -> str:
    """The folder that an experiment is in, which names its task.

    Args:
        name: one of `names`.

    Returns:
        The folder's name.

    Example:
        >>> group("flow_sdf")
        'segmentation'
    """
    return _files()[name].parent.name


def card(name: str) -> Card | None:
    """What an experiment says of itself, read from its file without running it.

    Args:
        name: one of `names`.

    Returns:
        Its card, or None where it is not written out as literals.

    Example:
        >>> card("two_moons").presets
        ('smoke', 'small', 'full')
    """
    try:
        tree = ast.parse(_files()[name].read_text(encoding="utf-8"))
    except (KeyError, OSError, SyntaxError, ValueError):
        return None
    for node in reversed(tree.body):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "EXPERIMENT" and isinstance(value, ast.Call):
            fields = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}
            presets = fields.get("presets")
            by_task = isinstance(value.func, ast.Attribute) and value.func.attr == "experiment"
            if isinstance(presets, ast.Call):  # presets.make(configuration, {...})
                by_task, fields["presets"] = True, next((x for x in presets.args if isinstance(x, ast.Dict)), presets)
            return _card(fields, ALWAYS if by_task else ())
    return None


def _card(fields: dict[str, ast.expr], always: tuple[str, ...]) -> Card | None:
    presets = fields.get("presets")
    keys = [_text(key) for key in presets.keys] if isinstance(presets, ast.Dict) else []
    name, summary, data = (_text(fields.get(field)) for field in ("name", "summary", "data"))
    if not keys or None in keys or name is None or summary is None or data is None:
        return None
    return Card(name, summary, data, tuple(dict.fromkeys([*always, *map(str, keys)])))


def _text(node: Any) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def load(name: str) -> ModuleType:
    """Import the experiment of this name from the package next to this one.

    A folder or module of the user's that is also called ``experiments`` does not hide it: it stays importable, behind.

    Args:
        name: one of `names`.

    Returns:
        The module.

    Raises:
        UserError: if another module took its place before.
    """
    share_name()
    module = importlib.import_module(f"{PACKAGE}.{group(name)}.{name}")
    if Path(str(module.__file__)).resolve() != _files()[name].resolve():
        raise UserError(f"{module.__file__}: it hides the experiment {name!r} that comes with jaxgen; rename this file")
    return module


def share_name(beside: Path | None = None) -> None:
    """Make ``import experiments`` mean the package next to this one first, for this process.

    Args:
        beside: a folder whose own ``experiments``, if it has one, comes second.
    """
    ours = str(folder())
    package = sys.modules.get(PACKAGE)
    if package is None:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, folder() / "__init__.py", submodule_search_locations=[ours]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    theirs = [] if beside is None or not (beside / PACKAGE).is_dir() else [str(beside / PACKAGE)]
    places = [*getattr(package, "__path__", []), *theirs]
    package.__path__ = list(dict.fromkeys([ours, *(place for place in places if Path(place).resolve() != folder())]))
