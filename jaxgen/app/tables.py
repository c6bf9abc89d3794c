"""Metrics as tables: methods and metrics in their order, which is better, and the table for a terminal."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxgen.app.charts import column, number

_LOWER_IS_BETTER = (
    "loss", "error", "distance", "hausdorff", "surface", "energy", "ged", "ece", "brier", "calibration", "nll",
    "mse", "mae", "rmse", "bits", "fid", "lpips",
)  # fmt: skip


REFERENCES = ("held-out images", "degraded image", "training points", "truth", "the truth")
"""Rows that are no methods, but what methods are compared with: never the best."""

MOST_COLUMNS = 6
"""With more methods than this a table has one row a method, else one column."""


def table(
    metrics: Mapping[str, Any],
    describe: Mapping[str, Any] | None = None,
    baseline: str = "",
    width: int | None = None,
) -> str:
    """The metrics as a table for the terminal, the best method of each marked with a star; many methods are rows.

    Rows of real data (`REFERENCES`) are no methods and get no star.

    A table that is wider than the terminal is cut into several, each with its first column.

    Args:
        metrics: ``{method: {metric: number}}``, with plain numbers as facts.
        describe: how to show each metric, as saved with the figures.
        baseline: the method to put last.
        width: characters in a line; None for those of the terminal, 100 where there is none.

    Returns:
        Lines of text.

    Example:
        >>> print(table({"flow": {"dice": 0.9}, "unet": {"dice": 0.88}}, baseline="unet"))
        metric    flow   unet (baseline)
        Dice    0.9000*           0.8800
        * the best method by this metric
    """
    methods, facts = methods_of(metrics, baseline)
    rows = [["metric", *(f"{name} (baseline)" if name == baseline else name for name in methods)]]
    for name in metric_names(methods):
        values = [methods[method].get(name) for method in methods]
        best = best_of(name, values, describe or {}, methods_among(methods))
        rows.append(
            [label_of(name, describe or {}), *(v + ("*" if i in best else "") for i, v in enumerate(column(values)))]
        )
    star = any(cell.endswith("*") for row in rows for cell in row)
    if star:  # so that digits stay in line whether marked or not
        rows = [[row[0], *(c if c.endswith("*") else c + " " for c in row[1:])] for row in rows]
    if len(methods) > MOST_COLUMNS:
        rows[0] = ["method", *(name.strip() for name in rows[0][1:])]
        rows = [list(column) for column in zip(*rows, strict=True)]
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = _fitted(rows, width) if methods else []
    if star:
        lines.append("* the best method by this metric")
    said = (f"{label_of(name, describe or {})}: {number(value)}" for name, value in facts.items())
    return "\n".join([*lines, *(part for line in said for part in _folded(line, width, ""))])


def _fitted(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines of a table; as many tables below each other as the width asks for."""
    first = max(len(row[0]) for row in rows)
    widths = [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]))]
    blocks: list[list[int]] = []
    for i, own in enumerate(widths):
        used = first + sum(2 + widths[j] for j in blocks[-1]) if blocks else width
        if used + 2 + own > width:
            blocks.append([])
        blocks[-1].append(i)
    if any(first + 2 + own > width for own in widths):  # not even two columns fit: a value a line
        names = [name.strip() for name in rows[0][1:]]
        return [
            line
            for row in rows[1:]
            for line in (
                *_folded(row[0], width, ""),
                *(
                    part
                    for n, cell in zip(names, row[1:], strict=True)
                    for part in _folded(f"{n}: {cell}", width, "  ")
                ),
            )
        ]
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        for row in rows:
            lines.append("  ".join([row[0].ljust(first), *(row[i + 1].rjust(widths[i]) for i in block)]).rstrip())
    return lines


def _folded(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text.strip(), max(width, 10), initial_indent=indent, subsequent_indent=indent + "  ")


def ordered(metrics: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics in the order in which the experiment gave them, which a JSON file with sorted keys does not keep.

    Args:
        metrics: ``{method: {metric: number}}``.
        order: the lists ``methods`` and ``metrics`` of names; names not in them come last.

    Returns:
        The same metrics.

    Example:
        >>> ordered({"a": {"x": 1, "y": 2}, "b": {}}, {"methods": ["b", "a"], "metrics": ["y", "x"]})
        {'b': {}, 'a': {'y': 2, 'x': 1}}
    """

    def arrange(entries: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        first = [name for name in names if name in entries]
        return {name: entries[name] for name in [*first, *(name for name in entries if name not in first)]}

    inner = order.get("metrics", [])
    return {
        name: arrange(entry, inner) if isinstance(entry, Mapping) else entry
        for name, entry in arrange(metrics, order.get("methods", [])).items()
    }


def methods_of(metrics: Mapping[str, Any], baseline: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The metrics of each method, flattened, the baseline last; and the numbers of the whole evaluation."""
    methods = {name: flat(value) for name, value in metrics.items() if isinstance(value, Mapping)}
    if baseline in methods:
        methods[baseline] = methods.pop(baseline)
    return methods, {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}


def flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested entries with names like ``a.b``; a list becomes one text."""
    found: dict[str, Any] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            found |= flat(entry, f"{before}{name}.")
        elif isinstance(entry, list):
            found[before + name] = ", ".join(map(number, entry)) if len(entry) <= 4 else f"{len(entry)} values"
        else:
            found[before + name] = entry
    return found


def metric_names(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of all metrics, in order."""
    return list(dict.fromkeys(name for values in methods.values() for name in values))


def label_of(name: str, describe: Mapping[str, Any]) -> str:
    """How a metric is called in a table."""
    label = describe.get(name, {}).get("label")
    return str(label) if label else name[:1].upper() + name[1:].replace("_", " ")


def direction_of(name: str, describe: Mapping[str, Any]) -> str:
    """Which direction of a metric is better: what the experiment says of it, else by its name."""
    if name in describe:
        return str(describe[name].get("better", ""))
    words = re.split(r"[^a-z]+", name.lower())
    return "lower" if any(word in _LOWER_IS_BETTER for word in words) else "higher"


def methods_among(names: Iterable[str]) -> list[list[int]]:
    """The positions of the rows that are methods, as the one group that `best_of` compares.

    Example:
        >>> methods_among(["flow", "held-out images", "gaussian"])
        [[0, 2]]
    """
    return [[i for i, name in enumerate(names) if name not in REFERENCES]]


def best_of(
    name: str, values: Sequence[Any], describe: Mapping[str, Any], alike: Iterable[Sequence[int]] | None = None
) -> set[int]:
    """The positions of the best value, equal ones all; none if nothing is compared.

    `alike` holds groups of positions that may be compared with each other; None compares all.
    """
    if alike is not None:
        return {group[i] for group in alike for i in best_of(name, [values[j] for j in group], describe)}
    numbers = {i: v for i, v in enumerate(values) if isinstance(v, int | float) and not isinstance(v, bool)}
    direction = direction_of(name, describe)
    if len(numbers) < 2 or direction not in ("higher", "lower") or len(set(numbers.values())) == 1:
        return set()
    best = (max if direction == "higher" else min)(numbers.values())
    return {i for i, v in numbers.items() if v == best}
