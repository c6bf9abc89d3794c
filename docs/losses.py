"""Write ``docs/losses.md``, the page of all losses, from their docstrings: ``python docs/losses.py``."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import jaxgen.losses

PAGE = Path(__file__).with_suffix(".md")
HEAD = """# Losses

`jaxgen.losses` needs nothing but JAX. Each loss is a pure function that returns one value an example, float32; the mean
is what to differentiate. Written from the docstrings by `python docs/losses.py`; the examples run as tests.
"""


def signature(function: Callable) -> str:
    """Name and arguments with their defaults, types left out."""
    given = inspect.signature(function)
    bare = [
        p.replace(annotation=p.empty, default=_Named(p.default) if inspect.isfunction(p.default) else p.default)
        for p in given.parameters.values()
    ]
    return function.__name__ + str(given.replace(parameters=bare, return_annotation=given.empty))


class _Named:
    def __init__(self, function: Callable) -> None:
        self.name = function.__qualname__.split(".<locals>")[0]

    def __repr__(self) -> str:
        return self.name


def functions(module: ModuleType) -> Iterator[Callable]:
    """The public functions and records that a module defines, in its order."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and own and (inspect.isfunction(value) or inspect.isclass(value)):
            yield value


def section(function: Callable) -> str:
    """One loss: summary with its formula, signature, reference, example."""
    text = inspect.getdoc(function) or ""
    parts = re.split(r"\n\n?(Args|Attributes|Returns|Raises|Reference|Example):\n", text)
    named = dict(zip(parts[1::2], map(inspect.cleandoc, parts[2::2]), strict=True))
    lines = [f"### `{function.__name__}`", "", parts[0].replace("``", "`").strip(), ""]
    if inspect.isfunction(function):
        lines += ["```python", signature(function), "```", ""]
    if "Reference" in named:
        lines += [" ".join(named["Reference"].split()), ""]
    if "Example" in named:
        lines += ["```python", named["Example"], "```", ""]
    return "\n".join(lines)


def modules() -> list[ModuleType]:
    """The modules of the losses, those that `jaxgen.losses` names first."""
    found = {value.__module__ for value in vars(jaxgen.losses).values() if hasattr(value, "__module__")}
    found |= {name.__name__ for name in vars(jaxgen.losses).values() if inspect.ismodule(name)}
    return [importlib.import_module(name) for name in sorted(found) if name.startswith("jaxgen.losses.")]


def page() -> str:
    """The text of the page."""
    text = HEAD
    for module in modules():
        title = (inspect.getdoc(module) or "").split("\n")[0].rstrip(".")
        text += f"\n## `{module.__name__}`: {title[:1].lower()}{title[1:]}\n\n"
        text += "\n".join(section(function) for function in functions(module))
    return text.rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
