"""`jaxgen report --markdown`: results as tables for a document."""

import json
import shutil

import pytest

from jaxgen.app import markdown, runs
from jaxgen.app.cli import main
from jaxgen.errors import UserError


@pytest.fixture
def copies(toy_run, tmp_path):
    """Copies of the toy run with changed files: ``copies(name, metrics=..., config=..., environment=...)``."""

    def copy(name, **changes):
        folder = runs.RunFolder(shutil.copytree(toy_run, tmp_path / name))
        for file, change in changes.items():
            path = folder.path / f"{file}.json"
            value = json.loads(path.read_text())
            (value["config"] if file == "config" else value).update(change)
            path.write_text(json.dumps(value))
        return folder

    return copy


def lines(text):
    return [line for line in text.splitlines() if line]


def test_one_run_is_a_table_with_labels_directions_and_its_source(toy_run, capsys):
    metrics = json.loads((toy_run / "metrics.json").read_text())
    assert main(["report", "--markdown", str(toy_run)]) == 0
    head, rule, first, second, source = lines(capsys.readouterr().out)
    assert head == "| method | Accuracy ↑ | Error ↓ |"
    assert rule == "|---|---|---|"
    assert first == f"| logistic | {metrics['logistic']['accuracy']:.4f} | {metrics['logistic']['error']:.4f} |"
    assert second.startswith("| constant (baseline) | ")
    assert source.startswith(
        "`jaxgen run toy_experiment.py --preset smoke`; preset `smoke`; data bright squares (12 to train, "
    )
    assert "only shows that the parts work" in source
    assert str(toy_run) not in source
    commit = json.loads((toy_run / "environment.json").read_text())["commit"]
    assert commit is None or f"commit {commit}" in source


def test_seeds_share_a_table_of_means_and_ranges(copies):
    values = {0: 0.5, 1: 0.75, 2: 1.0}
    folders = [
        copies(
            f"seed{seed}",
            config={"seed": seed},
            metrics={"logistic": {"accuracy": value} | ({"error": 0.25} if seed else {}), "images": 7},
        )
        for seed, value in values.items()
    ]
    text = markdown.tables(folders)
    assert "| logistic | 0.7500 (0.5000 to 1.0000) | 0.2500 (0.2500 to 0.2500, 2 of 3 seeds) |" in text
    assert "Images: 7.0000 (7 to 7)." in text
    assert "`: mean (range) over 3 seeds, 0, 1, 2; preset `smoke`" in text
    assert text.count("| method |") == 1


def test_the_command_of_several_seeds_names_none(copies):
    folders = [copies(f"{i}", config={"seed": i}) for i in range(2)]
    for folder in folders:
        about = json.loads(folder.config.read_text())
        about["command"] = "jaxgen run toy --seed 5 --steps 3"
        folder.config.write_text(json.dumps(about))
    assert "`jaxgen run toy --steps 3`: mean (range) over 2 seeds" in markdown.tables(folders)


def test_other_configurations_have_tables_of_their_own(copies):
    text = markdown.tables([copies("a"), copies("b", config={"learning_rate": 0.5})])
    assert text.count("| method |") == text.count("`jaxgen run") == 2
    assert "range" not in text


def test_names_that_would_break_a_table_do_not(copies):
    text = markdown.tables([copies("a", metrics={"a | b\nc": {"accuracy": None, "/home/jane/x": 1.0}})])
    (row,) = (line for line in text.splitlines() if "a \\| b c" in line)
    assert row.replace("\\|", "").count("|") == text.splitlines()[0].count("|")
    assert "/home/jane" not in text


def test_an_unfinished_run_is_one_line(copies):
    folder = copies("a")
    folder.metrics.unlink()
    with pytest.raises(UserError, match="it has no results yet; go on with it by"):
        markdown.tables([folder])


def test_it_writes_no_page(copies, tmp_path, capsys):
    folder = copies("a")
    before = folder.report.stat().st_mtime_ns
    assert main(["report", str(folder.path), "--markdown", "--out", str(tmp_path / "x.md")]) == 2
    assert "--out is for pages" in capsys.readouterr().err
    assert main(["report", str(folder.path), "--markdown"]) == 0
    assert folder.report.stat().st_mtime_ns == before
