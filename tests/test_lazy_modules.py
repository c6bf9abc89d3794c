"""``import jaxgen`` imports none of its modules, and all of them can be reached."""

import subprocess
import sys
from pathlib import Path

import pytest

import jaxgen

ROOT = Path(__file__).parent.parent


def python(code):
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def test_importing_jaxgen_imports_nothing_else():
    code = "import sys, jaxgen; print([m for m in sys.modules if m.startswith(('jaxgen.', 'jax', 'numpy'))])"
    assert python(code) == "['jaxgen']"


@pytest.mark.parametrize("name", ["losses", "samplers", "paths", "data", "medical"])
def test_a_module_is_imported_when_it_is_asked_for(name):
    code = f"import sys, jaxgen; assert 'jaxgen.{name}' not in sys.modules; print(jaxgen.{name}.__name__)"
    assert python(code) == f"jaxgen.{name}"


def test_all_modules_are_listed_and_nothing_else_is():
    names = {path.stem for path in (ROOT / "jaxgen").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {name for name in names if name[0] != "_"} == {name for name in dir(jaxgen) if name[0] != "_"}


@pytest.mark.parametrize("name", ["no_such_module", "report.css", "_private", "__wrapped__"])
def test_an_unknown_name_is_an_ordinary_error(name):
    assert not hasattr(jaxgen, name)
    with pytest.raises(AttributeError, match=f"module 'jaxgen' has no attribute '{name}'"):
        getattr(jaxgen, name)
