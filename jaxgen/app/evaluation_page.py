"""The page of one evaluation of a trained run: ``report.html`` beside its figures and numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.app import report, runs


class _Evaluated(report._Run):
    """What an evaluation's folder says, with what the run's folder says of the experiment."""

    def __init__(self, run: runs.RunFolder, folder: Path):
        here = runs.RunFolder(folder)
        about = runs.read_json(run.config)
        self.folder, self.about, self.log = here, about, []
        self.name = str(about.get("experiment", run.path.name))
        self.data = runs.read_json(here.data, default={})
        self.timings = runs.read_json(here.timings, default={})
        self.captions = runs.read_json(here.captions, default={})
        self.metrics = report.ordered(runs.read_json(here.metrics, default={}), self.captions.get("order", {}))
        self.headline = str(self.captions.get("headline", ""))
        self.describe = self.captions.get("describe", {})
        self.baseline = str(about.get("baseline", ""))


def write(run: runs.RunFolder, folder: Path, note: str, facts: Mapping[str, Any], *, images: bool = True) -> Path:
    """Build the page of an evaluation and write ``report.html``.

    Args:
        run: the folder of the run that was evaluated.
        folder: the folder of the evaluation, with its numbers and figures in it.
        note: what was evaluated, in one sentence.
        facts: short facts for the top of the page, by name.
        images: put the figures in; they may show patients.

    Returns:
        The path of the page.
    """
    found = _Evaluated(run, folder)
    headline = f"<p class='headline'>{report._e(found.headline)}</p>" if found.headline else ""
    body = [
        f"<header><h1>{report._e(found.name)}, evaluated</h1><p class='soft'>{report._e(note)}</p>{headline}"
        + report._chips(facts)
        + "</header>",
        report._smoke([found.name] if found.smoke else []),
        "" if images else report._without_images(len(report._entries(found))),
        report._section("Results", report._metric_table(found)),
        report._section("Figures", "".join(report._figures(found)) if images else ""),
        report._section("Time", report._timings(found.timings)),
    ]
    page = runs.RunFolder(folder).report
    runs.write_text(page, report._document(f"{found.name} · {folder.name}", body))
    return page
