"""``jaxgen eval``: a trained run on its own test set, or on other data."""

import zlib
from pathlib import Path
from typing import Any

from jaxgen.app import evaluation_page, other_data, runs
from jaxgen.app.opening import at_home, open_trained
from jaxgen.app.outputs import Say, new_folder, refuse_run, save_evaluation, table_lines
from jaxgen.app.provenance import about_data
from jaxgen.errors import UserError
from jaxgen.experiment import EVALUATE, key_of


def evaluate(
    path: Path, data: str | None, out: Path | None, say: Say = print, *, images: bool = True, **reading: Any
) -> Path:
    """Evaluate a trained run on its own test set, or on all of other data.

    On other data every example counts, whichever way they are split (of data that are computed, their test set);
    baselines are fitted to the run's own training data and settings chosen on its own validation data, as for its own
    test set.

    Args:
        path: the run folder.
        data: the data, as the flag ``--data`` takes it; None for the run's own.
        out: where ``metrics.json``, the figures and the page go; None for a folder inside the run folder.
        say: called with each line for the user.
        images: put the figures into the page; they may show patients.
        **reading: other ways to read the files of `data`, fields of the configuration such as ``slices``.

    Returns:
        The folder written.

    Raises:
        UserError: if the run is not trained, the data are wrong, or `out` is a run.
    """
    if out is not None:
        refuse_run(out, "--out")
    folder, experiment, run = open_trained(path)
    config = run.config
    reread = other_data.read_as(experiment, config, **reading)
    other = data if data is not None and other_data.is_other(config, data) else None
    if other is None and reread != config:
        raise UserError("--slices and --foreground say how the files of other data are read; name those with --data")
    if other is not None:
        config, splits, home = other_data.load_for_evaluation(experiment, config, reread, run.facts, other)
        about = {**about_data(splits), "train": 0, "validation": 0, "baselines": home}
        part = "its test set" if splits.origin == "computed" else "all of them"
        where = f"{other_data.count(splits.test)} of {splits.name}, {part}"
        note = f"evaluated {where}; baselines fitted on {home}, settings chosen there"
    else:
        splits = experiment.load(config)
        about, home = about_data(splits), splits.name
        where = f"{other_data.count(splits.test)} of {splits.name}, the test set"
        note = ""
    run = at_home(run._replace(config=config, splits=splits, key=key_of(config, EVALUATE)))
    target = out or folder.path / "evaluations" / _label(config.data or "own")
    with new_folder(target, "--out"):
        say(f"evaluating {where}")
        evaluation = experiment.evaluate(run)
        save_evaluation(evaluation, target)
        runs.write_json(target / "metrics.json", evaluation.metrics)
        if evaluation.timings:
            runs.write_json(target / "timings.json", {"measured": evaluation.timings})
        runs.write_json(target / "data.json", about)
        facts = {"data": splits.name, "examples": len(splits.test), "run": folder.path.name, "trained on": home}
        evaluation_page.write(folder, target, note or f"evaluated {where}", facts, images=images)
    if note:
        say(note)
    for line in table_lines(evaluation.headline, evaluation.metrics, target / "figures" / "captions.json", experiment):
        say(line)
    say(f"\nreport: {target / 'report.html'}\n{target}")
    return target


def _label(text: str) -> str:
    """A folder's name for what ``--data`` was."""
    clean = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in Path(text).name)[:60]
    return f"{clean.strip('-') or 'data'}-{zlib.crc32(text.encode()):08x}"
