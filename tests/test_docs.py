"""The pages of the documentation say what the code says."""

import importlib.util
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOSSES = load("losses")
PUBLIC = [(m.__name__, f) for m in LOSSES.modules() for f in LOSSES.functions(m)]


def test_the_page_of_losses_is_up_to_date():
    assert LOSSES.PAGE.read_text(encoding="utf-8") == LOSSES.page(), "run python docs/losses.py"


def test_the_page_of_public_names_is_up_to_date():
    functions = load("functions")
    assert functions.PAGE.read_text(encoding="utf-8") == functions.page(), "run python docs/functions.py"


@pytest.mark.parametrize(("module", "function"), PUBLIC, ids=lambda value: getattr(value, "__name__", value))
def test_every_loss_has_an_example(module, function):
    text = inspect.getdoc(function)
    assert ">>>" in text or inspect.isclass(function), f"{module}.{function.__name__}"
