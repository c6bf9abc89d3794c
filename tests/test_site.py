"""The web pages: their names exist, their code runs, and they build without a broken link, the gallery executed."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgen import experiment
from jaxgen.app.cli import main

ROOT = Path(__file__).parent.parent
SITE = ROOT / "docs" / "site"
PAGES = sorted(SITE.rglob("*.md"))
SCRIPTS = sorted((ROOT / "docs" / "gallery").glob("*.py"))
PEERS = ("# diffusers", "# MONAI", "# deepinv", "# SimpleITK")


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page):
    """Our own Python of a page, without that of peers."""
    found = re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [code for code in found if not code.startswith(PEERS)]


def resolve(name):
    """What a dotted name stands for, a module or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_on_a_page_exists(page):
    for name in set(re.findall(r"`(jaxgen(?:\.\w+)+)`", text_of(page))):
        assert resolve(name) is not None


def test_a_stale_name_is_seen():
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        resolve("jaxgen.samplers.no_such_sampler")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_a_page_has_its_flags(page, capsys):
    for name, rest in re.findall(r"^jaxgen run (\w+)(.*?)(?:\s{2,}#.*)?$", text_of(page), re.MULTILINE):
        assert name in experiment.names()
        assert main(["run", name, "--help"]) == 0
        told = capsys.readouterr().out
        for flag in re.findall(r"--[\w-]+", rest.partition(" #")[0]):
            assert flag in told, f"jaxgen run {name} {flag}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page):
    names = {}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), names)


def test_there_are_scripts_enough():
    assert len(SCRIPTS) >= 12


@pytest.mark.slow
def test_the_pages_build_without_a_broken_link(tmp_path):
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed)
    command = [sys.executable, str(SITE / "build.py"), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = ["index", "algebra", "gallery/index", "names/jaxgen.losses", "names/jaxgen.medical.registration"]
    for page in [*pages, *(f"gallery/{script.stem}" for script in SCRIPTS)]:
        assert (tmp_path / "site" / f"{page}.html").is_file()
    assert {path.stem for path in (tmp_path / "site").rglob("*.png")} >= {script.stem for script in SCRIPTS}
