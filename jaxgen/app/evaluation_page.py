"""The page of one evaluation of a trained run: ``report.html`` next to its figures and numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.app import page, runs
from jaxgen.app.recorded import Recorded
from jaxgen.app.tables import ordered


class _Evaluated(Recorded):
    """What an evaluation's folder says, with what the run's folder says of the experiment."""

    def __init__(self, run: runs.RunFolder, folder: Path) -> None:
        here = runs.RunFolder(folder)
        about = runs.read_json(run.config)
        self.folder, self.about, self.log = here, about, []
        self.name = str(about.get("experiment", run.path.name))
        self.data = runs.read_json(here.data, default={})
        self.timings = runs.read_json(here.timings, default={})
        self.captions = runs.read_json(here.captions, default={})
        self.metrics = ordered(runs.read_json(here.metrics, default={}), self.captions.get("order", {}))
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
    headline = f"<p class='headline'>{page.escape(found.headline)}</p>" if found.headline else ""
    body = [
        f"<header><h1>{page.escape(found.name)}, evaluated</h1><p class='soft'>{page.escape(note)}</p>{headline}"
        + page.chips(facts)
        + "</header>",
        page.about_smoke([found.name] if found.smoke else []),
        "" if images else page.without_images(len(found.entries)),
        page.section("Results", page.metric_table(found)),
        page.section("Figures", "".join(page.figure_list(found)) if images else ""),
        page.section("Time", page.time_tables(found.timings)),
    ]
    path = runs.RunFolder(folder).report
    runs.write_text(path, page.document(f"{found.name} · {folder.name}", body))
    return path
