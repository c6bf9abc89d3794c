"""One table over all experiments, found by discovery: what holds of every one of them, a new one too.

The parts of an experiment share one run of its `smoke` preset, in the precision of its `full`, and are done by one
worker (`tests/conftest.py`). What an experiment alone promises is in a file of its own.
"""

import dataclasses
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import PIL.Image
import pytest

from jaxgen import experiment
from jaxgen.app import opening, planning, runner
from jaxgen.app.cli import main
from jaxgen.data import generated
from jaxgen.nets import ops
from jaxgen.train import Interrupted, fingerprint, make_train_step

PARAMETERS = Path(__file__).with_name("parameters.json")
"""Trained parameters of each stage of each preset, for images of one channel as those of `smoke`."""


SHOWN = {"two_moons", "planar_flow", "vae", "anomaly_gan"}
"""Quick ones, for every run of the tests; all others with the thorough ones, or the slow ones (`tests/conftest.py`)."""
NAMES = [pytest.param(name, marks=() if name in SHOWN else pytest.mark.thorough) for name in experiment.names()]


WHOLE = {"rare_cases"}
"""Experiments whose smoke run needs all computed data: what is rare would be missing in a part."""


class Smoke(NamedTuple):
    """A finished run of a `smoke` preset; tests must not change it."""

    name: str
    experiment: experiment.Experiment
    config: object
    folder: Path

    @property
    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def facts(self):
        return self.experiment.facts.from_json(json.loads((self.folder / "constants.json").read_text()))


def precision_of_full(found):
    return found.presets["full"].precision


@pytest.fixture(autouse=True)
def long_runs_are_optimized():
    """Not here, slow or not: what is compared must be compiled as the run that all share."""


@pytest.fixture(scope="module", params=NAMES)
def found(request, drop_programs):
    """An experiment, on a third of the computed data; whatever it compiled is dropped when its tests are done."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param not in WHOLE:
            for counts in (generated.COUNTS, generated.VOLUMES):
                for split, count in counts.items():
                    patch.setitem(counts, split, count // 3)
        yield experiment.find(request.param)
    drop_programs()


@pytest.fixture(scope="module")
def smoke(found, tmp_path_factory):
    """It evaluates once while each stage trains, near its end: each evaluation takes as long as the last one."""

    def train_stage(stage, *rest, evaluator):
        return real(stage, *rest, evaluator=evaluator and evaluator._replace(every=max(1, stage.steps - 1)))

    real = runner.train_stage
    folder = tmp_path_factory.mktemp(found.name) / "run"
    # Evaluations come at the end of a call, and a call of several steps would end with the stage.
    config = dataclasses.replace(found.presets["smoke"], precision=precision_of_full(found), steps_per_call=1)
    flags = ["--precision", config.precision, "--steps-per-call", "1", "--evaluate-every", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "train_stage", train_stage)
        assert main(["run", found.name, "--preset", "smoke", *flags, "--workdir", str(folder), "--quiet"]) == 0
    yield Smoke(found.name, found, config, folder)
    shutil.rmtree(folder.parent)


def leaves(tree, path=()):
    """The numbers of a nested dict, by their path."""
    for name, value in tree.items():
        yield from leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]


def test_it_trains_evaluates_and_reports(smoke):
    facts = opening.open_trained(smoke.folder).run.facts
    stages = [spec.name for spec in experiment.stages_of(smoke.experiment, smoke.config, facts)]
    log = [json.loads(line) for line in (smoke.folder / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in log)) == stages
    assert all(math.isfinite(line["loss"]) for line in log if "loss" in line)
    numbers = {path: value for path, value in leaves(smoke.metrics) if not isinstance(value, str)}
    assert numbers
    assert not {path for path, value in numbers.items() if value is not None and not math.isfinite(value)}
    captions = json.loads((smoke.folder / "figures" / "captions.json").read_text())
    assert captions["headline"]
    for figure in captions["figures"]:
        with PIL.Image.open(smoke.folder / "figures" / f"{figure['name']}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 1, "something is drawn"
        assert figure["caption"]
    page = (smoke.folder / "report.html").read_text()
    assert page.count("<figure") >= len(captions["figures"]) > 0


def test_it_shows_itself_while_its_last_stage_trains(smoke):
    """An experiment with a preview may show something in every stage."""
    found = smoke.experiment
    log = [json.loads(line) for line in (smoke.folder / "log.jsonl").read_text().splitlines()]
    assert [row["warning"] for row in log if "evaluation" in row.get("warning", "")] == []
    evaluated = [row for row in log if any(name.startswith("evaluation/") for name in row)]
    stages = [spec.name for spec in experiment.stages_of(found, smoke.config, smoke.facts)]
    assert {row["stage"] for row in evaluated} <= set(stages if found.preview else stages[-1:])
    assert stages[-1] in {row["stage"] for row in evaluated}
    for row in evaluated:
        assert found.preview or row["headline"]
        assert (smoke.folder / "progress" / f"{row['figure']}.png").is_file()


class Signalling:
    """A feed that sends this process SIGTERM, once, when the examples of a step are asked for."""

    def __init__(self, feed, step):
        self._feed, self._step = feed, step

    def __getattr__(self, name):
        return getattr(self._feed, name)

    def _perhaps(self, count):
        if self._step is not None and self._feed.position + count >= self._step:
            self._step = None
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # for the thread that hears it

    def indices(self, count):
        self._perhaps(count)
        return self._feed.indices(count)

    def __next__(self):
        self._perhaps(1)
        return next(self._feed)


def test_killed_and_resumed_it_has_the_same_bits_and_its_evaluation_the_same_metrics(smoke, tmp_path, monkeypatch):
    """Killed within the longest stage, then as evaluation begins; `jaxgen eval` evaluates what is there then.

    The run that all share evaluated while it trained, this one does not: that changes nothing either.
    """
    trained = opening.open_trained(smoke.folder).run
    steps = {}
    for spec in experiment.stages_of(smoke.experiment, smoke.config, trained.facts):
        steps[spec.name] = spec.build(trained).steps
    victim = max(steps, key=steps.__getitem__)
    seen = []

    def train_stage(stage, feed, *rest, **named):
        seen.append(stage.name)
        return real(stage, Signalling(feed, steps[victim] // 2) if stage.name == victim else feed, *rest, **named)

    class Evaluating(Exception):  # noqa: N818
        pass

    def evaluate(run):
        raise Evaluating

    folder = tmp_path / "run"
    stopping = smoke.experiment._replace(evaluate=evaluate)
    real = runner.train_stage
    monkeypatch.setattr(runner, "train_stage", train_stage)
    with pytest.raises(Interrupted) as stopped:
        runner.train(stopping, "smoke", smoke.config, folder, quiet=True, say=lambda line: None)
    assert seen[-1] == victim
    assert 0 < stopped.value.step < steps[victim]
    monkeypatch.undo()
    with pytest.raises(Evaluating):
        runner.train(stopping, "smoke", smoke.config, folder, quiet=True, say=lambda line: None)
    resumed = opening.open_trained(folder).run
    assert list(resumed.params) == list(trained.params)
    for name in steps:
        assert fingerprint(resumed.params[name]) == fingerprint(trained.params[name]), name
    del resumed, trained
    assert main(["eval", str(folder), "--out", str(tmp_path / "evaluated")]) == 0
    assert (tmp_path / "evaluated" / "metrics.json").read_text() == (smoke.folder / "metrics.json").read_text()


def test_it_samples(smoke, tmp_path):
    if smoke.experiment.sample is None:
        assert main(["sample", str(smoke.folder)]) == 2
        return
    flags = ["--steps", "4"] if "steps" in smoke.experiment.sample_flags else []
    labelled = getattr(smoke.facts, "classes", ()) and getattr(smoke.config, "conditional", True)
    flags += ["--label", "0"] if "label" in smoke.experiment.sample_flags and labelled else []
    out = tmp_path / "samples"
    assert main(["sample", str(smoke.folder), "--n", "2", "--out", str(out), *flags]) == 0
    with np.load(out / "samples.npz") as file:
        arrays = {name: file[name] for name in file.files}
    assert arrays
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), name
    assert all(np.ptp(array) > 0 for name, array in arrays.items() if array.ndim > 2 and array.dtype.kind == "f")
    assert list((out / "figures").glob("*.png"))


def picture(path):
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)).save(path / "picture.png")


def volume(path):
    array = np.random.default_rng(0).random((20, 18, 16), np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path / "volume.nii.gz")


def measurements(path):
    """k-space of two coils, a quarter of its columns, and a sinogram of six views, in one file."""
    rows, columns = np.indices((18, 18)) - 9
    image = np.exp(-((rows / 4) ** 2) - (columns / 3) ** 2)
    coils = image[..., None] * np.array([1.0, 0.5j])
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coils, (0, 1)), axes=(0, 1), norm="ortho"), (0, 1))
    mask = np.zeros((18, 18), np.uint8)
    mask[:, [2, 5, 8, 9, 10, 14]] = 1
    angles = np.arange(6) * np.pi / 6
    rays = (np.arange(18) - 8.5)[None] - np.zeros((6, 1))
    sinogram = np.where(abs(rays) < 6, 2 * np.sqrt(np.maximum(36 - rays**2, 0)), 0)
    np.savez(path / "measured.npz", kspace=kspace, mask=mask, sinogram=sinogram, angles=angles)


def test_it_is_applied_to_a_file(smoke, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    volumes = experiment.spatial_rank(smoke.experiment, smoke.config) == 3
    made = measurements if smoke.experiment.reader else volume if volumes else picture
    made(given)
    command = ["apply", str(smoke.folder), str(given), "--out", str(out), "--quiet"]
    if smoke.experiment.apply is None:
        assert main(command) == 2
        return
    assert main(command) == 0
    if smoke.experiment.name == "slices_to_volume":  # thinner slices
        (found,) = out.glob("*_reconstruction.nii.gz")
        assert nibabel.load(found).shape == (20, 18, 16 * smoke.config.factor)
        return
    if volumes:
        found = [nibabel.load(path) for path in out.glob("*.nii.gz")]
        assert {image.shape for image in found} == {(20, 18, 16)}
        assert all((image.affine == np.diag([1.0, 1.0, 2.0, 1.0])).all() for image in found)
        return
    if smoke.experiment.name == "shape_from_slice":  # its answer has a grid of its own
        (found,) = out.glob("*_volume.nii.gz")
        assert nibabel.load(found).shape == (smoke.config.size,) * 3
        return
    (found,) = out.glob("*_arrays.npz")
    with np.load(found) as file:
        maps = {name: file[name] for name in file.files}
    assert maps
    if smoke.experiment.reader:
        assert "reconstruction" in maps
    shape = maps["reconstruction"].shape if smoke.experiment.reader else (20, 30)
    assert {array.shape for array in maps.values()} == {shape}
    assert all(np.isfinite(array).all() for array in maps.values())


def stages_by_shape(found, preset):
    """Each stage of a preset with the shapes of its state and batch: ``spec, run, state, batch``.

    The data are those of `smoke`, at the size of the preset, or its own if it is one for a CPU.
    """
    config = found.presets[preset]
    yield from planning.shapes(found, config, planning.data_of(found, config, preset.startswith("small-")))


def step_of(stage, config, precision):
    return make_train_step(
        stage.model, stage.optimizers, ema_decay=config.ema_decay, prepare=stage.prepare, precision=precision
    )


def check_step(before, after):
    """A step gives back a state of the same shapes, and metrics in float32."""
    state, metrics = after
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, before)
    assert all(jax.tree.leaves(same))
    assert {(value.shape, value.dtype) for value in metrics.values()} == {((), jnp.dtype(jnp.float32))}


def counted(state):
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def check_parameters(found, preset, counts):
    """The numbers of parameters are those on record."""
    recorded = json.loads(PARAMETERS.read_text()).get(found.name, {}).get(preset)
    assert counts == recorded, f"if this is meant, run python -m tests.experiments.test_all {found.name}"


def test_small_by_shape(found):
    """A training step of `small`, and the numbers of parameters of both presets that a CPU trains."""
    for preset in ("smoke", "small"):
        counts = {}
        for spec, run, state, batch in stages_by_shape(found, preset):
            counts[spec.name] = counted(state)
            if preset == "small":
                check_step(
                    state, jax.eval_shape(step_of(spec.build(run), run.config, run.config.precision), state, batch)
                )
        check_parameters(found, preset, counts)


def on_paper(found):
    """The presets for accelerators."""
    return [preset for preset in found.presets if preset not in ("smoke", "small")]


@pytest.mark.slow
def test_full_is_lowered_for_accelerators(found):
    """The step at its whole size, in the form for accelerators (`jaxgen.nets.ops`), for CUDA and for TPU.

    Once where stages of a preset differ in their parameters' values alone: the same loss, of the same shapes.
    """
    for preset in on_paper(found):
        counts, lowered = {}, set()
        with ops.form("accelerator"):
            for spec, run, state, batch in stages_by_shape(found, preset):
                counts[spec.name] = counted(state)
                stage = spec.build(run)
                losses = tuple((each.trains, each.loss.__code__) for each in stage.model.objectives)
                program = (losses, str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (state, batch))))
                if program in lowered:
                    continue
                lowered.add(program)
                step = step_of(stage, run.config, run.config.precision)
                traced = jax.jit(step, donate_argnums=0).trace(state, batch)
                check_step(state, traced.out_info)
                text = traced.lower(lowering_platforms=("cuda", "tpu")).as_text()
                assert "callback" not in text, f"{spec.name}: a step that calls Python"
        check_parameters(found, preset, counts)


def write_parameters(*wanted):
    """Put the numbers of parameters of these experiments, or of all, on record."""
    known = json.loads(PARAMETERS.read_text())
    for name in wanted or experiment.names():
        found = experiment.find(name)
        known[name] = {
            preset: {spec.name: counted(state) for spec, _, state, _ in stages_by_shape(found, preset)}
            for preset in found.presets
        }
    tables = []
    for name in experiment.names():
        rows = [f"    {json.dumps(preset)}: {json.dumps(counts)}" for preset, counts in known[name].items()]
        tables.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n  }")
    PARAMETERS.write_text("{\n" + ",\n".join(tables) + "\n}\n")


if __name__ == "__main__":
    write_parameters(*sys.argv[1:])
