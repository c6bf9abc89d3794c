"""Evaluation while training: what is trained, saved and logged stays as it is without."""

import signal

import numpy as np
import pytest

from jaxgen.train import Evaluator, Interrupted, Reporter, Shown, fingerprint
from tests.train import tiny


def evaluator(every=3, **options):
    seen = []

    def show(params, step):
        weight = float(np.asarray(next(iter(params["net"].values()))).ravel()[0])
        seen.append((step, weight))
        return Shown({"weight": weight}, f"weight {weight:.3f}")

    return Evaluator(every, show, **options), seen


def losses(folder):
    """The lines of training in the log, without those of evaluations."""
    lines = tiny.read_log(folder)
    return [line for line in lines if not any(name.startswith("evaluation/") for name in line) and "loss" in line]


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("resident", [True, False])
def test_it_changes_no_bit_of_what_is_trained(tmp_path, k, resident):
    plain = tiny.train(tmp_path / "a", steps_per_call=k, feed=tiny.Feed(resident=resident))
    shown, seen = evaluator()
    other = tiny.train(tmp_path / "b", steps_per_call=k, feed=tiny.Feed(resident=resident), evaluator=shown)
    assert fingerprint(other.state) == fingerprint(plain.state)
    assert fingerprint(other.params) == fingerprint(plain.params)
    assert losses(tmp_path / "b") == losses(tmp_path / "a")
    assert [step for step, _ in seen] == ([3, 6, 9] if k == 1 else [4, 8, 10])
    assert len({weight for _, weight in seen}) > 1


def test_lines_stand_where_they_belong_and_are_said(tmp_path, capsys):
    shown, seen = evaluator()
    tiny.train(tmp_path, evaluator=shown, reporter=Reporter(tmp_path))
    lines = tiny.read_log(tmp_path)
    found = [(line["step"], line["evaluation/weight"], line["headline"]) for line in lines if "headline" in line]
    assert found == [(step, weight, f"weight {weight:.3f}") for step, weight in seen]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert "tiny: evaluated at step 3: weight" in capsys.readouterr().err


@pytest.mark.parametrize(("at_end", "steps"), [(True, [5, 10]), (False, [5])])
def test_the_last_step_is_left_out_where_an_evaluation_follows(tmp_path, at_end, steps):
    shown, seen = evaluator(every=5, at_end=at_end)
    tiny.train(tmp_path, evaluator=shown)
    assert [step for step, _ in seen] == steps


def test_one_that_fails_is_a_warning_and_training_goes_on(tmp_path, capsys):
    def fails(params, step):
        raise MemoryError("no\nroom")

    plain = tiny.train(tmp_path / "a")
    other = tiny.train(tmp_path / "b", evaluator=Evaluator(4, fails), reporter=Reporter(tmp_path / "b"))
    assert fingerprint(other.state) == fingerprint(plain.state)
    warnings = [(line["step"], line["warning"]) for line in tiny.read_log(tmp_path / "b") if "warning" in line]
    words = "the evaluation while training failed: MemoryError: no room"
    assert warnings == [(4, words), (8, words)]
    assert f"tiny: warning at step 4: {words}" in capsys.readouterr().err


def test_nothing_to_show_is_no_line(tmp_path):
    tiny.train(tmp_path / "a")
    tiny.train(tmp_path / "b", evaluator=Evaluator(2, lambda params, step: None))
    assert tiny.read_log(tmp_path / "b") == tiny.read_log(tmp_path / "a")


@pytest.mark.parametrize(("k", "at"), [(1, 4), (1, 7), (4, 4)])
def test_a_resumed_run_has_the_same_log_and_the_same_bits(tmp_path, k, at):
    stop = []

    def on_batch(position):
        if position == at and not stop:
            stop.append(1)
            signal.raise_signal(signal.SIGTERM)

    def train(folder, **more):
        feed = more.pop("feed", None) or tiny.Feed(resident=False)
        return tiny.train(folder, steps_per_call=k, feed=feed, evaluator=evaluator()[0], **more)

    whole = train(tmp_path / "a")
    with pytest.raises(Interrupted):
        train(tmp_path / "b", feed=tiny.Feed(on_batch=on_batch, resident=False))
    resumed = train(tmp_path / "b")
    assert fingerprint(resumed.state) == fingerprint(whole.state)
    assert tiny.read_log(tmp_path / "b") == tiny.read_log(tmp_path / "a")


def test_its_time_is_an_entry_of_its_own(tmp_path):
    import time

    def slow(params, step):
        time.sleep(0.3)
        return Shown({"one": 1.0})

    timings = tiny.train(tmp_path / "a", evaluator=Evaluator(3, slow)).timings
    assert timings["evaluate_seconds"] >= 0.9
    whole = tiny.train(tmp_path / "b").timings
    assert "evaluate_seconds" not in whole
    assert timings["train_seconds"] < whole["train_seconds"] + 0.8
