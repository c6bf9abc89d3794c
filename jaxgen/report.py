"""The page of a run, and the page that compares several: one self-contained HTML file each.

Everything is read from the run folder, so a page can be rebuilt at any time, of an unfinished run too.
"""

import base64
import datetime
import html
import importlib.resources
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen import runs
from jaxgen.charts import line_chart, number

_LOWER_IS_BETTER = (
    "loss", "error", "distance", "hausdorff", "surface", "energy", "ged", "ece", "brier", "calibration", "nll",
    "mse", "mae", "rmse", "bits", "fid", "lpips",
)  # fmt: skip
_NOT_CURVES = {"stage", "step", "time", "examples", "images", "epoch"}


def write(folder: runs.RunFolder) -> Path:
    """Build the page of a run and write ``report.html``.

    Args:
        folder: the run folder.

    Returns:
        The path of the page.
    """
    runs.write_text(folder.report, page(folder))
    return folder.report


def page(folder: runs.RunFolder) -> str:
    """The page of one run as HTML, with nothing outside it: images are inside, there are no scripts.

    Args:
        folder: the run folder; what is not there yet is left out.

    Returns:
        The text of the file.
    """
    run = _Run(folder)
    config, data, device = run.about["config"], run.data, run.environment.get("device", "")
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
        _unfinished(run),
        _warnings(run),
        _section("Results", _metric_table(run)),
        _section("Figures", "".join(_figures(run))),
        _section("Training", _curves({run.name: run})),
        _section("Time", _timings(run.timings)),
        _section("Reproduce and use", _commands(run)),
        _section("Details", _details(run)),
    ]
    return _document(f"{run.name} · {folder.path.name}", body)


def compare(folders: Sequence[runs.RunFolder]) -> str:
    """A page that compares runs: what differs in their configurations, their metrics, curves and figures.

    Args:
        folders: two run folders or more.

    Returns:
        The text of the file.
    """
    found = _named([_Run(folder) for folder in folders])
    body = [
        f"<header><h1>{len(found)} runs compared</h1>"
        + _chips({str(i + 1): name for i, name in enumerate(found)})
        + "</header>",
        _section("Results", _comparison_table(found)),
        _section("What differs", _difference_table(found)),
        _section("Training", _curves(found)),
        _section("Figures", _figures_side_by_side(found)),
        _section("Runs", "".join(_summary(name, run) for name, run in found.items())),
    ]
    return _document("Comparison · " + ", ".join(found), body)


MOST_COLUMNS = 6
"""With more methods than this a table has one row a method, else one column."""


def table(metrics: Mapping[str, Any], describe: Mapping[str, Any] | None = None, baseline: str = "") -> str:
    """The metrics as a table for the terminal, the best method of each marked with a star; many methods are rows.

    Args:
        metrics: ``{method: {metric: number}}``, with plain numbers as facts.
        describe: how to show each metric, as saved with the figures.
        baseline: the method to put last.

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
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    if methods:
        for row in rows:
            cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    lines += [f"{_label(name, describe or {})}: {number(value)}" for name, value in facts.items()]
    return "\n".join(lines)


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
        self.about: dict[str, Any] = runs.read_json(folder.config)
        self.name: str = str(self.about.get("experiment", folder.path.name))
        self.data: dict[str, Any] = runs.read_json(folder.data, default={})
        self.environment: dict[str, Any] = runs.read_json(folder.environment, default={})
        self.timings: dict[str, Any] = runs.read_json(folder.timings, default={})
        self.captions: dict[str, Any] = runs.read_json(folder.captions, default={})
        self.metrics = ordered(runs.read_json(folder.metrics, default={}), self.captions.get("order", {}))
        self.log = runs.read_log(folder.log)
        self.headline: str = str(self.captions.get("headline", ""))
        self.describe: dict[str, Any] = self.captions.get("describe", {})
        self.baseline: str = str(self.about.get("baseline", ""))


def _e(value: Any) -> str:
    return html.escape(str(value))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_e(title)}</h2>{content}</section>" if content else ""


def _style() -> str:
    return importlib.resources.files("jaxgen").joinpath("report.css").read_text(encoding="utf-8")


def _document(title: str, body: Iterable[str]) -> str:
    from jaxgen import __version__

    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='generator' content='jaxgen report'><link rel='icon' href='data:,'>"
        f"<title>{_e(title)}</title><style>{_style()}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + f"\n<footer>Made by jaxgen {_e(__version__)} on {stamp}.</footer></main></body></html>\n"
    )


def _chips(entries: Mapping[str, Any]) -> str:
    items = "".join(f"<li><b>{_e(key)}</b>{_e(value)}</li>" for key, value in entries.items() if value)
    return f"<ul class='chips'>{items}</ul>"


def _unfinished(run: _Run) -> str:
    if run.metrics:
        return ""
    last = run.log[-1] if run.log else {}
    where = f" It is at step {number(last.get('step'))} of stage {_e(last.get('stage', ''))}." if last else ""
    return f"<div class='warn'><b>This run is not finished.</b>{where} Go on with<pre>{_e(_resume(run))}</pre></div>"


def _warnings(run: _Run) -> str:
    """What training warned of, such as a discriminator that wins."""
    found = [
        f"<div class='warn'><b>Stage {_e(row.get('stage', ''))}, step {number(row.get('step'))}:</b> "
        f"{_e(row['warning'])}</div>"
        for row in run.log
        if "warning" in row
    ]
    return "".join(found)


def _resume(run: _Run) -> str:
    return f"jaxgen run {shlex.quote(str(run.folder.path))}"


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


def _best(name: str, values: Sequence[Any], describe: Mapping[str, Any]) -> set[int]:
    """The positions of the best value, equal ones all; none if nothing is compared."""
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
        head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
        rows = "".join(
            f"<tr><th scope='row'>{label}</th>{''.join(row)}</tr>" for label, row in zip(labels, cells, strict=True)
        )
        content = (
            f"<div class='scroll'><table class='wide'><thead><tr><th scope='col'>{corner}</th>"
            f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    if facts:
        content += _pairs({_label(name, run.describe): number(value) for name, value in facts.items()})
    return content


def _metric_head(name: str, describe: Mapping[str, Any]) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(_direction(name, describe), "")
    text = str(describe.get(name, {}).get("help", ""))
    note = f"<small>{_e(text)}</small>" if text else ""
    return f"{_e(_label(name, describe))}<span class='soft'>{arrow}</span>{note}"


def _metric_cells(name: str, values: Sequence[Any], describe: Mapping[str, Any]) -> list[str]:
    best = _best(name, values, describe)
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


def _image(path: Path, alt: str) -> str:
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return f"<p class='soft'>{_e(path.name)} is missing.</p>"
    return (
        "<label><input type='checkbox' aria-label='full size'>"
        f"<img alt='{_e(alt)}' src='data:image/png;base64,{content}'></label>"
    )


def _figures(run: _Run) -> list[str]:
    found = []
    for entry in run.captions.get("figures", []):
        name, caption = str(entry.get("name", "")), str(entry.get("caption", ""))
        image = _image(run.folder.figures / f"{name}.png", caption)
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
        head = "".join(f"<th scope='col'>{head_of(key)}</th>" for key in columns)
        body = "".join(
            f"<tr><th scope='row'>{_e(row)}</th>"
            + "".join(f"<td>{_e(shown(key, times.get(key)))}</td>" for key in columns)
            + "</tr>"
            for row, times in entries.items()
        )
        return (
            f"<div class='scroll'><table class='wide'><thead><tr><th scope='col'>{name}</th>"
            f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    content = table_of("Stage", timings.get("stages", {}), title)
    content += table_of("Measured", timings.get("measured", {}), _e)
    rest = {title(key): shown(key, value) for key, value in timings.items() if not isinstance(value, Mapping)}
    return content + _pairs(rest)


def _commands(run: _Run) -> str:
    place = shlex.quote(str(run.folder.path))
    again = str(run.about.get("command") or f"jaxgen run {run.name}")
    lines = {"Train it again from nothing": again}
    if run.metrics and run.about.get("applies", True):
        lines["Use it on new images"] = f"jaxgen apply {place} IMAGES --out results"
        lines["Evaluate it on other data"] = f"jaxgen eval {place} --data FOLDER"
    elif run.metrics:
        lines["Draw samples"] = f"jaxgen sample {place}"
    else:
        lines["Go on"] = _resume(run)
    return "".join(f"<p class='sub'>{_e(text)}</p><pre>{_e(line)}</pre>" for text, line in lines.items())


def _details(run: _Run) -> str:
    config = {key.replace("_", " "): _value(value) for key, value in run.about.get("config", {}).items()}
    changed = [key.replace("_", " ") for key in run.about.get("changed", [])]
    groups = {
        "Configuration": _pairs(config, changed),
        "Data": _pairs({key: _value(value) for key, value in run.data.items()}),
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
    """The runs by the shortest names that tell them apart."""
    parts = [run.folder.path.resolve().parts for run in found]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, found, strict=True))


def _comparison_table(found: Mapping[str, _Run]) -> str:
    rows: dict[tuple[str, str], list[Any]] = {}
    describe: dict[str, Any] = {}
    for index, run in enumerate(found.values()):
        describe |= run.describe
        methods, facts = _methods(run.metrics, run.baseline)
        for method, entries in {**methods, "": facts}.items():
            for name, value in entries.items():
                rows.setdefault((method, name), [None] * len(found))[index] = value
    if not rows:
        return ""
    head = "".join(f"<th scope='col'>{_e(name)}</th>" for name in found)
    body, before = [], None
    for (method, name), values in rows.items():
        if method != before and method:
            body.append(f"<tr><th scope='rowgroup' colspan='{len(found) + 1}'><b>{_e(method)}</b></th></tr>")
        before = method
        cells = "".join(_metric_cells(name, values, describe))
        body.append(f"<tr><th scope='row'>{_metric_head(name, describe)}</th>{cells}</tr>")
    return (
        "<div class='scroll'><table class='wide'><thead><tr><th scope='col'>Metric</th>"
        f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
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
            cells = "".join(f"<td>{_e('–' if value is missing else _value(value))}</td>" for value in values)
            rows.append(f"<tr><th scope='row'>{_e(key.replace('_', ' '))}</th>{cells}</tr>")
    if not rows:
        return "<p>The configurations are equal.</p>"
    head = "".join(f"<th scope='col'>{_e(name)}</th>" for name in found)
    return (
        "<div class='scroll'><table class='wide'><thead><tr><th scope='col'>Field</th>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _figures_side_by_side(found: Mapping[str, _Run]) -> str:
    content = []
    stems = dict.fromkeys(str(e.get("name", "")) for run in found.values() for e in run.captions.get("figures", []))
    for stem in stems:
        cells = "".join(
            f"<figure>{_image(run.folder.figures / f'{stem}.png', stem)}<figcaption>{_e(name)}</figcaption></figure>"
            for name, run in found.items()
            if (run.folder.figures / f"{stem}.png").is_file()
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
