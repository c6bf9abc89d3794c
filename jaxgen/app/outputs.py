"""What commands write and say at their end: folders for outputs, figures with their captions, lines of results."""

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.app import runs, tables
from jaxgen.app.cards import write_release
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment

Say = Callable[[str], None]


def results(folder: runs.RunFolder) -> list[str]:
    """The lines that end a run: headline, metrics against the baseline, and where everything is."""
    about, metrics = runs.read_object(folder.config, runs.CONFIG), runs.read_object(folder.metrics)
    captions = runs.read_object(folder.captions, runs.CAPTIONS, default={})
    lines = ["", *filter(None, [captions.get("headline", "")]), ""]
    if about.get("preset") == "smoke":
        lines += ["The preset smoke only shows that the parts work: these numbers say nothing of the method.", ""]
    metrics = tables.ordered(metrics, captions.get("order", {}))
    lines += tables.table(metrics, captions.get("describe", {}), about.get("baseline", "")).splitlines()
    return [*lines, "", f"report: {folder.report}", f"run:    {folder.path}"]


def refuse_run(path: Path, name: str) -> None:
    """Refuse to write results where a run lies, whose metrics, figures and summary they would replace.

    Args:
        path: the folder for the results.
        name: the flag it came from, for the message.

    Raises:
        UserError: if the folder is a run folder.
    """
    if runs.is_run(path):
        raise UserError(
            f"{name} {path}: it is a run folder, whose own files would be replaced; "
            f"give another folder, such as {path / 'results'}"
        )


def make_folder(path: Path, name: str) -> None:
    """Make a folder for outputs.

    Args:
        path: the folder.
        name: the flag it came from, for the message.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} {path}: it cannot be made ({runs.explain(error)}); give another folder") from error


@contextlib.contextmanager
def new_folder(path: Path, name: str) -> Iterator[Path]:
    """Make a folder for outputs; if what fills it fails before anything is in it, it is taken away again.

    Args:
        path: the folder.
        name: the flag it came from, for the message.

    Yields:
        The folder.

    Raises:
        UserError: if it cannot be made.
    """
    made = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    make_folder(path, name)
    try:
        yield path
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Save figures, captions, headline and how to show the metrics under ``path/figures``, cases and a release report.

    Args:
        evaluation: what to save; its metrics are left to the caller.
        path: a folder that is there.
    """
    figures = path / "figures"
    if figures.is_symlink():
        raise UserError(f"{figures}: it is a link, and figures are not written elsewhere; delete it")
    figures.mkdir(exist_ok=True)
    for name, (figure, _) in evaluation.figures.items():
        if not runs.is_plain_name(name):
            raise UserError(f"the figure {name!r} of this experiment has no plain name; name it without / and \\")
        buffer = io.BytesIO()
        # without the version of matplotlib, equal figures are equal files
        figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
        runs.write_bytes(figures / f"{name}.png", buffer.getvalue())
    captions = {
        "headline": evaluation.headline,
        "figures": [{"name": name, "caption": figure.caption} for name, figure in evaluation.figures.items()],
        "describe": {name: metric._asdict() for name, metric in evaluation.describe.items()},
        "order": {
            "methods": list(evaluation.metrics),
            "metrics": list(dict.fromkeys(n for m in evaluation.metrics.values() if isinstance(m, Mapping) for n in m)),
        },
    }
    runs.write_json(figures / "captions.json", captions)
    write_release(path, evaluation.release)
    if evaluation.cases:
        rows = io.StringIO(newline="")
        writer = csv.DictWriter(rows, list(evaluation.cases[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(evaluation.cases)
        runs.write_bytes(path / "cases.csv", rows.getvalue().encode())


def table_lines(headline: str, metrics: Mapping[str, Any], captions: Path, experiment: Experiment) -> list[str]:
    """The headline and the table of metrics, for the terminal; a count that the headline says is not said again."""
    metrics = {name: value for name, value in metrics.items() if f" {value} {name} " not in f" {headline} "}
    describe = runs.read_object(captions, runs.CAPTIONS, default={}).get("describe", {})
    lines = tables.table(metrics, describe, experiment.baseline).splitlines()
    return [headline, "", *lines] if headline else lines
