"""Damaged run folders: JSON of any shape, and checkpoints with changed bytes."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np

from jaxgen.app import cli, opening
from tests.fuzz.damage import damage

_JSON = (
    "config.json",
    "constants.json",
    "chosen.json",
    "data.json",
    "metrics.json",
    "timings.json",
    "environment.json",
)
_ATOMS = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "a",
    "..",
    "/etc/passwd",
    "\u202e",
    "\x1b[2J",
    [],
    {},
)


def make(folder: Path) -> Path:
    """A small trained run."""
    if cli.main(["run", "two_moons", "--preset", "smoke", "--quiet", "--workdir", str(folder)]):
        raise RuntimeError("the run that is to be damaged failed")
    return folder


def damage_json(rng: np.random.Generator, run: Path, copy: Path) -> str:
    """A copy of a run with one JSON file changed: its bytes, an entry, its nesting, or all of it."""
    shutil.copytree(run, copy, symlinks=True)
    names = [name for name in (*_JSON, "figures/captions.json") if (copy / name).is_file()]
    path = copy / names[int(rng.integers(len(names)))]
    content = path.read_text()
    way = int(rng.integers(4))
    if way == 0:
        path.write_bytes(damage(rng, content.encode()))
    elif way == 1:
        value = json.loads(content)
        _make_odd(rng, value)
        path.write_text(json.dumps(value))
    elif way == 2:
        depth = int(rng.integers(10, 200_000))
        path.write_text("[" * depth + ("]" * depth if rng.random() < 0.5 else ""))
    else:
        path.write_text(json.dumps(_ATOMS[int(rng.integers(len(_ATOMS)))]))
    return f"{path.name}, way {way}"


def _make_odd(rng: np.random.Generator, value: object) -> None:
    """Replace one entry, however deep."""
    while isinstance(value, dict | list) and value:
        inner = list(value) if isinstance(value, dict) else list(range(len(value)))
        at = inner[int(rng.integers(len(inner)))]
        if rng.random() < 0.4 or not (isinstance(value[at], dict | list) and value[at]):
            value[at] = _ATOMS[int(rng.integers(len(_ATOMS)))]
            return
        value = value[at]


def damage_checkpoint(rng: np.random.Generator, run: Path, copy: Path) -> str:
    """A copy of a run with one file of its checkpoints changed."""
    shutil.copytree(run, copy, symlinks=True)
    files = sorted(path for path in (copy / "checkpoints").rglob("*") if path.is_file())
    path = files[int(rng.integers(len(files)))]
    content = path.read_bytes()
    changed = damage(rng, content)
    path.write_bytes(changed)
    return str(path.relative_to(copy)) + ("" if changed != content else ", unchanged")


def params(run: Path) -> list[np.ndarray]:
    """The trained parameters, through the door that `sample`, `eval` and `apply` use."""
    trained = opening.open_trained(run).run.params
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trained)]
