import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxgen
from jaxgen.errors import UserError
from jaxgen.train import data_parallel, load_params

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(jaxgen.__file__).parents[1])}
ENVIRONMENT.pop("XLA_FLAGS", None)
tiny = SimpleNamespace(**runpy.run_path(str(HERE / "tiny.py")))


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """The runs of parity.py: their folder and what they printed."""
    root = tmp_path_factory.mktemp("parity")
    command = [sys.executable, str(HERE / "parity.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout)


parity = SimpleNamespace(**runpy.run_path(str(HERE / "parity.py")))
RUNS = [*list(parity.PLACES)[1:], *parity.ALONE, *("-".join(pair) for pair in parity.PAIRS)]


@pytest.mark.thorough
@pytest.mark.parametrize("run", RUNS)
def test_any_placement_gives_the_same_parameters(one_process, run):
    """5 steps of SGD on 8 fake devices equal those on 1; a checkpoint of one placement goes on in another.

    Parts: of the state, of the examples along their first spatial axis, of a batch one after the other.
    """
    result = one_process[1][run]
    # Rounding, by array and relative to its largest value: 3e-7 for the kernels, 6e-6 for the bias, whose gradient is
    # a sum that nearly cancels. A mean taken twice or not at all would be off by a factor.
    assert result["params"] < 1e-5
    assert result["gradients"] < 1e-6
    assert result["examples"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_processes(folder, steps, *flags):
    """Start two processes with two devices each, over loopback."""
    common = [sys.executable, str(HERE / "tiny.py"), "--workdir", str(folder), "--steps", str(steps), "--sgd"]
    common += ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2", "--local-devices", "2"]
    common += ["--devices", "0", "--log-every", "1", *flags]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": ENVIRONMENT}
    return [subprocess.Popen([*common, "--process", str(p)], **pipe) for p in range(2)]


def finish(processes, code=0):
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [code, code], "\n".join(said)


def params_of(folder):
    tree = load_params(folder / "checkpoints" / "tiny").params
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(folder, want):
    got, wanted = params_of(folder), params_of(want)
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], rtol=0, atol=1e-5 * np.abs(wanted[name]).max())
    lines, log = ([line for line in tiny.read_log(place) if "loss" in line] for place in (folder, want))
    assert [line["examples"] for line in lines] == [line["examples"] for line in log]
    np.testing.assert_allclose([x["grad_norm"] for x in lines], [x["grad_norm"] for x in log], rtol=3e-6)
    np.testing.assert_allclose([x["loss"] for x in lines], [x["loss"] for x in log], rtol=3e-6)


@pytest.mark.slow
def test_two_processes_equal_one(one_process, tmp_path):
    """2 processes x 2 devices equal 1 device, from the start and from its checkpoint, and theirs goes on on 1."""
    root, _ = one_process
    finish(two_processes(tmp_path / "two", 5))
    assert_same(tmp_path / "two", root / "jit1")
    shutil.copytree(root / "jit1-3", tmp_path / "one-two")
    finish(two_processes(tmp_path / "one-two", 5, "--stream"))
    assert_same(tmp_path / "one-two", root / "jit1")
    finish(two_processes(tmp_path / "parts", 5, "--shard-state", "2", "--space", "2"))
    assert_same(tmp_path / "parts", root / "jit1")
    finish(two_processes(tmp_path / "shard", 5, "--shard-state", "4", "--accumulate", "2"))
    assert_same(tmp_path / "shard", root / "jit1")
    finish(two_processes(tmp_path / "two-one", 3))
    tiny.train(tmp_path / "two-one", stage=tiny.sgd_stage(5), log_every=1)
    assert_same(tmp_path / "two-one", root / "jit1")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--shard-state", "4")], ids=["whole", "in parts"])
def test_one_of_two_processes_evaluates_while_the_other_waits(one_process, tmp_path, flags):
    finish(two_processes(tmp_path, 5, "--evaluate-every", "2", *flags))
    assert_same(tmp_path, one_process[0] / "jit1")
    shown = [line for line in tiny.read_log(tmp_path) if "evaluation/norm" in line]
    assert [line["step"] for line in shown] == [2, 4]


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both(tmp_path):
    processes = two_processes(tmp_path, 10_000, "--pause", "0.05")
    deadline = time.monotonic() + 240
    while not (tmp_path / "log.jsonl").exists() or len(tiny.read_log(tmp_path)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    finish(processes, 128 + signal.SIGTERM)
    assert load_params(tmp_path / "checkpoints" / "tiny").step == tiny.read_log(tmp_path)[-1]["step"]


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="--devices 9999"):
        data_parallel("jit", 9999)
    with pytest.raises(ValueError, match="'jit' or 'pmap'"):
        data_parallel("pjit")
