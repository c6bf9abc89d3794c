"""``jaxgen run``: train, evaluate and report, the same for every experiment."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen.app import report, runs, while_training
from jaxgen.app.opening import about_run, at_home, facts_of, measured, refuse_other_facts, resume, saved_config
from jaxgen.app.outputs import Say, results, save_evaluation
from jaxgen.app.provenance import about_data, command, environment, refuse_changed_data
from jaxgen.config import RunConfig, diff, flag, to_dict
from jaxgen.data.pipeline import Feed
from jaxgen.errors import UserError
from jaxgen.experiment import EVALUATE, Experiment, Run, is_file, key_of, stages_of
from jaxgen.train import Interrupted, Reporter, train_stage


def train(
    experiment: Experiment,
    preset: str,
    config: RunConfig,
    workdir: Path | None,
    *,
    reference: str = "",
    say: Say = print,
    quiet: bool = False,
    images: bool = True,
    started: Callable[[runs.RunFolder], None] = lambda folder: None,
) -> runs.RunFolder:
    """Train, evaluate and report an experiment; goes on where it stopped if the folder holds this run already.

    Args:
        experiment: what to run.
        preset: the name of the preset that `config` came from.
        config: the configuration.
        workdir: the run folder; None for a new one under ``runs/``.
        reference: how the command line names the experiment: its name, or the path of its file.
        say: called with each line for the user.
        quiet: no progress bar.
        images: put the figures in the page.
        started: called with the folder as soon as there is one.

    Returns:
        The run folder, finished.

    Raises:
        UserError: if the folder holds another run or something else, or cannot be written, or the data are wrong.
        jaxgen.train.Interrupted: if a signal asked to stop; a checkpoint is saved.
    """
    began = time.perf_counter()
    path = workdir or runs.default_path(experiment.name, preset)
    chief = jax.process_index() == 0
    resuming = runs.is_run(path)
    if resuming:
        folder = runs.open_run(path)
        _refuse_another(folder, experiment, config)
        if folder.finished():
            started(folder)
            return _finished_before(folder, say, images)
    splits = experiment.load(config)
    data = about_data(splits)
    loaded = time.perf_counter() - began
    if chief and not resuming:
        files = {
            "config.json": _about_new(experiment, preset, config, reference or experiment.name),
            "constants.json": measured(experiment, config, splits).to_json(),
            "data.json": data,
            "environment.json": environment(),
        }
        runs.create(path, files)
    _barrier("folder")
    folder = runs.open_run(path)
    with runs.locked(folder) if chief else contextlib.nullcontext():
        started(folder)
        constants = runs.read_object(folder.constants)
        if resuming:
            refuse_changed_data(folder, data)
            say(f"going on with {path}")
            now = measured(experiment, config, splits).to_json()
            refuse_other_facts(folder.constants, experiment.facts.current_names(constants), now)
        with _Clock(folder, began, loaded, config.batch_size) as clock:
            run = Run(config, facts_of(experiment, folder.constants, constants), {}, splits)
            run = _train_stages(experiment, run, constants, folder, clock, quiet or not chief)
            if not chief:
                return folder
            say("evaluating")
            with clock.evaluation():
                evaluation = experiment.evaluate(at_home(run._replace(key=key_of(config, EVALUATE))))
                save_evaluation(evaluation, folder.path)
            clock.save(measured=evaluation.timings)
        runs.write_json(folder.chosen, evaluation.chosen)
        runs.write_json(folder.metrics, evaluation.metrics)
        report.write(folder, images=images)
        with contextlib.suppress(OSError):
            folder.error.unlink(missing_ok=True)
    for line in results(folder):
        say(line)
    return folder


def _about_new(experiment: Experiment, preset: str, config: RunConfig, reference: str) -> dict[str, Any]:
    """What ``config.json`` of a new run says."""
    return {
        "experiment": experiment.name,
        "source": str(Path(reference).resolve()) if is_file(reference) else None,
        "summary": experiment.summary,
        "baseline": experiment.baseline,
        "applies": experiment.apply is not None,
        "previews": experiment.preview is not None,
        "preset": preset,
        "changed": sorted(diff(experiment.presets[preset], config)) if preset in experiment.presets else [],
        "command": command(reference, preset, config, experiment),
        "config": to_dict(config),
    }


def _train_stages(
    experiment: Experiment,
    run: Run,
    constants: Mapping[str, Any],
    folder: runs.RunFolder,
    clock: "_Clock",
    quiet: bool,
) -> Run:
    config, splits, params = run.config, run.splits, dict(run.params)
    reporter = Reporter(folder.path if jax.process_index() == 0 else None, quiet=quiet)
    examples = splits.train if experiment.examples is None else experiment.examples(run)
    feed = _feed(config, examples)
    for spec in stages_of(experiment, config, run.facts):
        own = None if spec.examples is None else spec.examples(run._replace(params=params))
        stage = spec.build(run._replace(params=params, splits=None))._replace(formerly=spec.formerly)
        so_far = run._replace(params=dict(params))
        shown = while_training.evaluator(experiment, so_far, spec.name, folder)
        fed = feed if own is None else _feed(config, own)
        try:
            result = train_stage(stage, fed, config, folder.path, constants, reporter, evaluator=shown)
        except Interrupted as stop:
            clock.stage(spec.name, stop.timings)
            raise
        clock.stage(spec.name, result.timings)
        clock.save()
        params[spec.name] = _local(result.params)
    return run._replace(params=params)


def _feed(config: RunConfig, examples: Any) -> Feed:
    return Feed(
        examples,
        config.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.workers,
    )


def _local(tree: Any) -> Any:
    """Parameters on this process's first device, wherever training spread them."""
    device = jax.local_devices()[0]
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x.addressable_data(0)), device), tree)


class _Clock:
    """timings.json: what all sessions of a run took together, one that was stopped too. Saved when the block ends."""

    def __init__(self, folder: runs.RunFolder, began: float, loaded: float, batch_size: int) -> None:
        self.folder, self.began, self.batch_size = folder, began, batch_size
        try:
            self.before = runs.read_object(folder.timings, runs.TIMINGS, default={})
        except UserError:
            self.before = {}
        self.now: dict[str, Any] = {**self.before, "stages": dict(self.before.get("stages", {}))}
        self.now["load_seconds"] = self.before.get("load_seconds", 0) + loaded
        self.now["sessions"] = self.before.get("sessions", 0) + 1

    def __enter__(self) -> "_Clock":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with contextlib.nullcontext() if kind is None else contextlib.suppress(OSError):  # the first error matters more
            self.save()

    def stage(self, name: str, timings: Mapping[str, Any]) -> None:
        before = self.before.get("stages", {}).get(name, {})
        both = {key: before.get(key, 0) + timings.get(key, 0) for key in ("steps", "compile_seconds", "train_seconds")}
        if evaluating := before.get("evaluate_seconds", 0) + timings.get("evaluate_seconds", 0):
            both["evaluate_seconds"] = evaluating
        if both["train_seconds"] > 0:
            both["images_per_second"] = both["steps"] * self.batch_size / both["train_seconds"]
        self.now["stages"][name] = both

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.now["evaluate_seconds"] = self.before.get("evaluate_seconds", 0) + time.perf_counter() - began

    def save(self, **more: Any) -> None:
        if jax.process_index() != 0:
            return
        self.now |= more
        self.now["total_seconds"] = self.before.get("total_seconds", 0) + time.perf_counter() - self.began
        runs.write_json(self.folder.timings, self.now)


def _refuse_another(folder: runs.RunFolder, experiment: Experiment, config: RunConfig) -> None:
    about = about_run(folder)
    if (other := about.get("experiment")) != experiment.name:
        raise UserError(
            f"--workdir {folder.path}: it holds a run of {other}, not of {experiment.name}; give another folder"
        )
    saved = saved_config(folder, about, type(config))
    if differing := diff(saved, config):
        said = ", ".join(f"{flag(name)} is {_show(a)} there and {_show(b)} here" for name, (a, b) in differing.items())
        raise UserError(
            f"--workdir {folder.path}: it holds a run with another configuration: {said}; "
            f"go on with it by `{resume(folder)}`, or give another folder"
        )


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else repr(value)


def _finished_before(folder: runs.RunFolder, say: Say, images: bool) -> runs.RunFolder:
    say(f"{folder.path} is finished; nothing to do")
    if not folder.report.is_file():
        report.write(folder, images=images)
    for line in results(folder):
        say(line)
    return folder


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"jaxgen-{name}")
