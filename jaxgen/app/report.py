"""The page of a run: one self-contained HTML file.

Everything is read from the run folder, so a page can be rebuilt at any time, of an unfinished run too.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen import local_paths
from jaxgen.app import page as parts
from jaxgen.app import runs
from jaxgen.app.charts import number
from jaxgen.app.page import escape
from jaxgen.app.recorded import Recorded
from jaxgen.app.tables import flat


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
    run = Recorded(folder)
    config, data, device = run.about.get("config", {}), run.data, run.environment.get("device", "")
    chips = {
        "preset": run.about.get("preset", ""),
        "data": data.get("name") or config.get("data") or "",
        "examples": _examples(data),
        "device": device,
        "time": parts.duration(run.timings.get("total_seconds")),
        "started": run.environment.get("started", ""),
    }
    body = [
        f"<header><h1>{escape(run.name)}</h1><p class='soft'>{escape(run.about.get('summary', ''))}</p>"
        + (f"<p class='headline'>{escape(run.headline)}</p>" if run.headline else "")
        + parts.chips(chips)
        + "</header>",
        parts.about_smoke([run.name] if run.smoke else []),
        "" if images else parts.without_images(len(run.entries) + len(_progress_shown(run))),
        _unfinished(run),
        _warnings(run),
        parts.section("Results", parts.metric_table(run)),
        parts.section("Figures", "".join(parts.figure_list(run)) if images else ""),
        parts.section("Evaluation while training", _progress(run, images)),
        parts.section("Training", parts.curves({run.name: run})),
        parts.section("Time", parts.time_tables(run.timings)),
        parts.section("Reproduce and use", _commands(run)),
        parts.section("Details", _details(run)),
    ]
    return parts.document(f"{run.name} · {folder.path.resolve().name}", body)


def _unfinished(run: Recorded) -> str:
    if run.metrics:
        return ""
    last = run.log[-1] if run.log else {}
    where = (
        f" It is at step {escape(number(last.get('step')))} of stage {escape(last.get('stage', ''))}." if last else ""
    )
    return (
        f"<div class='warn'><b>This run is not finished.</b>{where} Go on with<pre>{escape(_resume(run))}</pre></div>"
    )


MOST_PROGRESS = 8
"""Figures of evaluations while training at most: the last one, and others at equal distances."""


def _progress_shown(run: Recorded) -> list[dict[str, Any]]:
    """The lines of the log whose figures the page shows, the last first."""
    rows = run.evaluations
    count = min(len(rows), MOST_PROGRESS)
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in reversed(range(count))]


def _progress(run: Recorded, images: bool) -> str:
    """Curves of the metrics by training step, the last figure, and those before it behind a fold."""
    found = []
    for row in _progress_shown(run) if images else []:
        title = f"{row.get('stage', '')}, step {number(row.get('step'))}"
        caption = " ".join(str(row[name]) for name in ("headline", "caption") if row.get(name))
        image = parts.image_tag(run.figure(row["figure"], "progress"), title)
        words = f"<figcaption><b>{escape(title)}.</b> {escape(caption)}</figcaption>"
        found.append(f"<figure>{image}{words}</figure>")
    content = parts.about_previews([run]) + parts.curves({run.name: run}, evaluated=True) + "".join(found[:1])
    if found[1:]:
        content += f"<details><summary>{len(found) - 1} before</summary>{''.join(found[1:])}</details>"
    return content


def _warnings(run: Recorded) -> str:
    """What training warned of, such as a discriminator that wins."""
    found = [
        f"<div class='warn'><b>Stage {escape(row.get('stage', ''))}, step {escape(number(row.get('step')))}:</b> "
        f"{escape(row['warning'])}</div>"
        for row in run.log
        if "warning" in row
    ]
    return "".join(found)


def _resume(run: Recorded) -> str:
    return f"jaxgen run {runs.argument(Path(local_paths.place(run.folder.path)))}{run.trust}"


def _place(run: Recorded) -> str:
    return shlex.quote(local_paths.place(run.folder.path))


def _examples(data: Mapping[str, Any]) -> str:
    parts = [f"{number(data[name])} {word}" for name, word in _SPLITS.items() if isinstance(data.get(name), int)]
    return ", ".join(parts)


_SPLITS = {"train": "to train", "validation": "to validate", "test": "to test"}


def _commands(run: Recorded) -> str:
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
    return "".join(f"<p class='sub'>{escape(text)}</p><pre>{escape(line)}</pre>" for text, line in lines.items())


def _details(run: Recorded) -> str:
    config = {key.replace("_", " "): parts.as_text(value) for key, value in run.about.get("config", {}).items()}
    changed = [key.replace("_", " ") for key in run.about.get("changed", [])]
    groups = {
        "Configuration": parts.pair_table(config, changed),
        "Data": parts.pair_table(
            {key: parts.as_text(value) for key, value in run.data.items() if key != "test_patients"}
        ),
        "Environment": parts.pair_table({key: parts.as_text(value) for key, value in flat(run.environment).items()}),
    }
    return "".join(
        f"<details><summary>{escape(title)}</summary>{content}</details>"
        for title, content in groups.items()
        if content
    )
