"""The page of a run, and the page that compares several: one self-contained HTML file each.

Everything is read from the run folder, so a page can be rebuilt at any time, of an unfinished run too.
"""

import base64
import datetime
import html
import importlib.resources
import json
import os
import re
import shlex
import shutil
import stat
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen import local_paths
from jaxgen.app import runs
from jaxgen.app.charts import line_chart, number
from jaxgen.errors import printable

_LOWER_IS_BETTER = (
    "loss", "error", "distance", "hausdorff", "surface", "energy", "ged", "ece", "brier", "calibration", "nll",
    "mse", "mae", "rmse", "bits", "fid", "lpips",
)  # fmt: skip
_NOT_CURVES = {"stage", "step", "time", "examples", "images", "epoch"}


def write(folder: runs.RunFolder, *, images: bool = True) -> Path:
    """Build the page of a run and write ``report.html``.

    Args:
        folder: the run folder.
        images: put the figures in.

    Returns:
        The path of the page.

    Raises:
        UserError: if a file of the run is damaged.
    """
    runs.write_text(folder.report, page(folder, images=images))
    return folder.report


def page(folder: runs.RunFolder, *, images: bool = True) -> str:
    """The page of one run as HTML, with nothing outside it: images are inside, there are no scripts.

    It names no path of this machine: of a path its last part is left.

    Args:
        folder: the run folder; what is not there yet is left out.
        images: put the figures in; they may show patients.

    Returns:
        The text of the file.

    Raises:
        UserError: if a file of the run is damaged.
    """
    run = _Run(folder)
    config, data, device = run.about.get("config", {}), run.data, run.environment.get("device", "")
    chips = {
        "preset": run.about.get("preset", ""),
        "data": data.get("name") or config.get("data") or "",
        "examples": _examples(data),
        "device": device,
        "time": _duration(run.timings.get("total_seconds")),
        "started": run.environment.get("started", ""),
    }
    body = [
        f"<header><h1>{_e(run.name)}</h1><p class='soft'>{_e(run.about.get('summary', ''))}</p>"
        + (f"<p class='headline'>{_e(run.headline)}</p>" if run.headline else "")
        + _chips(chips)
        + "</header>",
        _smoke([run.name] if run.smoke else []),
        "" if images else _without_images(len(_entries(run))),
        _unfinished(run),
        _warnings(run),
        _section("Results", _metric_table(run)),
        _section("Figures", "".join(_figures(run)) if images else ""),
        _section("Training", _curves({run.name: run})),
        _section("Time", _timings(run.timings)),
        _section("Reproduce and use", _commands(run)),
        _section("Details", _details(run)),
    ]
    return _document(f"{run.name} · {folder.path.resolve().name}", body)


def compare(folders: Sequence[runs.RunFolder], *, images: bool = True) -> str:
    """A page that compares runs: what differs in their configurations, their metrics, curves and figures.

    The best value of a metric is marked only among runs on the same data.

    Args:
        folders: two run folders or more.
        images: put the figures in; they may show patients.

    Returns:
        The text of the file.
    """
    found = _named([_Run(folder) for folder in folders])
    body = [
        f"<header><h1>{len(found)} runs compared</h1>"
        + _chips({str(i + 1): name for i, name in enumerate(found)})
        + "</header>",
        _smoke([name for name, run in found.items() if run.smoke]),
        "" if images else _without_images(sum(len(_entries(run)) for run in found.values())),
        _section("Results", _comparison_table(found)),
        _section("What differs", _difference_table(found)),
        _section("Training", _curves(found)),
        _section("Figures", _figures_side_by_side(found) if images else ""),
        _section("Runs", "".join(_summary(name, run) for name, run in found.items())),
    ]
    return _document("Comparison · " + ", ".join(found), body)


MOST_COLUMNS = 6
"""With more methods than this a table has one row a method, else one column."""


def table(
    metrics: Mapping[str, Any],
    describe: Mapping[str, Any] | None = None,
    baseline: str = "",
    width: int | None = None,
) -> str:
    """The metrics as a table for the terminal, the best method of each marked with a star; many methods are rows.

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
    """
    methods, facts = _methods(metrics, baseline)
    rows = [["metric", *(f"{name} (baseline)" if name == baseline else name for name in methods)]]
    for name in _metric_names(methods):
        values = [methods[method].get(name) for method in methods]
        best = _best(name, values, describe or {})
        rows.append(
            [_label(name, describe or {}), *(number(v) + ("*" if i in best else "") for i, v in enumerate(values))]
        )
    star = any(cell.endswith("*") for row in rows for cell in row)
    if star:  # so that digits stay in line whether marked or not
        rows = [[row[0], *(c if c.endswith("*") else c + " " for c in row[1:])] for row in rows]
    if len(methods) > MOST_COLUMNS:
        rows[0] = ["method", *(name.strip() for name in rows[0][1:])]
        rows = [list(column) for column in zip(*rows, strict=True)]
    width = width or shutil.get_terminal_size((100, 24)).columns
    lines = _fitted(rows, width) if methods else []
    said = (f"{_label(name, describe or {})}: {number(value)}" for name, value in facts.items())
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


class _Run:
    """What a run folder says, read once."""

    def __init__(self, folder: runs.RunFolder):
        self.folder = folder
        self.about: dict[str, Any] = runs.read_object(folder.config, runs.CONFIG)
        self.name: str = self.about.get("experiment", folder.path.name)
        self.data: dict[str, Any] = runs.read_object(folder.data, default={})
        self.environment: dict[str, Any] = runs.read_object(folder.environment, default={})
        for entries, name, short in (
            (self.data, "origin", local_paths.origin),
            (self.environment, "command_line", local_paths.command_without_paths),
        ):  # of runs before these were saved without paths
            if isinstance(entries.get(name), str):
                entries[name] = short(entries[name])
        self.timings: dict[str, Any] = runs.read_object(folder.timings, runs.TIMINGS, default={})
        self.captions: dict[str, Any] = runs.read_object(folder.captions, runs.CAPTIONS, default={})
        self.metrics = ordered(runs.read_object(folder.metrics, default={}), self.captions.get("order", {}))
        self.log = runs.read_log(folder.log)
        self.headline: str = self.captions.get("headline", "")
        self.describe: dict[str, Any] = self.captions.get("describe", {})
        self.baseline: str = self.about.get("baseline", "")

    @property
    def smoke(self) -> bool:
        """Whether it only shows that the parts work."""
        return self.about.get("preset") == "smoke"

    @property
    def trust(self) -> str:
        """What its commands need beside the path of the run."""
        return " --trust-code" if self.about.get("source") else ""


def _e(value: Any) -> str:
    """A text for the page: escaped, without paths of this machine and without characters that hide others."""
    lines = local_paths.without_paths(str(value)).split("\n")
    return html.escape("\n".join(map(printable, lines)))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_e(title)}</h2>{content}</section>" if content else ""


def _style() -> str:
    return importlib.resources.files("jaxgen.app").joinpath("report.css").read_text(encoding="utf-8")


def _document(title: str, body: Iterable[str]) -> str:
    from jaxgen import __version__

    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    header, *parts = body
    parts = [header, _with_images(sum(part.count("<img ") for part in parts)), *parts]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='generator' content='jaxgen report'><link rel='icon' href='data:,'>"
        f"<title>{_e(title)}</title><style>{_style()}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>Made by jaxgen {_e(__version__)} on {stamp}.</footer></main></body></html>\n"
    )


def _chips(entries: Mapping[str, Any]) -> str:
    items = "".join(f"<li><b>{_e(key)}</b>{_e(value)}</li>" for key, value in entries.items() if value)
    return f"<ul class='chips'>{items}</ul>"


def _smoke(names: Sequence[str]) -> str:
    """What to know of runs that train for seconds."""
    if not names:
        return ""
    which = "This run has" if len(names) == 1 else "These runs have"
    return (
        f"<div class='warn'><b>{_e(', '.join(names))}: this only shows that the parts work.</b> {which} the preset "
        "<code>smoke</code>, which trains for seconds: its numbers and images say nothing of the method.</div>"
    )


def _with_images(count: int) -> str:
    """What to know of a page that shows images of the data."""
    if not count:
        return ""
    figures = f"{count} figure{'s' * (count > 1)}"
    return (
        f"<div class='warn'><b>This page shows images of the data</b> ({figures}), of patients if the data are of "
        "patients. To make a page without them, to send around: <code>jaxgen report RUN --no-images</code></div>"
    )


def _without_images(count: int) -> str:
    figures = f"{count} figure{'s were' if count > 1 else ' was'}"
    return f"<p class='soft'>{figures} left out of this page (--no-images).</p>" if count else ""


def _unfinished(run: _Run) -> str:
    if run.metrics:
        return ""
    last = run.log[-1] if run.log else {}
    where = f" It is at step {_e(number(last.get('step')))} of stage {_e(last.get('stage', ''))}." if last else ""
    return f"<div class='warn'><b>This run is not finished.</b>{where} Go on with<pre>{_e(_resume(run))}</pre></div>"


def _warnings(run: _Run) -> str:
    """What training warned of, such as a discriminator that wins."""
    found = [
        f"<div class='warn'><b>Stage {_e(row.get('stage', ''))}, step {_e(number(row.get('step')))}:</b> "
        f"{_e(row['warning'])}</div>"
        for row in run.log
        if "warning" in row
    ]
    return "".join(found)


def _resume(run: _Run) -> str:
    return f"jaxgen run {runs.argument(Path(local_paths.place(run.folder.path)))}{run.trust}"


def _place(run: _Run) -> str:
    return shlex.quote(local_paths.place(run.folder.path))


def _examples(data: Mapping[str, Any]) -> str:
    parts = [f"{number(data[name])} {word}" for name, word in _SPLITS.items() if isinstance(data.get(name), int)]
    return ", ".join(parts)


_SPLITS = {"train": "to train", "validation": "to validate", "test": "to test"}


def _methods(metrics: Mapping[str, Any], baseline: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The metrics of each method, flattened, the baseline last; and the facts beside them."""
    methods = {name: _flat(value) for name, value in metrics.items() if isinstance(value, Mapping)}
    if baseline in methods:
        methods[baseline] = methods.pop(baseline)
    return methods, {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            flat |= _flat(entry, f"{before}{name}.")
        elif isinstance(entry, list):
            flat[before + name] = ", ".join(map(number, entry)) if len(entry) <= 4 else f"{len(entry)} values"
        else:
            flat[before + name] = entry
    return flat


def _metric_names(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for values in methods.values() for name in values))


def _label(name: str, describe: Mapping[str, Any]) -> str:
    label = describe.get(name, {}).get("label")
    return str(label) if label else name[:1].upper() + name[1:].replace("_", " ")


def _direction(name: str, describe: Mapping[str, Any]) -> str:
    if name in describe:
        return str(describe[name].get("better", ""))
    words = re.split(r"[^a-z]+", name.lower())
    return "lower" if any(word in _LOWER_IS_BETTER for word in words) else "higher"


def _best(
    name: str, values: Sequence[Any], describe: Mapping[str, Any], alike: Iterable[Sequence[int]] | None = None
) -> set[int]:
    """The positions of the best value, equal ones all; none if nothing is compared.

    `alike` holds groups of positions that may be compared with each other; None compares all.
    """
    if alike is not None:
        return {group[i] for group in alike for i in _best(name, [values[j] for j in group], describe)}
    numbers = {i: v for i, v in enumerate(values) if isinstance(v, int | float) and not isinstance(v, bool)}
    direction = _direction(name, describe)
    if len(numbers) < 2 or direction not in ("higher", "lower") or len(set(numbers.values())) == 1:
        return set()
    best = (max if direction == "higher" else min)(numbers.values())
    return {i for i, v in numbers.items() if v == best}


def _metric_table(run: _Run) -> str:
    methods, facts = _methods(run.metrics, run.baseline)
    content = ""
    if methods:
        heads = [
            f"{_e(name.replace('_', ' '))}{'<small>baseline</small>' * (name == run.baseline)}" for name in methods
        ]
        names = _metric_names(methods)
        cells = [_metric_cells(name, [methods[m].get(name) for m in methods], run.describe) for name in names]
        labels = [_metric_head(name, run.describe) for name in names]
        if len(methods) > MOST_COLUMNS:
            corner, heads, labels = "Method", labels, heads
            cells = [list(row) for row in zip(*cells, strict=True)]
        else:
            corner = "Metric"
        content = _wide(corner, heads, list(zip(labels, cells, strict=True)))
    if facts:
        content += _pairs({_label(name, run.describe): number(value) for name, value in facts.items()})
    return content


def _wide(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table with a column a head; on a phone each row becomes a list of its cells with their heads before them."""
    short = [re.sub("<small>.*?</small>", "", head, flags=re.DOTALL) for head in heads]
    body = []
    for label, cells in rows:
        if not cells:
            body.append(f"<tr><th scope='rowgroup' colspan='{len(heads) + 1}'><b>{label}</b></th></tr>")
            continue
        named = (
            f"<td class='of' aria-hidden='true'>{head}</td>{cell}" for head, cell in zip(short, cells, strict=True)
        )
        body.append(f"<tr><th scope='row'>{label}</th>{''.join(named)}</tr>")
    columns = "".join(f"<th scope='col'>{head}</th>" for head in heads)
    return (
        f"<div class='scroll'><table class='wide'><thead><tr><th scope='col'>{corner}</th>{columns}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _metric_head(name: str, describe: Mapping[str, Any]) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(_direction(name, describe), "")
    text = str(describe.get(name, {}).get("help", ""))
    note = f"<small>{_e(text)}</small>" if text else ""
    return f"{_e(_label(name, describe))}<span class='soft'>{arrow}</span>{note}"


def _metric_cells(
    name: str, values: Sequence[Any], describe: Mapping[str, Any], alike: Iterable[Sequence[int]] | None = None
) -> list[str]:
    best = _best(name, values, describe, alike)
    return [
        f"<td class='best'><span>{_e(number(v))}</span></td>" if i in best else f"<td>{_e(number(v))}</td>"
        for i, v in enumerate(values)
    ]


def _pairs(entries: Mapping[str, Any], changed: Iterable[str] = ()) -> str:
    changed = set(changed)
    rows = "".join(
        f"<tr><th scope='row'>{_e(key)}</th><td{' class=changed' if key in changed else ''}>{_e(value)}</td></tr>"
        for key, value in entries.items()
    )
    return f"<table class='pairs'><tbody>{rows}</tbody></table>" if rows else ""


MOST_FIGURE = 64 * 2**20
"""Bytes of a figure at most."""


def _entries(run: _Run) -> list[dict[str, Any]]:
    return run.captions.get("figures", [])


def _figure(run: _Run, name: Any) -> Path | str:
    """The file of a figure in the run folder, or why there is none to show."""
    if not isinstance(name, str) or not runs.is_plain_name(name):
        return f"{name!r} is left out: it is no name of a figure of this run."
    path = run.folder.figures / f"{name}.png"
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return f"{path.name} is missing."
    if not stat.S_ISREG(found.st_mode):
        return f"{path.name} is left out: it is a link, or no file, and not a figure of this run."
    if found.st_size > MOST_FIGURE:
        return f"{path.name} is left out: it is larger than {MOST_FIGURE >> 20} MiB."
    return path


def _image(path: Path | str, alt: str) -> str:
    if isinstance(path, str):
        return f"<p class='soft'>{_e(path)}</p>"
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        return f"<p class='soft'>{_e(path.name)} cannot be read ({_e(runs.explain(error))}).</p>"
    return (
        "<label><input type='checkbox' aria-label='full size'>"
        f"<img alt='{_e(alt)}' src='data:image/png;base64,{content}'></label>"
    )


def _figures(run: _Run) -> list[str]:
    found = []
    for entry in _entries(run):
        name, caption = str(entry.get("name", "")), str(entry.get("caption", ""))
        image = _image(_figure(run, entry.get("name", "")), caption)
        title = name.replace("_", " ").capitalize()
        found.append(f"<figure>{image}<figcaption><b>{_e(title)}.</b> {_e(caption)}</figcaption></figure>")
    return found


def _curves(found: Mapping[str, _Run]) -> str:
    """Small charts, one a quantity and stage; several runs share a chart."""
    series: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for name, run in found.items():
        for row in run.log:
            for key, value in row.items():
                if key in _NOT_CURVES or isinstance(value, bool) or not isinstance(value, int | float):
                    continue
                points = series.setdefault((str(row.get("stage", "")), key), {}).setdefault(name, [])
                points.append((float(row.get("step", len(points))), float(value)))
    order = sorted(series, key=lambda pair: (pair[1] != "loss", not pair[1].startswith("loss")))
    charts = []
    for stage, key in order:
        title = f"{stage}: {key}".replace("_", " ").removeprefix(": ")
        if chart := line_chart(series[stage, key], f"{title} by training step"):
            charts.append(f"<div><h3>{_e(title)}</h3>{chart}</div>")
    first, rest = charts[:6], charts[6:]
    content = f"<div class='charts'>{''.join(first)}</div>" if first else ""
    if rest:
        content += f"<details><summary>{len(rest)} more</summary><div class='charts'>{''.join(rest)}</div></details>"
    return content


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _timings(timings: Mapping[str, Any]) -> str:
    def shown(key: str, value: Any) -> str:
        return _duration(value) if key.endswith("_seconds") else number(value)

    def title(key: str) -> str:
        return _e(key.removesuffix("_seconds").replace("_", " ").capitalize())

    def table_of(name: str, entries: Mapping[str, Any], head_of: Callable[[str], str]) -> str:
        columns = list(dict.fromkeys(key for times in entries.values() for key in times))
        if not columns:
            return ""
        rows = [
            (_e(row), [f"<td>{_e(shown(key, times.get(key)))}</td>" for key in columns])
            for row, times in entries.items()
        ]
        return _wide(name, [head_of(key) for key in columns], rows)

    content = table_of("Stage", timings.get("stages", {}), title)
    content += table_of("Measured", timings.get("measured", {}), _e)
    rest = {title(key): shown(key, value) for key, value in timings.items() if not isinstance(value, Mapping)}
    return content + _pairs(rest)


def _commands(run: _Run) -> str:
    place = _place(run)
    again = local_paths.command_without_paths(run.about.get("command") or f"jaxgen run {run.name}")
    lines = {"Train it again from nothing": again}
    if run.metrics and run.about.get("applies", True):
        lines["Use it on new images"] = f"jaxgen apply {place} IMAGES --out results{run.trust}"
        lines["Evaluate it on other data"] = f"jaxgen eval {place} --data FOLDER{run.trust}"
    elif run.metrics:
        lines["Draw samples"] = f"jaxgen sample {place}{run.trust}"
    else:
        lines["Go on"] = _resume(run)
    return "".join(f"<p class='sub'>{_e(text)}</p><pre>{_e(line)}</pre>" for text, line in lines.items())


def _details(run: _Run) -> str:
    config = {key.replace("_", " "): _value(value) for key, value in run.about.get("config", {}).items()}
    changed = [key.replace("_", " ") for key in run.about.get("changed", [])]
    groups = {
        "Configuration": _pairs(config, changed),
        "Data": _pairs({key: _value(value) for key, value in run.data.items() if key != "test_patients"}),
        "Environment": _pairs({key: _value(value) for key, value in _flat(run.environment).items()}),
    }
    return "".join(
        f"<details><summary>{_e(title)}</summary>{content}</details>" for title, content in groups.items() if content
    )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else "–"


def _named(found: Sequence[_Run]) -> dict[str, _Run]:
    """The runs by the shortest names that tell them apart, without what is outside the folder they share."""
    places = [run.folder.path.resolve() for run in found]
    shared = Path(os.path.commonpath([place.parent for place in places]))
    inside = [place.relative_to(shared).parts for place in places]
    private = {Path.home().name}
    for depth in range(1, max(map(len, inside)) + 1):
        names = ["/".join(part[-depth:]) for part in inside]
        if len(set(names)) == len(names) and not any(private & set(part[-depth:-1]) for part in inside):
            return dict(zip(names, found, strict=True))
    return {f"{place.name} ({i})": run for i, (place, run) in enumerate(zip(places, found, strict=True), 1)}


def _same_data(found: Iterable[_Run]) -> list[list[int]]:
    """The positions of the runs on the same data, group by group; runs that do not say theirs stand alone."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(found):
        config = run.about.get("config", {})
        chosen = {name: config.get(name) for name in ("data", "slices", "foreground")}
        about = {
            name: run.data.get(name) for name in ("name", "origin", "train", "validation", "test", "names", "content")
        }
        key = json.dumps([about, chosen], sort_keys=True) if run.data else f"run {i}"
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _comparison_table(found: Mapping[str, _Run]) -> str:
    values: dict[tuple[str, str], list[Any]] = {}
    describe: dict[str, Any] = {}
    for index, run in enumerate(found.values()):
        describe |= run.describe
        methods, facts = _methods(run.metrics, run.baseline)
        for method, entries in {**methods, "": facts}.items():
            for name, value in entries.items():
                values.setdefault((method, name), [None] * len(found))[index] = value
    if not values:
        return ""
    alike = _same_data(found.values())
    rows: list[tuple[str, Sequence[str]]] = []
    before = None
    for (method, name), row in values.items():
        if method != before and method:
            rows.append((_e(method), []))
        before = method
        rows.append((_metric_head(name, describe), _metric_cells(name, row, describe, alike)))
    return _about_groups(list(found), alike) + _wide("Metric", [_e(name) for name in found], rows)


def _about_groups(names: Sequence[str], alike: Sequence[Sequence[int]]) -> str:
    if len(alike) == 1:
        return ""
    said = "; ".join(", ".join(names[i] for i in group) for group in alike)
    return (
        "<p class='soft'>These runs are not all on the same data, and only runs on the same data can be compared: "
        f"a best value is marked among those. On the same data each: {_e(said)}.</p>"
    )


def _difference_table(found: Mapping[str, _Run]) -> str:
    configs = [
        {"experiment": run.name, "preset": run.about.get("preset"), **run.about.get("config", {})}
        for run in found.values()
    ]
    keys = dict.fromkeys(key for config in configs for key in config)
    missing = object()
    rows = []
    for key in keys:
        values = [config.get(key, missing) for config in configs]
        if any(value != values[0] for value in values):
            cells = [f"<td>{_e('–' if value is missing else _value(value))}</td>" for value in values]
            rows.append((_e(key.replace("_", " ")), cells))
    if not rows:
        return "<p>The configurations are equal.</p>"
    return _wide("Field", [_e(name) for name in found], rows)


def _figures_side_by_side(found: Mapping[str, _Run]) -> str:
    content = []
    stems = dict.fromkeys(str(e.get("name", "")) for run in found.values() for e in _entries(run))
    for stem in stems:
        files = {name: _figure(run, stem) for name, run in found.items()}
        cells = "".join(
            f"<figure>{_image(file, stem)}<figcaption>{_e(name)}</figcaption></figure>"
            for name, file in files.items()
            if isinstance(file, Path)
        )
        if cells:
            title = stem.replace("_", " ").capitalize()
            content.append(f"<p class='sub'>{_e(title)}</p><div class='side'>{cells}</div>")
    return "".join(content)


def _summary(name: str, run: _Run) -> str:
    state = _e(run.headline) if run.metrics else "not finished"
    facts = ", ".join(
        filter(None, [_duration(run.timings.get("total_seconds")), str(run.environment.get("device", ""))])
    )
    return f"<p><b>{_e(name)}</b><br>{state}<br><span class='soft'>{_e(facts)}</span></p>"
