"""Watching: what is measured at which line, that a resumed run says the same, and who is warned of what."""

import runpy
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.train import Interrupted, Reporter, Watch, critic_wins, falls, fingerprint, stays_low
from jaxgen.train.watch import Adviser

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny.py"))))


def said(adviser, name, values):
    """The lines at which an adviser warns."""
    memory, found = adviser.memory, []
    for line, value in enumerate(values):
        memory, warning = adviser.read(memory, {} if value is None else {name: value})
        if warning is not None:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0.99, 0.99, 0.99, 0.99, 0.99], [2]),  # once
        ([0.99, 0.99, 0.6, 0.99, 0.99], []),
        ([0.99, None, 0.99, 0.99], [3]),
        ([0.97] * 9, []),
        ([0.75, 0.8, 0.9, 0.85], []),
    ],
)
def test_the_discriminator_wins(values, lines):
    assert said(critic_wins(lines=3), "accuracy/critic", values) == lines


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([2, 8, 8, 3, 3, 1], [4]),
        ([2, 8, 3, 8, 3, 8], []),
        ([8, None, 3, None, 3], [4]),
        ([1, 2, 3, 8, 8], []),
        ([3, 1, 1, 1], []),  # it had not reached 5 yet
    ],
)
def test_modes_collapse(values, lines):
    assert said(falls("modes", at_least=5, lines=2), "modes", values) == lines


@pytest.mark.parametrize(("values", "lines"), [([0, 0, 0, 0, 0], [3]), ([0, 0, 0, 1, 1], []), ([0, 0, 1, 0, 0], [4])])
def test_modes_are_missing(values, lines):
    assert said(stays_low("modes", below=1, lines=2, skip=2), "modes", values) == lines


def watched(every=1, examples=0):
    """A watch that measures something of all it is given, and an adviser that counts lines and warns at the third."""
    seen = []

    def measure(params, key, given):
        seen.append({name: np.asarray(array) for name, array in given.items()})
        weight = sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(params))
        return {"weight": weight, "draw": jax.random.uniform(key)}

    def read(memory, numbers):
        lines = memory["lines"] + 1
        return {"lines": lines, "loss": numbers["loss"]}, f"{lines} lines" if lines == 3 else None

    return Watch(measure, (Adviser({"lines": 0}, read),), every, examples), seen


def test_numbers_come_at_the_lines_that_are_due_and_warnings_are_said(tmp_path, capsys):
    watch, seen = watched(every=2, examples=20)
    tiny.train(tmp_path, stage=tiny.make_stage(10)._replace(watch=watch), reporter=Reporter(tmp_path))
    lines = tiny.read_log(tmp_path)
    assert [(line["step"], "weight" in line) for line in lines] == [(3, False), (6, True), (9, False), (10, True)]
    assert [line.get("warning") for line in lines] == [None, None, "3 lines", None]
    assert lines[1]["draw"] != lines[3]["draw"]
    assert "tiny: warning at step 9: 3 lines" in capsys.readouterr().err
    feed = tiny.Feed()
    want = np.concatenate([next(feed)["image"] for _ in range(3)])[:20]
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0]["image"], want)
    np.testing.assert_array_equal(seen[1]["image"], want)


@pytest.mark.parametrize(("k", "at", "resident"), [(1, 4, True), (1, 7, False), (4, 4, True)])
def test_a_resumed_run_measures_and_warns_the_same(tmp_path, k, at, resident):
    def train(folder, **more):
        feed = more.pop("feed", None) or tiny.Feed(resident=resident)
        stage = tiny.make_stage(10)._replace(watch=watched(examples=3)[0])
        return tiny.train(folder, stage=stage, steps_per_call=k, feed=feed, **more)

    stop = []

    def on_batch(position):
        if position == at and not stop:
            stop.append(1)
            signal.raise_signal(signal.SIGTERM)

    whole = train(tmp_path / "a")
    with pytest.raises(Interrupted):
        train(tmp_path / "b", feed=tiny.Feed(on_batch=on_batch, resident=resident))
    resumed = train(tmp_path / "b")
    assert fingerprint(resumed.state) == fingerprint(whole.state)
    assert tiny.read_log(tmp_path / "b") == tiny.read_log(tmp_path / "a")
    assert sum("warning" in line for line in tiny.read_log(tmp_path / "b")) == 1


def test_watching_changes_nothing_that_is_trained(tmp_path):
    plain = tiny.train(tmp_path / "a")
    seen = tiny.train(tmp_path / "b", stage=tiny.make_stage(10)._replace(watch=watched()[0]))
    assert fingerprint(seen.state) == fingerprint(plain.state)
