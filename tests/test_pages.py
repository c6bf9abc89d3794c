"""What stands in the README and on the pages of `docs/` works as it stands there."""

import re
from pathlib import Path

import pytest

from jaxgen.app.cli import main
from jaxgen.experiment import names

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments" / "README.md"]
    if not page.with_suffix(".py").is_file()  # made from docstrings, whose examples are run as doctests
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page, kind):
    """The blocks of a kind with the number of their first line; ``python experiment`` is a kind of its own."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text[: found.start(1)].count("\n") + 1, found[1]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_on_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    """A block may use what a block before it on the page has defined, and nothing else."""
    monkeypatch.chdir(tmp_path)
    defined = {"__name__": "page"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), defined)


def test_the_readme_has_python():
    assert len(list(blocks(ROOT / "README.md", "python"))) >= 2


def commands():
    """Every ``jaxgen ...`` of the pages' shell blocks."""
    for page in PAGES:
        for first, text in blocks(page, "(?:bash|sh|console)?"):
            for number, line in enumerate(text.splitlines(), first):
                for said in re.findall(r"\bjaxgen ([a-z]+\b[^#&|]*)", line):
                    yield pytest.param(re.split(r"\s{3,}", said)[0], id=f"{page.name}:{number}")


@pytest.mark.parametrize("said", commands())
def test_a_command_on_a_page_is_one_with_these_flags(said, capsys):
    """Of a run it is the experiment that has the flags; where it has a stand-in for a name, `flow_sdf` has them."""
    command, *words = said.split()
    name = words[0].strip("[]") if words else ""
    assert command != "run" or name in names() or name.isupper() or "/" in name or name.endswith(".py"), said
    experiment = [name if name in names() else "flow_sdf"] if command == "run" else []
    assert main([command, *experiment, "--help"]) == 0
    known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) | {"--help"}
    assert set(re.findall(r"--[a-z][\w-]*", said)) <= known
