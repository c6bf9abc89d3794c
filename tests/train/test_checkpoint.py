import os
import shutil
import subprocess
import sys
import textwrap
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.errors import UserError
from jaxgen.train import Checkpointer, TrainState, checkpoint_steps, fingerprint, load_params


def make_state(step, width=64):
    # Numbers that do not compress, so that cutting a file cuts values.
    params = {"net": {"w": jax.random.normal(jax.random.key(step), (width, width)), "n": jnp.arange(3)}}
    ema = jax.tree.map(lambda x: x + 1, params)
    opt_state = {"net": optax.adam(1e-3).init(params["net"])}
    return TrainState(jnp.int32(step), params, ema, opt_state, jax.random.key(7))


ABSTRACT = jax.eval_shape(lambda: make_state(0))


def save(folder, *steps, keep=3, **more):
    with Checkpointer(folder, keep) as checkpointer:
        for step in steps:
            checkpointer.save(make_state(step), position=2 * step, **more)


def values_of(folder, step, item="ema"):
    """The files that hold an item's arrays, largest first."""
    files = [p for p in (folder / str(step) / item).rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: -p.stat().st_size)


def test_everything_comes_back(tmp_path):
    progress, constants, config = {"sums": {"loss": 0.1 + 0.2}}, {"range": [-3.0, 3.0]}, {"seed": 2**32 - 1}
    save(tmp_path, 5, progress=progress, constants=constants, config=config)
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore_latest(ABSTRACT)
    assert fingerprint(restored.state) == fingerprint(make_state(5))
    assert jax.tree.structure(restored.state) == jax.tree.structure(make_state(5))
    assert restored[1:] == (10, progress, constants, config)


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert checkpoint_steps(tmp_path) == [3, 4]


def test_nothing_there_is_no_error(tmp_path):
    with Checkpointer(tmp_path / "new") as checkpointer:
        assert checkpointer.restore_latest(ABSTRACT) is None


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


DAMAGE = {
    "cut values": lambda folder, step: cut(values_of(folder, step)[0]),
    "cut state": lambda folder, step: cut(values_of(folder, step, "state")[0]),
    "one flipped bit": lambda folder, step: flip(values_of(folder, step)[0]),
    "empty meta": lambda folder, step: os.truncate(folder / str(step) / "meta" / "metadata", 0),
    "missing item": lambda folder, step: shutil.rmtree(folder / str(step) / "ema"),
    "cut manifest": lambda folder, step: cut(folder / str(step) / "state" / "manifest.ocdbt"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_falls_back_saying_so(tmp_path, damage):
    save(tmp_path, 10, 20)
    DAMAGE[damage](tmp_path, 20)
    said = []
    with Checkpointer(tmp_path, warn=said.append) as checkpointer:
        restored = checkpointer.restore_latest(ABSTRACT)
        assert int(restored.state.step) == 10
        assert fingerprint(restored.state) == fingerprint(make_state(10))
        # The run goes on and reaches the same step again.
        checkpointer.save(make_state(20), position=40)
    assert len(said) == 1
    assert "20: this checkpoint cannot be read" in said[0]
    assert said[0].endswith("going back to the one of step 10")
    assert "\n" not in said[0]
    assert checkpoint_steps(tmp_path) == [10, 20]
    assert (tmp_path / "unreadable-20").is_dir()
    with Checkpointer(tmp_path, warn=said.append) as checkpointer:
        assert int(checkpointer.restore_latest(ABSTRACT).state.step) == 20
    assert len(said) == 1


def test_when_none_can_be_read_it_is_an_error_and_they_stay(tmp_path):
    save(tmp_path, 10, 20)
    for step in (10, 20):
        cut(values_of(tmp_path, step)[0])
    with Checkpointer(tmp_path, warn=lambda text: None) as checkpointer, pytest.raises(UserError) as caught:
        checkpointer.restore_latest(ABSTRACT)
    assert "no checkpoint can be read" in str(caught.value)
    assert checkpoint_steps(tmp_path) == [10, 20]


def test_another_model_is_an_error(tmp_path):
    save(tmp_path, 10)
    other = jax.eval_shape(lambda: make_state(0, width=32))
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(UserError, match="code and flags it was saved with"):
        checkpointer.restore_latest(other)


@pytest.mark.parametrize("with_model", [True, False])
def test_sampling_needs_the_parameters_alone(tmp_path, with_model):
    save(tmp_path, 1, 2, constants={"scale": 2.5}, config={"seed": 3})
    loaded = load_params(tmp_path, ABSTRACT.params if with_model else None)
    assert fingerprint(loaded.params) == fingerprint(make_state(2).ema)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(make_state(2).ema)
    assert loaded[1:] == ({"scale": 2.5}, {"seed": 3}, 2)
    assert load_params(tmp_path, step=1).step == 1


def test_loading_falls_back_too(tmp_path, caplog):
    save(tmp_path, 1, 2)
    flip(values_of(tmp_path, 2)[0])
    assert load_params(tmp_path).step == 1
    assert "going back" in caplog.text
    flip(values_of(tmp_path, 1)[0])
    with pytest.raises(UserError, match="cannot be read"):
        load_params(tmp_path)
    with pytest.raises(UserError, match="no checkpoint of step 9"):
        load_params(tmp_path, step=9)


def test_a_save_is_not_touched_by_the_steps_after_it(tmp_path):
    """The state is donated to the next step at once, while the checkpoint is still being written."""
    step = jax.jit(
        lambda s: s._replace(
            params=jax.tree.map(lambda x: x * 0, s.params), ema=jax.tree.map(lambda x: x * 0, s.ema), step=s.step + 1
        ),
        donate_argnums=0,
    )
    with Checkpointer(tmp_path) as checkpointer:
        for number in range(5):
            state = make_state(10 * number, width=512)
            checkpointer.save(state, position=0)
            for _ in range(5):
                state = step(state)
            jax.block_until_ready(state)
            restored = checkpointer.restore_latest(jax.eval_shape(lambda: make_state(0, width=512)))
            assert fingerprint(restored.state) == fingerprint(make_state(10 * number, width=512))


def test_constants_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path):
    with Checkpointer(tmp_path) as checkpointer, pytest.raises(TypeError):
        checkpointer.save(make_state(1), position=0, constants={"scale": np.float32(1)})
    assert checkpoint_steps(tmp_path) == []


def test_fingerprint_sees_every_bit():
    a = {"a": jnp.zeros(3, jnp.bfloat16), "k": jax.random.key(0), "n": jnp.int32(1), "e": jnp.zeros((0, 3))}
    changed = [
        a | {"a": a["a"].at[1].set(1e-30)},
        a | {"k": jax.random.key(1)},
        a | {"n": jnp.int32(2)},
    ]
    assert len({fingerprint(tree) for tree in [a, *changed]}) == 4


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_keeps_the_last_good_checkpoint(small_disk):
    folder = small_disk / "checkpoints"
    save(folder, 1)
    (small_disk / "ballast").write_bytes(os.urandom(max(0, shutil.disk_usage(small_disk).free - 40_000)))
    with pytest.raises(UserError) as caught:
        save(folder, 2)
    assert str(caught.value).startswith(f"{folder}: a checkpoint could not be written")
    assert "(no space left on device); the checkpoint of step 1 is kept; free some space" in str(caught.value)
    assert checkpoint_steps(folder) == [1]
    assert not list(folder.glob("*tmp*"))
    (small_disk / "ballast").unlink()
    save(folder, 3)
    assert checkpoint_steps(folder) == [1, 3]


def test_a_file_size_limit_is_one_line_too(tmp_path):
    """The same as a full disk, where nothing can be mounted: writes past a limit fail."""
    script = """
        import resource, signal, sys, jax, jax.numpy as jnp
        from jaxgen.errors import UserError
        from jaxgen.train import Checkpointer, TrainState
        big = {"net": jax.random.normal(jax.random.key(0), (300, 300))}
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Checkpointer(sys.argv[1]) as checkpointer:
            checkpointer.save(TrainState(jnp.int32(1), big, big, {}, jax.random.key(0)), position=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            with Checkpointer(sys.argv[1]) as checkpointer:
                checkpointer.save(TrainState(jnp.int32(2), big, big, {}, jax.random.key(0)), position=0)
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the checkpoint of step 1 is kept" in done.stdout, done.stderr
    assert "(file too large)" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "ERROR" not in done.stderr
    assert checkpoint_steps(tmp_path / "c") == [1]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="could not be written"):
        Checkpointer(tmp_path / "file" / "checkpoints")


def test_reads_that_nobody_waits_for_say_nothing(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(found.exc_value))
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: said.append(error))
    save(tmp_path, 1)
    values_of(tmp_path, 1)[0].write_bytes(b"")
    for _ in range(3):
        with pytest.raises(UserError):
            load_params(tmp_path)
    late, other = RuntimeError("Event loop is closed"), RuntimeError("of somebody else")
    for error in (late, other):
        sys.excepthook(RuntimeError, error, None)
        sys.unraisablehook(types.SimpleNamespace(exc_value=error, object=None))
    assert said == [other, other]


MANY = """
import sys, jax, jax.numpy as jnp, numpy as np
from jaxgen.errors import UserError
from jaxgen.train import Checkpointer, TrainState, load_params

params = {f"layer_{i}": {"w": jax.random.normal(jax.random.key(i), (3, 3, 8, 8)), "b": jnp.ones(8)} for i in range(20)}
with Checkpointer(sys.argv[1]) as checkpointer:
    checkpointer.save(TrainState(jnp.int32(1), params, params, {}, jax.random.key(0)), position=1)
from pathlib import Path
files = [p for p in Path(sys.argv[1], "1", "ema").rglob("*") if p.is_file() and p.parent.name == "d"]
largest = max(files, key=lambda p: p.stat().st_size)
whole = largest.read_bytes()
for seed in range(6):
    damaged = bytearray(whole)
    for place in np.random.default_rng(seed).integers(len(whole), size=20 * seed + 1):
        damaged[place] ^= 0x40
    largest.write_bytes(damaged)
    try:
        load_params(sys.argv[1])
    except UserError as error:
        print(error)
"""


@pytest.mark.thorough
def test_flipped_bytes_among_many_arrays_are_one_line_each(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    argv = [sys.executable, "-c", MANY, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) >= 4
    assert all("this checkpoint cannot be read" in line and "copy it again" in line for line in lines)
