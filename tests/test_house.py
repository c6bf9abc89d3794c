"""The house: recipes under a page, short functions, few parameters, and budgets of lines."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = sorted((ROOT / "jaxgen").rglob("*.py"))
RECIPES = sorted((ROOT / "experiments").rglob("*.py"))
TASKS = sorted((ROOT / "jaxgen" / "tasks").rglob("*.py"))
LONG = {"trilemma.py", "sampler_speed.py"}
MOST_LINES, MOST_PARAMETERS = 80, 10
RECIPE, RECIPE_AND_TASKS = 3200 / 26, 7500 / 26
"""Lines per recipe, of the recipes alone and with what their tasks share."""


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def recipes():
    return [path for path in RECIPES if not path.name.startswith("__")]


def functions(tree):
    """``(function, whether all that it is in is public)`` of a module."""

    def walk(node, public):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child, public and (not child.name.startswith("_") or child.name == "__init__")
                yield from walk(child, False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, public and not child.name.startswith("_"))
            else:
                yield from walk(child, public)

    yield from walk(tree, True)


def code_lines(source, function):
    """Lines of code: without docstrings, comments and blank ones."""
    dropped = set()
    for node in ast.walk(function):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            dropped |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = source.splitlines()
    kept = (lines[i - 1].strip() for i in range(function.lineno, function.end_lineno + 1) if i not in dropped)
    return sum(bool(line) and not line.startswith("#") for line in kept)


def builds_closures(function):
    """Whether functions are defined in it: a model or a network is a record of closures."""
    return any(isinstance(node, ast.FunctionDef) for node in function.body)


def parameters(function):
    a = function.args
    return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs) if x.arg not in ("self", "cls")]


def too_long(source):
    for function, _ in functions(ast.parse(source)):
        if not builds_closures(function) and code_lines(source, function) > MOST_LINES:
            yield f"{function.name}: {code_lines(source, function)} lines"


def too_many(source):
    for function, public in functions(ast.parse(source)):
        if public and len(parameters(function)) > MOST_PARAMETERS:
            yield f"{function.name}: {len(parameters(function))} parameters"


@pytest.mark.parametrize("check", [too_long, too_many])
def test_functions_are_short_and_take_few_parameters(check):
    found = {str(p.relative_to(ROOT)): list(check(p.read_text(encoding="utf-8"))) for p in (*LIBRARY, *RECIPES)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_the_checks_see_what_is_wrong():
    names = ", ".join(f"a{i}" for i in range(11))
    assert list(too_many(f"def f({names}): pass")) == ["f: 11 parameters"]
    assert list(too_many(f"class A:\n    def __init__(self, {names}): pass")) == ["__init__: 11 parameters"]
    assert not list(too_many(f"def _f({names}): pass\ndef g():\n    def f({names}): pass"))
    body = "    a = 1\n" * 79
    assert list(too_long("def f():\n" + body + "    b = 2\n")) == ["f: 81 lines"]
    assert not list(too_long('def f():\n    """Two\n\n    lines."""\n    # why\n\n' + body))
    assert not list(too_long("def f():\n    def g(): pass\n" + body))


def test_a_recipe_is_under_a_page():
    sizes = {path.name: lines_of(path) for path in recipes()}
    assert {name: size for name, size in sizes.items() if size > 140 and name not in LONG} == {}
    assert statistics.median(sizes.values()) <= 100


def test_the_recipes_hold_no_private_module():
    assert [str(path.relative_to(ROOT)) for path in recipes() if path.name.startswith("_")] == []


def test_the_budgets_of_lines():
    inside, count = sum(map(lines_of, RECIPES)), len(recipes())
    assert inside <= RECIPE * count
    assert inside + sum(map(lines_of, TASKS)) <= RECIPE_AND_TASKS * count
