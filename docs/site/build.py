"""Build the documentation as web pages: ``python docs/site/build.py [OUT]`` (extra ``docs``).

The pages are those of this folder, the pages of ``docs``, a gallery whose scripts are executed, and the public names of
every module. A link that leads nowhere is an error.
"""

import ast
import importlib.util
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

SITE = Path(__file__).resolve().parent
DOCS = SITE.parent
GALLERY = DOCS / "gallery"
PAGES = ("DATA", "PRIVACY", "CONTRIBUTING", "CHANGELOG", "losses")


def gallery(folder: Path) -> None:
    """Execute every script and write its page: what it says, its picture, its code."""
    folder.mkdir()
    entries = []
    for script in sorted(GALLERY.glob("*.py")):
        text = script.read_text(encoding="utf-8")
        title, _, told = (ast.get_docstring(ast.parse(text)) or "").partition("\n")
        code = text.split('"""', 2)[2].strip()
        found = runpy.run_path(str(script))["figure"]
        found.figure.savefig(folder / f"{script.stem}.png", dpi=110, bbox_inches="tight")
        picture = f"![{found.caption}]({script.stem}.png)\n\n*{found.caption}*"
        parts = [f"# {title.rstrip('.')}", told.strip(), picture, f"```python\n{code}\n```"]
        (folder / f"{script.stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        entries.append(f"{script.stem}")
    lines = ["# Gallery", "Short scripts, each executed when these pages are built.", "```{toctree}\n:maxdepth: 1\n"]
    lines[-1] += "\n".join(entries) + "\n```"
    (folder / "index.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def names(folder: Path) -> None:
    """A page of each package, with the public names of its modules from their docstrings."""
    folder.mkdir()
    pages: dict[str, list[str]] = {}
    for name, module in _functions().modules():
        if any(_functions().names(module)):
            pages.setdefault(_package(name), []).append(name)
    for package, modules in pages.items():
        parts = [f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n" for name in modules]
        (folder / f"{package}.md").write_text(f"# `{package}`\n\n" + "\n".join(parts), encoding="utf-8")
    listed = "\n".join(pages)
    page = f"# Public names\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    (folder / "index.md").write_text(page, encoding="utf-8")


def _package(module: str) -> str:
    """The page that a module is on: its package, or of single modules their own; `jaxgen.medical` has several."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1] in ("medical", "tasks") else 2])


def _functions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_functions", DOCS / "functions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(out: Path) -> int:
    """Write the pages into a folder; the exit status of Sphinx."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source"
        shutil.copytree(SITE, source, ignore=shutil.ignore_patterns("build.py", "__pycache__"))
        for name in PAGES:
            shutil.copy(DOCS / f"{name}.md", source / f"{name}.md")
        gallery(source / "gallery")
        names(source / "names")
        options = ["-W", "--keep-going", "-q", "-j", "auto", "-d", f"{work}/doctrees"]
        return subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(out)], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(build(Path(sys.argv[1] if len(sys.argv) > 1 else "build/site")))
