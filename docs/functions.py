"""Write ``docs/functions.md``, the page of all public names, from the docstrings: ``python docs/functions.py``."""

import ast
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
LIBRARY = Path(__file__).resolve().parent.parent / "jaxgen"
HEAD = """# Public names

Every public function and record of `jaxgen` by module, with the first line of its docstring; `help(name)` has the rest.
Written by `python docs/functions.py`. The losses have [a page of their own](losses.md) with formulas and examples.

Conventions: channels last, `[b, *spatial, c]`; a path knows which end of its time is data; `key` is explicit; densities
in nats. A signed distance is **negative inside** the mask (the FlowSDF authors' sign).
"""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The public modules of the library, without the application, by dotted name, parsed and not imported."""
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
        if parts[1] != "app" and not any(part.startswith("_") for part in parts):
            yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))


def names(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The public functions and classes that a module defines, with the first line of their docstrings."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]


def page() -> str:
    """The text of the page."""
    text = HEAD
    for name, module in modules():
        rows = [f"- `{one}`: {line.replace('``', '`')}" for one, line in names(module)]
        title = (ast.get_docstring(module) or "").partition("\n")[0]
        if rows:
            text += "\n".join([f"\n## `{name}`", "", title, "", *rows, ""])
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
