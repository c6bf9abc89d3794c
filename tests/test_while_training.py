"""`--evaluate-every`: what it shows, and that it changes nothing of a run."""

import dataclasses
import json
import shutil
import signal

import numpy as np
import pytest

from jaxgen.app import report, runs, while_training
from jaxgen.app.cli import main
from jaxgen.app.runner import train
from jaxgen.experiment import Preview, find
from jaxgen.train import Interrupted, checkpoint_steps, load_params


def run(toy_file, path, every=0, change=lambda toy: toy, **changes):
    toy = change(find(str(toy_file)))
    config = dataclasses.replace(toy.presets["smoke"], evaluate_every=every, **changes)
    return train(toy, "smoke", config, path, reference=str(toy_file), say=lambda line: None, quiet=True)


def rows(folder, evaluated):
    """The lines of the log that are of evaluations, or that are not; without the time."""
    timed = ("time", "images_per_second")
    lines = [{k: v for k, v in row.items() if k not in timed} for row in runs.read_log(folder.log)]
    return [row for row in lines if evaluated == any(name.startswith("evaluation/") for name in row)]


@pytest.fixture(scope="module")
def both(toy_file, tmp_path_factory):
    """A run without, and one with evaluations while training."""
    path = tmp_path_factory.mktemp("while")
    return run(toy_file, path / "plain"), run(toy_file, path / "shown", every=6)


def test_nothing_that_is_trained_logged_or_measured_changes(both):
    plain, shown = both
    assert rows(plain, False) == rows(shown, False)
    assert plain.metrics.read_bytes() == shown.metrics.read_bytes()
    for stage in ("constant", "logistic"):
        places = [folder.checkpoints(stage) for folder in both]
        assert checkpoint_steps(places[0]) == checkpoint_steps(places[1])
        a, b = (load_params(place).params["net"] for place in places)
        assert {name: np.asarray(x).tobytes() for name, x in a.items()} == {
            name: np.asarray(x).tobytes() for name, x in b.items()
        }


def test_the_last_stage_shows_the_first_method_and_figure_of_the_evaluation(both):
    plain, shown = both
    found = rows(shown, True)
    assert [(row["stage"], row["step"]) for row in found] == [("logistic", 6), ("logistic", 12), ("logistic", 18)]
    assert all(0 <= row["evaluation/logistic/accuracy"] <= 1 for row in found)
    assert all(row["headline"].startswith("Accuracy") for row in found)
    assert [file.stem for file in sorted((shown.path / "progress").iterdir())] == [row["figure"] for row in found]
    assert not (plain.path / "progress").exists()
    assert rows(plain, True) == []


def test_the_page_has_a_curve_that_ends_in_the_result_and_the_last_figure_first(both):
    plain, shown = both
    text = report.page(shown)
    assert "Evaluation while training" in text
    assert "logistic: logistic/accuracy by training step" in text
    last = text.index("alt='logistic, step 18'")
    assert last < text.index("2 before") < text.index("alt='logistic, step 12'") < text.index("alt='logistic, step 6'")
    assert "Evaluation while training" not in report.page(plain)
    without = report.page(shown, images=False)
    assert "<img" not in without
    assert "logistic: logistic/accuracy by training step" in without
    assert "4 figures were left out" in without


def test_many_figures_are_few_on_the_page(both, tmp_path):
    folder = runs.RunFolder(shutil.copytree(both[1].path, tmp_path / "run"))
    line = {"stage": "logistic", "figure": "logistic-00000006"}
    folder.log.write_text("".join(json.dumps({**line, "step": step}) + "\n" for step in range(100)))
    text = report.page(folder)
    assert text.count("<img") == report.MOST_PROGRESS + 1
    assert "step 99" in text


@pytest.mark.parametrize("name", ["../../secret", 3, None, "no\0thing", "missing"])
def test_a_log_names_no_file_outside_of_its_folder(both, tmp_path, name):
    folder = runs.RunFolder(shutil.copytree(both[1].path, tmp_path / "run"))
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder.log.write_text(json.dumps({"stage": "logistic", "step": 6, "figure": name}) + "\n")
    assert report.page(folder).count("<img") == 1


def test_tensorboard_has_the_numbers_and_the_picture(both):
    content = b"".join(file.read_bytes() for file in (both[1].path / "tensorboard" / "logistic").iterdir())
    assert b"evaluation/logistic/accuracy" in content
    assert content.count(b"\x89PNG") == 3


def test_time_of_evaluations_is_an_entry_of_its_own(both):
    plain, shown = (json.loads(folder.timings.read_text())["stages"] for folder in both)
    assert shown["logistic"]["evaluate_seconds"] > 0
    assert "evaluate_seconds" not in shown["constant"]
    assert "evaluate_seconds" not in plain["logistic"]


def test_a_stopped_run_goes_on_with_the_same_bits_and_evaluations(toy_file, both, tmp_path, monkeypatch):
    real, calls = while_training._of_evaluation, []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(while_training, "_of_evaluation", stops)
    with pytest.raises(Interrupted):
        run(toy_file, tmp_path / "run", every=6)
    again = run(toy_file, tmp_path / "run", every=6)
    assert again.metrics.read_bytes() == both[1].metrics.read_bytes()
    for evaluated in (True, False):
        assert rows(again, evaluated) == rows(both[1], evaluated)


def test_an_evaluation_that_fails_is_a_warning(toy_file, both, tmp_path):
    calls = []

    def fails(toy):
        def evaluate(now):
            calls.append(1)
            if len(calls) == 2:
                raise ValueError("too few <images>")
            return toy.evaluate(now)

        return toy._replace(evaluate=evaluate)

    folder = run(toy_file, tmp_path / "run", every=6, change=fails)
    assert folder.metrics.read_bytes() == both[0].metrics.read_bytes()
    warned = [row for row in runs.read_log(folder.log) if "warning" in row]
    assert [row["step"] for row in warned] == [12]
    assert "evaluation while training failed: ValueError: too few &lt;images&gt;" in report.page(folder)


def test_a_preview_is_asked_in_every_stage_and_its_samples_are_drawn(toy_file, both, tmp_path):
    asked = []

    def preview(now):
        asked.append((list(now.params), now.splits is not None, now.key is not None, bool(now.facts.home)))
        if "logistic" not in now.params:
            return None
        return Preview({"scale": float(now.params["logistic"]["net"]["scale"])}, np.zeros((3, 8, 8, 1)))

    folder = run(toy_file, tmp_path / "run", every=10, change=lambda toy: toy._replace(preview=preview))
    assert folder.metrics.read_bytes() == both[0].metrics.read_bytes()
    stages = [["constant"], ["constant"], ["constant", "logistic"], ["constant", "logistic"]]
    assert asked == [(names, True, True, True) for names in stages]
    found = rows(folder, True)
    assert [(row["step"], row["figure"]) for row in found] == [(10, "logistic-00000010"), (20, "logistic-00000020")]
    assert found[0]["evaluation/scale"] != found[1]["evaluation/scale"]


def test_the_command_line_says_what_it_finds(toy_file, tmp_path, capsys):
    flags = ["--preset", "smoke", "--workdir", str(tmp_path / "run"), "--evaluate-every", "10"]
    assert main(["run", str(toy_file), *flags]) == 0
    assert "logistic: evaluated at step 10: Accuracy" in capsys.readouterr().err
    assert main(["run", "two_moons", "--evaluate-every", "-1"]) == 2
