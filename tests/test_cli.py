"""Every command on a toy experiment, and every way in which a command can go wrong."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen.app import cli, opening, runner, runs
from jaxgen.app.cli import main
from jaxgen.errors import UserError
from jaxgen.train import Interrupted, train_stage

ROOT = Path(__file__).parent.parent


@pytest.fixture
def command(capsys):
    """Run a command; gives its exit code, standard output and standard error."""

    def run(*argv):
        code = main([str(word) for word in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def copied(toy_run, tmp_path):
    """A copy of the finished toy run, to change."""
    return Path(shutil.copytree(toy_run, tmp_path / "copied"))


def picture(path, seed=0, side=8, channels=None):
    shape = (side, side) if channels is None else (side, side, channels)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)
    return path


def one_line(code, err, *words, expected=2):
    """The contract of an error: an exit code, one line, no traceback, and the words that help."""
    assert code == expected, err
    lines = [line for line in err.splitlines() if line.startswith("jaxgen: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def test_help_and_version_say_what_there_is(command):
    code, out, _ = command("--help")
    assert code == 0
    for name in ("list", "run", "apply", "sample", "eval", "report", "info"):
        assert f"jaxgen {name}" in out
        assert command(name, "--help")[0] == 0
    assert command("--version")[1].startswith("jaxgen 0.")
    assert command()[0] == 2


def test_help_of_an_experiment_shows_the_defaults_of_the_preset(command, toy_file):
    code, out, _ = command("run", toy_file, "--preset", "full", "--help")
    assert code == 0
    assert "default: 100000" in out
    assert "--no-augment" in out
    assert "example:" in out


def test_list_names_every_experiment(command):
    from jaxgen.experiment import names

    code, out, _ = command("list")
    assert code == 0
    assert all(name in out for name in names())


def test_info_names_versions_and_devices(command):
    code, out, _ = command("info")
    assert code == 0
    assert "jaxgen" in out
    assert "device" in out
    assert "memory" in out


def test_info_for_a_bug_report_is_json_without_paths(command):
    code, out, _ = command("info", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["packages"]["jax"] == jax.__version__
    assert found["devices"]
    assert 0 < found["memory_bytes"]["free"] <= found["memory_bytes"]["total"]
    assert set(found["extras"]) == {"dicom", "peers", "test"}
    assert str(Path.home()) not in out
    assert platform.node() not in out


def test_a_run_leaves_a_whole_folder(toy_run):
    for name in ("config", "constants", "data", "environment", "chosen", "metrics", "timings"):
        assert json.loads((toy_run / f"{name}.json").read_text())
    metrics = json.loads((toy_run / "metrics.json").read_text())
    assert metrics["logistic"]["accuracy"] > metrics["constant"]["accuracy"]
    assert list(metrics) == sorted(metrics)
    assert not any("second" in name or "time" in name for values in metrics.values() for name in values)
    timings = json.loads((toy_run / "timings.json").read_text())
    assert timings["stages"]["logistic"]["images_per_second"] > 0
    assert timings["total_seconds"] > timings["evaluate_seconds"] > 0
    assert timings["measured"] == {"logistic <toy>": {"ms an image": 0.125}}
    assert (toy_run / "figures" / "examples.png").read_bytes().startswith(b"\x89PNG")
    assert "captions" in {path.stem for path in (toy_run / "figures").iterdir()}
    assert len((toy_run / "log.jsonl").read_text().splitlines()) >= 20
    assert not list(toy_run.glob(".config*"))
    assert {path.name for path in toy_run.parent.iterdir()} == {"run"}


def test_a_finished_run_says_so_and_shows_its_results_again(command, copied, toy_file):
    (copied / "report.html").unlink()
    before = (copied / "metrics.json").stat().st_mtime_ns
    for argv in (["run", toy_file, "--preset", "smoke", "--workdir", copied], ["run", copied]):
        code, out, _ = command(*argv)
        assert code == 0
        assert "is finished" in out
        assert "Accuracy" in out
        assert "0." in out
    assert (copied / "metrics.json").stat().st_mtime_ns == before
    assert (copied / "report.html").is_file()


def test_evaluating_again_gives_the_same_bytes(command, copied, toy_file):
    before = {name: (copied / name).read_bytes() for name in ("metrics.json", "figures/examples.png")}
    (copied / "metrics.json").unlink()
    code, out, _ = command("run", toy_file, "--preset", "smoke", "--workdir", copied)
    assert code == 0
    assert "going on" in out
    assert {name: (copied / name).read_bytes() for name in before} == before
    assert json.loads((copied / "timings.json").read_text())["stages"]["logistic"]["steps"] == 20


def test_another_configuration_is_refused_field_by_field(command, copied, toy_file):
    code, _, err = command(
        "run", toy_file, "--preset", "smoke", "--workdir", copied, "--seed", 5, "--no-augment", "--widths", "4,8"
    )
    one_line(code, err, "--seed is 0 there and 5 here", "--augment is on there and off here")
    assert "--widths is 4 there and 4,8 here" in err
    assert f"jaxgen run {copied}" in err


def test_another_experiment_in_the_folder_is_refused(command, copied, toy_file, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(toy_file.read_text().replace('name="toy"', 'name="other"'))
    one_line(*_no_out(command("run", other, "--preset", "smoke", "--workdir", copied)), "a run of toy, not of other")


def test_data_that_changed_since_are_refused(command, copied):
    (copied / "metrics.json").unlink()
    data = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps(data | {"train": 11}))
    one_line(*_no_out(command("run", copied)), "--data", "changed since")


def _no_out(result):
    return result[0], result[2]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rnu"], ["no command 'rnu'", "did you mean 'run'"]),
        (["run", "flow_sfd"], ["no experiment 'flow_sfd'"]),
        (["run", "nothing.py"], ["nothing.py: there is no such file"]),
        (["run", "--steps", "3"], ["name the experiment first"]),
        (["run", "TOY", "--preset", "smok"], ["--preset", "did you mean 'smoke'"]),
        (["run", "TOY", "--stepz", "3"], ["--stepz", "did you mean '--steps'"]),
        (["run", "TOY", "--steps", "0"], ["--steps must be at least 1"]),
        (["run", "TOY", "--steps"], ["--steps needs a value"]),
        (["run", "TOY", "--seed", "-1"], ["--seed must be at least 0"]),
        (["run", "TOY", "--learning-rate", "nan"], ["--learning-rate must be a finite number"]),
        (["run", "TOY", "--noise", "-0.1"], ["--noise must be at least 0"]),
        (["run", "TOY", "--widths", "4,,8"], ["--widths must be whole numbers"]),
        (["run", "TOY", "--precision", "float64"], ["--precision must be one of"]),
        (["run", "TOY", "extra"], ["unexpected argument 'extra'"]),
        (["run", "TOY", "--workdir", ""], ["--workdir needs"]),
        (["run", "TOY", "--workdir", "TOY"], ["--workdir", "is a file"]),
        (["run", "TOY", "--workdir", "TMP/full"], ["--workdir", "no run"]),
        (["run", "TOY", "--workdir", "TMP/dangling"], ["--workdir", "symbolic link"]),
        (["run", "TOY", "--workdir", "TMP/loop"], ["--workdir", "symbolic link"]),
        (["run", "TOY", "--workdir", "/proc/here/run"], ["--workdir", "cannot be made"]),
        (["run", "TOY", "--workdir", "TMP/" + "x" * 300], ["--workdir", "file name too long"]),
        (["run", "TOY", "--data", "TMP/no-such-folder"], ["no-such-folder"]),
        (["run", "TOY", "--devices", "64"], ["--devices"]),
        (["run", "TOY", "--processes", "2"], ["--coordinator"]),
        (["run", "TOY", "--coordinator", "localhost:1"], ["--workdir is needed"]),
        (["run", "TMP/full"], ["no run"]),
        (["sample", "RUN", "--n", "0"], ["--n must be from 1"]),
        (["sample", "RUN", "--n", "many"], ["--n must be a whole number"]),
        (["sample", "TMP"], ["no run"]),
        (["sample"], ["RUN"]),
        (["eval", "RUN", "--data", "TMP/no-such-folder"], ["no-such-folder"]),
        (["eval", "TMP/nowhere"], ["there is no such folder"]),
        (["report", "TMP/nowhere"], ["there is no such folder"]),
        (["report", "RUN", "RUN", "--out", "TMP/full/note.txt"], ["note.txt", "is no page of jaxgen"]),
        (["report", "RUN", "RUN", "--out", "TMP/full"], ["is a folder"]),
        (["apply", "RUN", "TMP/nowhere.png", "--out", "TMP/out"], ["nowhere.png", "no such file"]),
        (["apply", "RUN", "TMP/*.tif", "--out", "TMP/out"], ["nothing matches"]),
        (["apply", "RUN", "TMP/full", "--out", "TMP/out"], ["holds no image"]),
        (["apply", "RUN", "TMP/a.png"], ["--out"]),
        (["apply", "RUN", "TMP/a.png", "--out", "TMP/full/note.txt"], ["--out", "is a file"]),
        (["apply", "RUN", "TMP/a.png", "--out", "TMP"], ["the images are in it"]),
        (["apply", "RUN", "TMP/a.png", "--out", "RUN"], ["--out", "it is a run folder", "give another folder"]),
        (["sample", "RUN", "--out", "RUN"], ["--out", "it is a run folder", "give another folder"]),
        (["eval", "RUN", "--out", "RUN"], ["--out", "it is a run folder", "give another folder"]),
        (["apply", "RUN", "TMP/a.png", "--out", "TMP/out", "--seed", "x"], ["--seed must be a whole number"]),
        (["list", "--all"], ["unknown flag --all"]),
    ],
    ids=lambda value: " ".join(map(str, value))[:50] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_clear_line(command, toy_file, toy_run, tmp_path, argv, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    picture(tmp_path / "a.png")
    before = sorted(tmp_path.rglob("*"))
    if argv[0] == "run" and "TOY" in argv and "--workdir" not in argv:
        argv = [*argv, *([] if "--coordinator" in argv else ["--workdir", "TMP/new"])]
    places = {"TOY": str(toy_file), "RUN": str(toy_run)}
    argv = [places.get(word, word.replace("TMP", str(tmp_path))) for word in argv]
    code, _, err = command(*argv)
    one_line(code, err, *words)
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before and "checkpoints" not in path.parts]
    assert "--devices" in argv or left == []


def test_a_run_folder_with_broken_json_is_named(command, copied):
    (copied / "config.json").write_text("{")
    one_line(*_no_out(command("sample", copied)), "config.json", "not valid JSON")
    (copied / "config.json").write_text("[]")
    one_line(*_no_out(command("sample", copied)), "config.json", "not the configuration")


@pytest.mark.parametrize("flags", [("--steps", "50"), ("--steps=50",), ("--preset", "small")])
def test_a_run_that_goes_on_keeps_its_configuration(command, copied, toy_file, flags):
    flag = flags[0].split("=")[0]
    one_line(*_no_out(command("run", copied, *flags)), f"{flag}: {copied} goes on as it was configured", toy_file.name)
    one_line(*_no_out(command("run", copied, "--stepz")), "unknown flag --stepz")


def test_a_run_whose_file_has_gone_says_where_to_put_it(command, copied, tmp_path):
    about = json.loads((copied / "config.json").read_text())
    gone = str(tmp_path / "gone.py")
    (copied / "config.json").write_text(json.dumps(about | {"source": gone}))
    one_line(*_no_out(command("sample", copied)), str(copied), gone, "put it back", "`source` in")


def test_two_processes_cannot_train_in_one_folder(command, copied):
    (copied / "metrics.json").unlink()
    with runs.locked(runs.RunFolder(copied)):
        one_line(*_no_out(command("run", copied)), "another jaxgen is running")


def test_an_unexpected_error_is_one_line_with_the_traceback_in_a_file(command, toy_file, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(toy_file.read_text().replace("    test = [", "    raise RuntimeError('kaput')\n    test = ["))
    code, _, err = command("run", broken, "--preset", "smoke", "--steps", 2, "--workdir", tmp_path / "run")
    one_line(code, err, "RuntimeError: kaput", "error.txt", expected=1)
    assert "kaput" in (tmp_path / "run" / "error.txt").read_text()
    shutil.copy(toy_file, broken)
    assert command("run", tmp_path / "run", "--trust-code")[0] == 0
    assert not (tmp_path / "run" / "error.txt").exists()


def test_an_unfinished_run_is_not_applied(command, copied, tmp_path):
    shutil.rmtree(copied / "checkpoints" / "logistic" / "20")
    image = picture(tmp_path / "a.png")
    one_line(*_no_out(command("apply", copied, image, "--out", tmp_path / "out")), "step 16 of 20", "jaxgen run")


def test_sample_and_eval_write_their_results(command, copied, tmp_path):
    code, out, _ = command("sample", copied, "--n", 3, "--out", tmp_path / "samples")
    assert code == 0
    assert "3 samples" in out
    assert np.load(tmp_path / "samples" / "samples.npz")["masks"].shape == (3, 8, 8)
    assert (tmp_path / "samples" / "figures" / "samples.png").is_file()
    code, out, _ = command("eval", copied)
    assert code == 0
    (found,) = (copied / "evaluations").glob("*/metrics.json")
    assert found.read_bytes() == (copied / "metrics.json").read_bytes()


def test_samples_of_other_settings_are_kept(command, copied):
    folder = copied / "samples"
    assert "are now in" not in command("sample", copied, "--n", 3)[1]
    first = (folder / "samples.npz").read_bytes()
    assert "are now in" not in command("sample", copied, "--n", 3)[1]
    code, out, _ = command("sample", copied, "--n", 3, "--seed", 7)
    assert code == 0
    assert f"are now in {folder / 'n-3_seed-0'}" in out
    assert (folder / "n-3_seed-0" / "samples.npz").read_bytes() == first != (folder / "samples.npz").read_bytes()
    assert (folder / "n-3_seed-0" / "figures" / "samples.png").is_file()
    assert json.loads((folder / "settings.json").read_text()) == {"n": 3, "seed": 7}
    assert command("sample", copied, "--n", 3)[0] == 0
    assert command("sample", copied, "--n", 3, "--seed", 7)[0] == 0
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "figures", "n-3_seed-0", "n-3_seed-0-2", "n-3_seed-7",
    }  # fmt: skip


def test_a_count_is_said_once(command, copied):
    out = command("sample", copied, "--n", 3)[1]
    assert out.lower().count("samples: 3") + out.count("3 samples") == 1


def test_apply_keeps_the_space_of_a_volume_and_goes_on_after_a_broken_file(command, toy_run, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    picture(images / "a.png")
    picture(images / "Müller 日本.png", seed=1, side=11, channels=3)
    (images / "broken.png").write_bytes(picture(tmp_path / "whole.png", side=64).read_bytes()[:300])
    affine = np.array([[0.5, 0, 0, -3], [0, 0.7, 0, 4], [0, 0, 2.5, 9], [0, 0, 0, 1]])
    volume = np.random.default_rng(2).integers(0, 255, (9, 8, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, affine), images / "v.nii.gz")
    (images / "notes.txt").write_text("not an image")
    out = tmp_path / "out"
    code, said, err = command("apply", toy_run, images, "--out", out)
    assert code == 1
    assert "3 of 4 images done, 1 failed" in said
    assert "broken.png" in err
    assert "Traceback" not in err
    mask = nibabel.load(out / "v_mask.nii.gz")
    assert mask.shape == volume.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, affine)
    arrays = np.load(out / "a_arrays.npz")
    assert arrays["probability"].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(out / "a_mask.png")) > 0, arrays["probability"] > 0.5)
    assert (out / "Müller 日本_mask.png").is_file()
    assert "error" in json.loads((out / "summary.json").read_text())["broken.png"]
    assert not list(out.glob("broken*"))

    one_line(*_no_out(command("apply", toy_run, images / "a.png", "--out", out)), "is there already", "--overwrite")
    stamp = (out / "a_mask.png").stat().st_mtime_ns
    assert command("apply", toy_run, images / "a.png", "--out", out, "--overwrite", "--quiet")[0] == 0
    assert (out / "a_mask.png").stat().st_mtime_ns > stamp
    again = np.load(out / "a_arrays.npz")  # random numbers do not depend on the other files
    np.testing.assert_array_equal(again["uncertainty"], arrays["uncertainty"])


def test_apply_takes_what_the_evaluation_chose(command, copied, tmp_path):
    image, chosen = picture(tmp_path / "a.png"), copied / "chosen.json"
    command("eval", copied, "--out", tmp_path / "again")
    assert json.loads(chosen.read_text()) == {"threshold": 0.5}
    chosen.write_text('{"threshold": 2.0}')
    assert command("apply", copied, image, "--out", tmp_path / "none")[0] == 0
    assert not np.asarray(PIL.Image.open(tmp_path / "none" / "a_mask.png")).any()
    chosen.unlink()
    assert command("apply", copied, image, "--out", tmp_path / "all")[0] == 0
    assert np.asarray(PIL.Image.open(tmp_path / "all" / "a_mask.png")).all()


def test_a_volume_for_a_run_that_cannot_take_it_is_named(command, toy_run, tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 3, 2), np.float32), np.eye(4)), tmp_path / "ok.nii")
    np.save(tmp_path / "four.npy", np.zeros((3, 3, 3, 3, 3)))
    code, _, err = command("apply", toy_run, tmp_path, "--out", tmp_path / "out", "--quiet")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("jaxgen: failed: ")]
    assert "four.npy" in line


def test_two_images_of_one_name_are_refused(command, toy_run, tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.tif")
    code, _, err = command("apply", toy_run, tmp_path, "--out", tmp_path / "out")
    one_line(code, err, "a.png", "a.tif", "both would write")


def test_an_experiment_file_runs_as_a_program(toy_file, tmp_path):
    out = subprocess.run(
        [sys.executable, toy_file, "--preset", "smoke", "--steps", "2", "--workdir", tmp_path / "run"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["source"] == str(toy_file)


@pytest.mark.thorough
def test_the_help_of_a_module_names_a_command_that_can_be_typed(toy_file):
    def first_line(*words):
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        argv = [sys.executable, *words, "--help"]
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True).stdout.splitlines()[0]

    for words in (["-m", "experiments.first.two_moons"], [os.path.relpath(toy_file, ROOT)]):
        assert first_line(*words).startswith(f"usage: python {' '.join(words)} [--preset NAME]")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_names_the_command_that_goes_on(toy_file, tmp_path, number):
    workdir = tmp_path / "run"
    argv = [sys.executable, "-m", "jaxgen", "run", toy_file, "--preset", "full", "--workdir", workdir]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (workdir / "log.jsonl").is_file() or not (workdir / "log.jsonl").stat().st_size:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"go on with: jaxgen run {workdir}" in err
    assert "Traceback" not in err
    assert list((workdir / "checkpoints" / "constant").glob("[0-9]*"))


def test_the_time_of_a_session_that_was_stopped_counts(command, toy_file, tmp_path, monkeypatch):
    """Stopped in the second stage by a signal, then in the evaluation, then finished: three sessions in all."""
    workdir = tmp_path / "run"
    argv = ("run", toy_file, "--preset", "smoke", "--quiet", "--workdir", workdir)

    def read():
        return json.loads((workdir / "timings.json").read_text())

    def stop_in_logistic(stage, *rest, **named):
        if stage.name != "logistic":
            return train_stage(stage, *rest, **named)
        assert read()["stages"]["constant"]["steps"] == 20, "the first stage was not saved"
        done = train_stage(stage._replace(steps=8), *rest, **named)
        raise Interrupted(signal.SIGINT, 8, done.timings)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_stage", stop_in_logistic)
        assert command(*argv)[0] == 130
    first = read()
    assert first["sessions"] == 1
    assert {name: stage["steps"] for name, stage in first["stages"].items()} == {"constant": 20, "logistic": 8}

    with monkeypatch.context() as patch:
        patch.setattr(runner, "save_evaluation", lambda *rest: os.kill(os.getpid(), signal.SIGTERM))
        assert command(*argv)[0] == 143
    second = read()
    assert second["sessions"] == 2
    assert {name: stage["steps"] for name, stage in second["stages"].items()} == {"constant": 20, "logistic": 20}

    assert command(*argv)[0] == 0
    last = read()
    assert last["sessions"] == 3
    assert last["evaluate_seconds"] > second["evaluate_seconds"] > 0
    assert last["load_seconds"] > second["load_seconds"] > first["load_seconds"] > 0
    assert last["total_seconds"] > second["total_seconds"] > first["total_seconds"] > 0
    assert last["stages"] == second["stages"]
    assert "seconds" not in (workdir / "metrics.json").read_text()


@pytest.mark.slow
def test_two_processes_of_two_devices_end_with_the_same_metrics(toy_file, toy_run, tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "jaxgen", "run", toy_file, "--preset", "smoke", "--workdir", tmp_path / "run"]
    argv += ["--coordinator", f"localhost:{port}", "--processes", "2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "2"}
    started = [
        subprocess.Popen([*argv, "--process", str(i)], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    for process in started:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    assert (tmp_path / "run" / "metrics.json").read_bytes() == (toy_run / "metrics.json").read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(command, toy_file, toy_run, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "x", disk]).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    try:
        argv = ["run", toy_file, "--preset", "smoke", "--quiet", "--workdir", disk / "run"]
        for _ in range(2):
            one_line(*_no_out(command(*argv)), "no space left on device", "the checkpoint of step 8 is kept")
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert command(*argv)[0] == 0
        assert (disk / "run" / "metrics.json").read_bytes() == (toy_run / "metrics.json").read_bytes()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyError, UserError])
def test_what_any_error_says_is_escaped(monkeypatch, capsys, tmp_path, kind):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    def broken(context):
        raise kind("a\u202eb\x1b[2J\x07")

    assert cli._guard(broken) != 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not set("\u202e\x1b\x07") & set(error)


@pytest.mark.parametrize("name", ["two_moons", "flow_sdf"])
def test_a_folder_called_like_an_experiment_does_not_hide_it(command, copied, tmp_path, monkeypatch, name):
    copied.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("run", name, "--help")
    assert code == 0
    assert "--preset NAME" in out
    code, out, _ = command("run", f"./{name}")
    assert code == 0
    assert f"{name} is finished" in out
    assert opening.resume(runs.RunFolder(Path(name))).startswith(f"jaxgen run ./{name}")


@pytest.mark.parametrize("odd", ["\u202egnp", "\x1b[2J", "\u2066x\u2069", "\x07", "\u200b"])
def test_what_would_steer_the_terminal_is_escaped(command, copied, odd):
    (copied / "report.html").unlink()
    captions = json.loads((copied / "figures" / "captions.json").read_text())
    (copied / "figures" / "captions.json").write_text(json.dumps({**captions, "headline": f"a{odd}b"}))
    code, out, _ = command("run", copied)
    assert code == 0
    assert odd not in out
    assert "a\\" in out
    for argv in (["sample", f"no{odd}where"], ["run", f"no{odd}where"], ["eval", copied, "--data", f"no{odd}where"]):
        code, out, err = command(*argv)
        assert code == 2
        assert odd not in out + err
        assert "no\\" in err


def test_a_table_of_many_methods_fits_the_terminal(command, copied, monkeypatch):
    many = {f"a method called {i}": {f"metric {k}": 0.5 + i / 10 for k in range(9)} for i in range(9)}
    (copied / "metrics.json").write_text(json.dumps(many))
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = command("run", copied)
    assert code == 0
    table = out[out.index("method ") : out.index("report:")]
    assert max(map(len, table.splitlines())) <= 60
    assert table.count("a method called 8") > 1
