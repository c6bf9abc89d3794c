"""``jaxgen report --markdown``: the results of runs as tables for a document, with where they come from."""

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from jaxgen import local_paths
from jaxgen.app import runs
from jaxgen.app.charts import number
from jaxgen.app.recorded import Recorded
from jaxgen.app.tables import direction_of, label_of, methods_of, metric_names
from jaxgen.errors import UserError, printable

_ARROWS = {"higher": " ↑", "lower": " ↓"}


def tables(folders: Sequence[runs.RunFolder]) -> str:
    """The metrics of runs as Markdown: a table for each configuration, methods as rows, metrics as columns.

    Runs that differ in nothing but their seeds share a table: the mean over the seeds, and the range in brackets.

    Args:
        folders: finished runs.

    Returns:
        The text.

    Raises:
        UserError: if a run is not finished, or a file of it is damaged.
    """
    groups: dict[str, list[Recorded]] = {}
    for folder in folders:
        run = Recorded(folder)
        if not run.metrics:
            raise UserError(f"{folder.path}: it has no results yet; go on with it by `jaxgen run {folder.path}`")
        groups.setdefault(_apart_from_the_seed(run), []).append(run)
    return "\n\n".join(map(_of_group, groups.values()))


def _apart_from_the_seed(run: Recorded) -> str:
    """What runs must share to be repetitions of each other."""
    config = {name: value for name, value in run.about.get("config", {}).items() if name != "seed"}
    data = {name: run.data.get(name) for name in ("name", "train", "validation", "test")}
    return json.dumps([run.name, run.about.get("preset"), config, data], sort_keys=True)


def _of_group(found: Sequence[Recorded]) -> str:
    methods, facts = zip(*(methods_of(run.metrics, run.baseline) for run in found), strict=True)
    names = list(dict.fromkeys(name for one in methods for name in metric_names(one)))
    describe, baseline = found[0].describe, found[0].baseline
    parts = []
    if names:
        heads = [
            "method",
            *(label_of(name, describe) + _ARROWS.get(direction_of(name, describe), "") for name in names),
        ]
        rows = [
            [
                method.replace("_", " ") + " (baseline)" * (method == baseline),
                *(_cell([one.get(method, {}).get(name) for one in methods]) for name in names),
            ]
            for method in dict.fromkeys(name for one in methods for name in one)
        ]
        parts.append("\n".join([_row(heads), "|---" * len(heads) + "|", *map(_row, rows)]))
    single = [
        f"{label_of(name, describe)}: {_cell([one.get(name) for one in facts])}"
        for name in dict.fromkeys(name for one in facts for name in one)
    ]
    if single:
        parts.append(_text("; ".join(single)) + ".")
    return "\n\n".join([*parts, _source(found)])


def _cell(values: Sequence[Any]) -> str:
    """A value; of several seeds their mean with the range, and how many have one if some have none."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) == 1 or not numbers:
        return number(next((value for value in values if value is not None), None))
    mean = number(float(sum(numbers)) / len(numbers))
    missing = f", {len(numbers)} of {len(values)} seeds" if len(numbers) < len(values) else ""
    return f"{mean} ({number(min(numbers))} to {number(max(numbers))}{missing})"


def _source(found: Sequence[Recorded]) -> str:
    """The command, the preset, the data, the dates and the commits, in one line."""
    about, data = found[0].about, found[0].data
    command = local_paths.command_without_paths(str(about.get("command") or f"jaxgen run {found[0].name}"))
    seeds = [run.about.get("config", {}).get("seed", 0) for run in found]
    said = f"`{_text(command if len(found) == 1 else _without_seed(command))}`"
    if len(found) > 1:
        said += f": mean (range) over {len(found)} seeds, {', '.join(map(str, seeds))}"
    sizes = {"train": "to train", "validation": "to validate", "test": "to test"}
    counts = ", ".join(
        f"{number(data[name])} {words}" for name, words in sizes.items() if isinstance(data.get(name), int)
    )
    entries = [
        said,
        f"preset `{about.get('preset', '')}`",
        f"data {_text(data.get('name', ''))}" + (f" ({counts})" if counts else ""),
        *_unique(str(run.environment.get("started", "")).split(" ")[0] for run in found),
        *(f"commit {commit}" for commit in _unique(run.environment.get("commit") for run in found)),
    ]
    smoke = " This preset only shows that the parts work." if found[0].smoke else ""
    return "; ".join(entries) + "." + smoke


def _without_seed(command: str) -> str:
    words = shlex.split(command)
    kept = [word for word, before in zip(words, ["", *words], strict=False) if "--seed" not in (word, before)]
    return shlex.join(kept)


def _unique(values: Iterable[Any]) -> list[str]:
    return [_text(value) for value in dict.fromkeys(values) if value]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_text, cells)) + " |"


def _text(value: Any) -> str:
    """A text on one line, without paths of this machine, that ends no cell and no code."""
    text = printable(" ".join(local_paths.without_paths(str(value)).split()))
    return text.replace("|", "\\|").replace("`", "'")
