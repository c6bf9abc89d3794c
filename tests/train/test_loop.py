import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.data.pipeline import Feed
from jaxgen.data.source import ArraySource
from jaxgen.errors import UserError
from jaxgen.train import Diverged, Interrupted, Reporter, checkpoint_steps, fingerprint, load_params
from jaxgen.types import Model, Objective

SCRIPT = Path(__file__).with_name("tiny.py")
tiny = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def send(number, at):
    """A feed that sends this process a signal when a batch is asked for; once."""
    sent = []

    def on_batch(position):
        if position == at and not sent:
            sent.append(1)
            os.kill(os.getpid(), number)
            time.sleep(0.05)

    return tiny.Feed(on_batch=on_batch)


def stop_and_go_on(folder, at, number=signal.SIGTERM, **config):
    with pytest.raises(Interrupted) as stopped:
        tiny.train(folder, feed=send(number, at), **config)
    return stopped.value, tiny.train(folder, **config)


@pytest.mark.parametrize("k", [1, 4])
def test_interrupted_and_resumed_is_bit_identical(tmp_path, k):
    """The checkpoint falls within a log interval, and with k = 4 the last call is a short one."""
    whole = tiny.train(tmp_path / "a", steps_per_call=k)
    stopped, resumed = stop_and_go_on(tmp_path / "b", at=4, steps_per_call=k)
    assert stopped.step == (5 if k == 1 else 8)
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert fingerprint(resumed.state) == fingerprint(whole.state)
    assert fingerprint(resumed.params) == fingerprint(whole.state.ema) != fingerprint(whole.state.params)
    assert tiny.read_log(tmp_path / "b") == tiny.read_log(tmp_path / "a")
    assert [line["step"] for line in tiny.read_log(tmp_path / "a")] == ([3, 6, 9, 10] if k == 1 else [4, 8, 10])
    assert resumed.timings["steps"] == 10 - stopped.step
    assert stopped.timings["steps"] == stopped.step
    assert stopped.timings.keys() == resumed.timings.keys()


def test_ctrl_c_saves_too_and_says_so(tmp_path, capsys):
    before = signal.getsignal(signal.SIGINT)  # a shell ignores it for what it starts in the background
    with pytest.raises(Interrupted, match="stopped by SIGINT at step 7, which is saved"):
        tiny.train(tmp_path, feed=send(signal.SIGINT, 6), reporter=Reporter(tmp_path))
    assert checkpoint_steps(tmp_path / "checkpoints" / "tiny") == [4, 7]
    assert "saving (Ctrl-C again to quit at once)" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_steps_per_call_changes_nothing_else(tmp_path):
    runs = [tiny.train(tmp_path / str(k), steps_per_call=k) for k in (1, 4)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), *(run.params for run in runs))
    assert tiny.read_log(tmp_path / "1")[-1]["examples"] == tiny.read_log(tmp_path / "4")[-1]["examples"]


def test_streamed_batches_equal_the_resident_set(tmp_path):
    resident = tiny.train(tmp_path / "a", steps_per_call=2)
    streamed = tiny.train(tmp_path / "b", steps_per_call=2, feed=tiny.Feed(resident=False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), resident.params, streamed.params)
    assert tiny.read_log(tmp_path / "b")[-1]["examples"] == tiny.read_log(tmp_path / "a")[-1]["examples"]


def test_the_feed_of_jaxgen_data(tmp_path):
    def feed():
        return Feed(ArraySource(tiny.Feed().data), 8, seed=0)

    whole = tiny.train(tmp_path / "a", steps=6, feed=feed())
    tiny.train(tmp_path / "b", steps=4, feed=feed())
    resumed = tiny.train(tmp_path / "b", steps=6, feed=feed())
    assert fingerprint(resumed.state) == fingerprint(whole.state)
    assert tiny.read_log(tmp_path / "b")[-1]["examples"] == tiny.read_log(tmp_path / "a")[-1]["examples"]


def test_a_finished_stage_is_only_read(tmp_path):
    first = tiny.train(tmp_path)
    log = tiny.read_log(tmp_path)
    again = tiny.train(tmp_path)
    assert fingerprint(again.state) == fingerprint(first.state)
    assert again.timings == {"compile_seconds": 0.0, "train_seconds": 0.0, "steps": 0}
    assert tiny.read_log(tmp_path) == log


def test_a_truncated_newest_checkpoint_costs_only_time(tmp_path, capsys):
    whole = tiny.train(tmp_path / "a")
    tiny.train(tmp_path / "b")
    newest = tmp_path / "b" / "checkpoints" / "tiny" / "10"
    os.truncate(newest / "state" / "manifest.ocdbt", 20)
    again = tiny.train(tmp_path / "b", reporter=Reporter(tmp_path / "b"))
    said = capsys.readouterr().err.splitlines()
    assert sum("cannot be read" in line for line in said) == 1
    assert "tiny: going on from the checkpoint of step 8" in said
    assert fingerprint(again.state) == fingerprint(whole.state)
    assert tiny.read_log(tmp_path / "b") == tiny.read_log(tmp_path / "a")


def test_what_sampling_needs_is_in_the_checkpoint(tmp_path):
    trained = tiny.train(tmp_path, constants={"scale": 127.5})
    loaded = load_params(tmp_path / "checkpoints" / "tiny")
    assert fingerprint(loaded.params) == fingerprint(trained.params)
    assert loaded.constants == {"scale": 127.5}
    assert loaded.config["batch_size"] == 8


def test_two_stages_share_a_folder_and_not_their_keys(tmp_path):
    a = tiny.train(tmp_path, steps=4, stage=tiny.make_stage(4, name="a"))
    b = tiny.train(tmp_path, steps=4, stage=tiny.make_stage(4, name="b"))
    assert fingerprint(a.params) != fingerprint(b.params)
    assert [line["stage"] for line in tiny.read_log(tmp_path)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(("k", "resident"), [(1, True), (4, True), (1, False)])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, k, resident):
    def loss(params, key, batch):
        value = jnp.full(8, params["net"])  # falls by 1 a step from 6.5, its logarithm ends at the 8th step
        return value + jnp.where(value < 0, jnp.log(value), 0), {}

    model = Model(lambda key, batch: {"net": jnp.float32(6.5)}, (Objective("net", loss),), lambda *_: None)
    stage = tiny.make_stage(20, optimizer=tiny.optax.sgd(1.0), model=model)
    with pytest.raises(Diverged, match="loss became nan at step 8;") as caught:
        tiny.train(tmp_path, stage=stage, steps_per_call=k, checkpoint_every=2, feed=tiny.Feed(resident=resident))
    assert caught.value.step == 8
    kept = checkpoint_steps(tmp_path / "checkpoints" / "tiny")
    assert kept[-1] == (6 if k == 1 else 4)
    assert float(load_params(tmp_path / "checkpoints" / "tiny").params["net"]) > 0


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path):
    def loss(params, key, batch):
        w = params["net"]
        return jnp.full(8, 3 + jnp.sqrt(jnp.maximum(w, 0.0)) * 0), {}

    model = Model(lambda key, batch: {"net": jnp.float32(0.0)}, (Objective("net", loss),), lambda *_: None)
    with pytest.raises(Diverged, match="grad_norm became nan at step 1"):
        tiny.train(tmp_path, stage=tiny.make_stage(1, optimizer=tiny.optax.sgd(1.0), model=model))
    assert checkpoint_steps(tmp_path / "checkpoints" / "tiny") == []


def test_a_batch_that_does_not_fit_the_devices_is_refused(tmp_path):
    with pytest.raises(UserError, match="--devices 9999: there are only"):
        tiny.train(tmp_path, devices=9999)


def test_one_trace_for_each_length_of_call(tmp_path):
    traces = []
    model = tiny.make_model()
    (objective,) = model.objectives

    def loss(params, key, batch):
        traces.append(1)
        return objective.loss(params, key, batch)

    model = model._replace(objectives=(objective._replace(loss=loss),))
    tiny.train(tmp_path, stage=tiny.make_stage(10, model=model), steps_per_call=4)
    assert len(traces) == 2


def test_a_second_ctrl_c_quits_at_once(tmp_path):
    command = [sys.executable, str(SCRIPT), "--workdir", str(tmp_path), "--steps", "100000", "--pause", "60"]
    environment = {**os.environ, "PYTHONPATH": str(Path(jaxgen.__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as run:
        for awaited in ("compiled in", "stopping"):  # before the second step the run sleeps
            assert any(awaited in line for line in run.stderr)
            time.sleep(1.0)
            run.send_signal(signal.SIGINT)
        assert run.wait(timeout=20) == 130
        assert "saved" not in run.stdout.read()


def test_log_lines_have_what_a_reader_needs(tmp_path):
    tiny.train(tmp_path, steps=5)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for line in lines:
        want = {"stage", "step", "loss", "grad_norm", "bias", "label", "examples", "images_per_second", "time"}
        assert set(line) == want
    assert list((tmp_path / "tensorboard" / "tiny").glob("events.out.tfevents.*"))
