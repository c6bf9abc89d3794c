"""The page that compares runs: what differs in their configurations, their metrics, curves and figures."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxgen.app import page, runs
from jaxgen.app.recorded import Recorded
from jaxgen.app.tables import REFERENCES, methods_of


def compare(folders: Sequence[runs.RunFolder], *, images: bool = True) -> str:
    """A page that compares runs: what differs in their configurations, their metrics, curves and figures.

    The best value of a metric is marked only among runs on the same data.

    Args:
        folders: two run folders or more.
        images: put the figures in; they may show patients.

    Returns:
        The text of the file.
    """
    found = _named([Recorded(folder) for folder in folders])
    body = [
        f"<header><h1>{len(found)} runs compared</h1>"
        + page.chips({str(i + 1): name for i, name in enumerate(found)})
        + "</header>",
        page.about_smoke([name for name, run in found.items() if run.smoke]),
        "" if images else page.without_images(sum(len(run.entries) for run in found.values())),
        page.section("Results", _comparison_table(found)),
        page.section("What differs", _difference_table(found)),
        page.section(
            "Evaluation while training", page.about_previews(found.values()) + page.curves(found, evaluated=True)
        ),
        page.section("Training", page.curves(found)),
        page.section("Figures", _figures_side_by_side(found) if images else ""),
        page.section("Runs", "".join(_summary(name, run) for name, run in found.items())),
    ]
    return page.document("Comparison · " + ", ".join(found), body)


def _while_training(found: Mapping[str, Recorded]) -> str:
    return page.about_previews(found.values()) + page.curves(found, evaluated=True)


def _named(found: Sequence[Recorded]) -> dict[str, Recorded]:
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


def _same_data(found: Iterable[Recorded]) -> list[list[int]]:
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


def _comparison_table(found: Mapping[str, Recorded]) -> str:
    values: dict[tuple[str, str], list[Any]] = {}
    describe: dict[str, Any] = {}
    for index, run in enumerate(found.values()):
        describe |= run.describe
        methods, facts = methods_of(run.metrics, run.baseline)
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
            rows.append((page.escape(method), []))
        before = method
        groups = () if method in REFERENCES else alike
        rows.append((page.metric_head(name, describe), page.metric_cells(name, row, describe, groups)))
    return _about_groups(list(found), alike) + page.wide("Metric", [page.escape(name) for name in found], rows)


def _about_groups(names: Sequence[str], alike: Sequence[Sequence[int]]) -> str:
    if len(alike) == 1:
        return ""
    said = "; ".join(", ".join(names[i] for i in group) for group in alike)
    return (
        "<p class='soft'>These runs are not all on the same data, and only runs on the same data can be compared: "
        f"a best value is marked among those. On the same data each: {page.escape(said)}.</p>"
    )


def _difference_table(found: Mapping[str, Recorded]) -> str:
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
            cells = [f"<td>{page.escape('–' if value is missing else page.as_text(value))}</td>" for value in values]
            rows.append((page.escape(key.replace("_", " ")), cells))
    if not rows:
        return "<p>The configurations are equal.</p>"
    return page.wide("Field", [page.escape(name) for name in found], rows)


def _figures_side_by_side(found: Mapping[str, Recorded]) -> str:
    content = []
    stems = dict.fromkeys(str(e.get("name", "")) for run in found.values() for e in run.entries)
    for stem in stems:
        files = {name: run.figure(stem) for name, run in found.items()}
        cells = "".join(
            f"<figure>{page.image_tag(file, stem)}<figcaption>{page.escape(name)}</figcaption></figure>"
            for name, file in files.items()
            if isinstance(file, Path)
        )
        if cells:
            title = stem.replace("_", " ").capitalize()
            content.append(f"<p class='sub'>{page.escape(title)}</p><div class='side'>{cells}</div>")
    return "".join(content)


def _summary(name: str, run: Recorded) -> str:
    state = page.escape(run.headline) if run.metrics else "not finished"
    facts = ", ".join(
        filter(None, [page.duration(run.timings.get("total_seconds")), str(run.environment.get("device", ""))])
    )
    return f"<p><b>{page.escape(name)}</b><br>{state}<br><span class='soft'>{page.escape(facts)}</span></p>"
