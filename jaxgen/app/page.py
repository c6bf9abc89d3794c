"""The parts that pages share: one self-contained HTML file with tables, charts and figures, and no scripts."""

import base64
import datetime
import html
import importlib.resources
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen import local_paths
from jaxgen.app import runs
from jaxgen.app.charts import column, line_chart, number
from jaxgen.app.recorded import Recorded
from jaxgen.app.tables import MOST_COLUMNS, best_of, direction_of, label_of, methods_among, methods_of, metric_names
from jaxgen.errors import printable

_NOT_CURVES = {"stage", "step", "time", "examples", "images", "epoch"}


def escape(value: Any) -> str:
    """A text for the page: escaped, without paths of this machine and without characters that hide others."""
    lines = local_paths.without_paths(str(value)).split("\n")
    return html.escape("\n".join(map(printable, lines)))


def section(title: str, content: str) -> str:
    """A heading with its content; nothing where there is no content."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _style() -> str:
    return importlib.resources.files("jaxgen.app").joinpath("report.css").read_text(encoding="utf-8")


def document(title: str, body: Iterable[str]) -> str:
    """The whole page; what it shows of the data is said at its top."""
    from jaxgen import __version__

    stamp = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    header, *parts = body
    parts = [header, _with_images(sum(part.count("<img ") for part in parts)), *parts]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<meta name='generator' content='jaxgen report'><link rel='icon' href='data:,'>"
        f"<title>{escape(title)}</title><style>{_style()}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>Made by jaxgen {escape(__version__)} on {stamp}.</footer></main></body></html>\n"
    )


def chips(entries: Mapping[str, Any]) -> str:
    """Short facts in a row."""
    items = "".join(f"<li><b>{escape(key)}</b>{escape(value)}</li>" for key, value in entries.items() if value)
    return f"<ul class='chips'>{items}</ul>"


def about_smoke(names: Sequence[str]) -> str:
    """What to know of runs that train for seconds."""
    if not names:
        return ""
    which = "This run has" if len(names) == 1 else "These runs have"
    return (
        f"<div class='warn'><b>{escape(', '.join(names))}: this only shows that the parts work.</b> {which} the preset "
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


def without_images(count: int) -> str:
    """How many figures the page leaves out."""
    figures = f"{count} figure{'s were' if count > 1 else ' was'}"
    return f"<p class='soft'>{figures} left out of this page (--no-images).</p>" if count else ""


def metric_table(run: Recorded) -> str:
    """The metrics of a run: methods and metrics, then single numbers."""
    methods, facts = methods_of(run.metrics, run.baseline)
    content = ""
    if methods:
        heads = [
            f"{escape(name.replace('_', ' '))}{'<small>baseline</small>' * (name == run.baseline)}" for name in methods
        ]
        names = metric_names(methods)
        alike = methods_among(methods)
        cells = [metric_cells(name, [methods[m].get(name) for m in methods], run.describe, alike) for name in names]
        labels = [metric_head(name, run.describe) for name in names]
        if len(methods) > MOST_COLUMNS:
            corner, heads, labels = "Method", labels, heads
            cells = [list(row) for row in zip(*cells, strict=True)]
        else:
            corner = "Metric"
        content = wide(corner, heads, list(zip(labels, cells, strict=True)))
    if facts:
        content += pair_table({label_of(name, run.describe): number(value) for name, value in facts.items()})
    return content


def wide(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
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


def metric_head(name: str, describe: Mapping[str, Any]) -> str:
    """The label of a metric with the direction that is better and its explanation."""
    arrow = {"higher": " ↑", "lower": " ↓"}.get(direction_of(name, describe), "")
    text = str(describe.get(name, {}).get("help", ""))
    note = f"<small>{escape(text)}</small>" if text else ""
    return f"{escape(label_of(name, describe))}<span class='soft'>{arrow}</span>{note}"


def metric_cells(
    name: str, values: Sequence[Any], describe: Mapping[str, Any], alike: Iterable[Sequence[int]] | None = None
) -> list[str]:
    """The cells of one metric, the best marked (`jaxgen.app.tables.best_of`)."""
    best = best_of(name, values, describe, alike)
    return [
        f"<td class='best'><span>{escape(text)}</span></td>" if i in best else f"<td>{escape(text)}</td>"
        for i, text in enumerate(column(values))
    ]


def pair_table(entries: Mapping[str, Any], changed: Iterable[str] = ()) -> str:
    """A table of names and values."""
    changed = set(changed)
    rows = "".join(
        f"<tr><th scope='row'>{escape(key)}</th>"
        f"<td{' class=changed' if key in changed else ''}>{escape(value)}</td></tr>"
        for key, value in entries.items()
    )
    return f"<table class='pairs'><tbody>{rows}</tbody></table>" if rows else ""


def image_tag(path: Path | str, alt: str) -> str:
    """An image that a click shows in full size, or why there is none."""
    if isinstance(path, str):
        return f"<p class='soft'>{escape(path)}</p>"
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        return f"<p class='soft'>{escape(path.name)} cannot be read ({escape(runs.explain(error))}).</p>"
    return (
        "<label><input type='checkbox' aria-label='full size'>"
        f"<img alt='{escape(alt)}' src='data:image/png;base64,{content}'></label>"
    )


def figure_list(run: Recorded) -> list[str]:
    """The figures of a run with their captions."""
    found = []
    for entry in run.entries:
        name, caption = str(entry.get("name", "")), str(entry.get("caption", ""))
        image = image_tag(run.figure(entry.get("name", "")), caption)
        title = name.replace("_", " ").capitalize()
        found.append(f"<figure>{image}<figcaption><b>{escape(title)}.</b> {escape(caption)}</figcaption></figure>")
    return found


EVALUATED = "evaluation/"
"""What names of metrics begin with in the log, if they come from an evaluation while training."""


def curves(found: Mapping[str, Recorded], *, evaluated: bool = False) -> str:
    """Small charts, one a quantity and stage; several runs share a chart.

    Args:
        found: the runs by name.
        evaluated: what was evaluated while training, with the result at the end; otherwise what training logged.
    """
    series: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for name, run in found.items():
        for row in run.log:
            for key, value in row.items():
                if (
                    key in _NOT_CURVES
                    or key.startswith(EVALUATED) != evaluated
                    or isinstance(value, bool)
                    or not isinstance(value, int | float)
                ):
                    continue
                points = series.setdefault((str(row.get("stage", "")), key), {}).setdefault(name, [])
                points.append((float(row.get("step", len(points))), float(value)))
    if evaluated:
        for (stage, key), curve in series.items():
            for name, points in curve.items():
                points += _at_the_end(found[name], stage, key.removeprefix(EVALUATED), points)
    order = sorted(series, key=lambda pair: (pair[1] != "loss", not pair[1].startswith("loss")))
    charts = []
    for stage, key in order:
        title = _shown_name(f"{stage}: {key.removeprefix(EVALUATED)}").removeprefix(": ")
        if chart := line_chart(series[stage, key], f"{title} by training step", smooth=not evaluated):
            charts.append(f"<div><h3>{escape(title)}</h3>{chart}</div>")
    first, rest = charts[:6], charts[6:]
    content = f"<div class='charts'>{''.join(first)}</div>" if first else ""
    if rest:
        content += f"<details><summary>{len(rest)} more</summary><div class='charts'>{''.join(rest)}</div></details>"
    return content


def _shown_name(key: str) -> str:
    """A key of a file in words; examples need not be images."""
    return key.replace("images_per_second", "examples_per_second").replace("_", " ")


def about_previews(found: Iterable[Recorded]) -> str:
    """What to know of curves whose points and whose end come from different images."""
    if not any(run.about.get("previews") and run.evaluations for run in found):
        return ""
    return (
        "<p class='soft'>While training, metrics are measured on a few validation images. The results above, and the "
        "last point of each curve, are of the final evaluation: on test images, in generation on test and validation "
        "images.</p>"
    )


def _at_the_end(
    run: Recorded, stage: str, name: str, points: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """The last point of a curve, from the metrics of a finished run."""
    method, _, metric = name.rpartition("/")
    entries = run.metrics.get(method, {}) if method else run.metrics
    value = entries.get(metric) if isinstance(entries, Mapping) else None
    last = max((float(row.get("step", 0)) for row in run.log if row.get("stage") == stage), default=0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or last <= points[-1][0]:
        return []
    return [(last, float(value))]


def duration(seconds: Any) -> str:
    """Seconds as a reader says them."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def time_tables(timings: Mapping[str, Any]) -> str:
    """What ``timings.json`` says."""

    def shown(key: str, value: Any) -> str:
        return duration(value) if key.endswith("_seconds") else number(value)

    def title(key: str) -> str:
        return escape(_shown_name(key.removesuffix("_seconds")).capitalize())

    def table_of(name: str, entries: Mapping[str, Any], head_of: Callable[[str], str]) -> str:
        columns = list(dict.fromkeys(key for times in entries.values() for key in times))
        if not columns:
            return ""
        rows = [
            (escape(row), [f"<td>{escape(shown(key, times.get(key)))}</td>" for key in columns])
            for row, times in entries.items()
        ]
        return wide(name, [head_of(key) for key in columns], rows)

    content = table_of("Stage", timings.get("stages", {}), title)
    content += table_of("Measured", timings.get("measured", {}), escape)
    rest = {title(key): shown(key, value) for key, value in timings.items() if not isinstance(value, Mapping)}
    return content + pair_table(rest)


def as_text(value: Any) -> str:
    """A value of JSON as a reader says it."""
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else "–"
