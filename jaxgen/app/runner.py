"""The runner: one function a command, the same for every experiment."""

import contextlib
import dataclasses
import datetime
import functools
import io
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxgen
from jaxgen import consent, local_paths
from jaxgen.app import evaluation_page, other_data, report, runs
from jaxgen.app.sample_files import plain_name, remove_samples, write_samples
from jaxgen.app.sample_request import Request, apply_request
from jaxgen.config import RunConfig, choose_preset, diff, flag, from_dict, nearest, to_dict
from jaxgen.data.pipeline import Feed
from jaxgen.data.source import identity
from jaxgen.discovery import names
from jaxgen.errors import UserError
from jaxgen.experiment import EVALUATE, SAMPLE, Evaluation, Experiment, Run, StageSpec, find, is_file, key_of, stages_of
from jaxgen.facts import Facts
from jaxgen.train import Reporter, load_params, train_stage

Say = Callable[[str], None]


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
    reference = reference or experiment.name
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
    data = _about_data(splits)
    loaded = time.perf_counter() - began
    if chief and not resuming:
        about = {
            "experiment": experiment.name,
            "source": str(Path(reference).resolve()) if is_file(reference) else None,
            "summary": experiment.summary,
            "baseline": experiment.baseline,
            "applies": experiment.apply is not None,
            "preset": preset,
            "changed": sorted(diff(experiment.presets[preset], config)) if preset in experiment.presets else [],
            "command": command(reference, preset, config, experiment),
            "config": to_dict(config),
        }
        files = {
            "config.json": about,
            "constants.json": measured(experiment, config, splits).to_json(),
            "data.json": data,
            "environment.json": environment(),
        }
        runs.create(path, files)
    _barrier("folder")
    folder = runs.open_run(path)
    with runs.locked(folder) if chief else contextlib.nullcontext():
        started(folder)
        if resuming:
            _same_data(folder, data)
            say(f"going on with {path}")
        constants = runs.read_object(folder.constants)
        if resuming:
            now = measured(experiment, config, splits).to_json()
            _as_measured(folder.constants, experiment.facts.current_names(constants), now)
        clock = _Clock(folder, began, loaded, config.batch_size)
        run = Run(config, _facts(experiment, folder.constants, constants), {}, splits)
        run = _train_stages(experiment, run, constants, folder, clock, quiet or not chief)
        if not chief:
            return folder
        clock.save()
        say("evaluating")
        evaluating = time.perf_counter()
        evaluation = experiment.evaluate(_at_home(run._replace(key=key_of(config, EVALUATE))))
        save_evaluation(evaluation, folder.path)
        clock.save(evaluate_seconds=time.perf_counter() - evaluating, measured=evaluation.timings)
        runs.write_json(folder.chosen, evaluation.chosen)
        runs.write_json(folder.metrics, evaluation.metrics)
        report.write(folder, images=images)
        with contextlib.suppress(OSError):
            folder.error.unlink(missing_ok=True)
    for line in results(folder):
        say(line)
    return folder


class Opened(NamedTuple):
    """A finished run with what it was made from.

    Attributes:
        folder: the run folder.
        experiment: its experiment.
        run: configuration, facts, trained parameters, and what the run's evaluation chose, if it has been evaluated.
    """

    folder: runs.RunFolder
    experiment: Experiment
    run: Run


def open_trained(path: Path | str) -> Opened:
    """A finished run with its experiment, configuration, facts and trained parameters.

    Args:
        path: the run folder.

    Returns:
        What was opened.

    Raises:
        UserError: if there is no run, its experiment is gone, or its training is not finished.
    """
    folder, experiment, _, config = open_config(path)
    constants = runs.read_object(folder.constants)
    params: dict[str, Any] = {}
    run = Run(config, _facts(experiment, folder.constants, constants), params, chosen=_chosen(folder.chosen))
    for spec in stages_of(experiment, config):
        if not folder.checkpoints(_folder_of(spec, folder)).is_dir():
            raise UserError(f"{path}: its stage {spec.name!r} is not trained yet; go on with `{resume(folder)}`")
        damaged: list[str] = []
        saved = load_params(folder.checkpoints(_folder_of(spec, folder)), warn=damaged.append)
        _as_trained_with(folder.constants, saved.constants, constants)
        steps = spec.build(run).steps
        if saved.step < steps:
            why = "".join(f" ({line.partition('; ')[0]})" for line in damaged[:1])
            raise UserError(
                f"{path}: its stage {spec.name!r} is at step {saved.step} of {steps}{why}; "
                f"go on with `{resume(folder)}`"
            )
        params[spec.name] = saved.params
    return Opened(folder, experiment, run)


def measured(experiment: Experiment, config: RunConfig, splits: Any) -> Facts:
    """The facts about the data of a run that begins."""
    return experiment.facts() if experiment.measure is None else experiment.measure(config, splits)


def _facts(experiment: Experiment, path: Path, constants: Mapping[str, Any]) -> Facts:
    """The facts of a run folder."""
    try:
        return experiment.facts.from_json(constants)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('constants.json: ')}") from error


def _folder_of(spec: StageSpec, folder: runs.RunFolder) -> str:
    """The name of a stage's folder: a run of before has that of before."""
    return spec.formerly if spec.formerly and folder.checkpoints(spec.formerly).is_dir() else spec.name


def _chosen(path: Path) -> dict[str, Any]:
    """The settings that the run's evaluation chose: numbers and words, or a dict of them for each method."""
    chosen = runs.read_object(path, default={})
    for name, value in chosen.items():
        for one in value.values() if isinstance(value, dict) else (value,):
            if not isinstance(one, int | float | str | None) or isinstance(one, bool):  # null is NaN
                raise UserError(
                    f"{path}: {name!r} is no setting that jaxgen writes; restore it from a copy, or take the file away "
                    "to use the settings in the middle"
                )
    return chosen


def _as_trained_with(path: Path, saved: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Refuse constants that are not those of the checkpoints."""
    for name in [*saved, *measured]:
        if name not in measured or name not in saved or measured[name] != saved[name]:
            raise UserError(
                f"{path}: {name!r} is not what the run was trained with; restore the file from a copy of the run"
            )


_HOME = "home"
"""The fact that says which training images a run has; runs of before did not keep it."""


def _at_home(run: Run) -> Run:
    """A run whose facts say which training images it has."""
    if run.facts.home:
        return run
    return run._replace(facts=dataclasses.replace(run.facts, home=identity(run.splits.train)))


def _as_measured(path: Path, saved: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Refuse constants of an unfinished run that are not those of its data."""
    wanted = runs.plain(measured)
    for name in [*wanted, *saved]:
        if name == _HOME and name not in saved:
            continue
        if name not in saved or name not in wanted or not _near(saved[name], wanted[name]):
            raise UserError(
                f"{path}: {name!r} is not what was measured on the run's data when it began; restore the file from a "
                "copy, or start a new run in another --workdir"
            )


def _near(a: Any, b: Any) -> bool:
    """Whether two values of JSON are equal, numbers up to what another machine may round."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_near(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_near, a, b))
    if isinstance(a, bool) or isinstance(b, bool) or not (isinstance(a, int | float) and isinstance(b, int | float)):
        return a == b
    return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6)


def open_config(path: Path | str) -> tuple[runs.RunFolder, Experiment, str, RunConfig]:
    """A run with its experiment, preset and configuration, finished or not.

    Args:
        path: the run folder.

    Returns:
        The folder, the experiment, the name of its preset and the configuration.

    Raises:
        UserError: if there is no run, its experiment is gone, or opening it would execute a file that the user did not
            agree to (`jaxgen.consent`).
    """
    folder = runs.open_run(path)
    about = _about(folder)
    experiment = _experiment_of(folder, about)
    preset = str(about.get("preset"))
    config = experiment.presets.get(preset) or next(iter(experiment.presets.values()))
    experiment = experiment._replace(load=consent.guarded(experiment.load))
    return folder, experiment, preset, _saved_config(folder, about, type(config))


def _about(folder: runs.RunFolder) -> dict[str, Any]:
    about = runs.read_json(folder.config)
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise UserError(f"{folder.config}: it is not the configuration of a jaxgen run; give the path of a run folder")
    return about


def _saved_config(folder: runs.RunFolder, about: Mapping[str, Any], kind: type[RunConfig]) -> RunConfig:
    try:
        return from_dict(kind, about["config"])
    except UserError as error:
        reason = str(error).removeprefix("config.json: ")[:300]
        raise UserError(f"{folder.config}: {reason}; restore it from a copy") from error
    except RecursionError as error:
        raise UserError(f"{folder.config}: it is nested too deeply; restore it from a copy") from error


def _experiment_of(folder: runs.RunFolder, about: Mapping[str, Any]) -> Experiment:
    """The experiment of a run: a built-in one, or with the user's consent that of the file which the run names."""
    source, name = about.get("source"), about.get("experiment")
    if not source:
        if not isinstance(name, str) or is_file(name) or name not in names():
            hint = nearest(name, names()) if isinstance(name, str) else ""
            raise UserError(
                f"{folder.config}: its experiment {name!r} is none that comes with jaxgen{hint} (see `jaxgen list`); "
                "restore the file from a copy"
            )
        return find(name)
    if not isinstance(source, str) or not is_file(source) or "\0" in source:
        raise UserError(f"{folder.config}: its source {source!r} is no Python file; restore the file from a copy")
    if not consent.may_run_code():
        again = consent.command_with("--trust-code", f"jaxgen run {shlex.quote(str(folder.path))}")
        raise UserError(
            f"{folder.path}: to open this run, the file {Path(source).resolve()} would be executed; "
            f"if you know what is in it, type: {again}"
        )
    return find(source)


def reference_of(folder: runs.RunFolder) -> str:
    """How the command line names the experiment of a run."""
    about = _about(folder)
    return str(about.get("source") or about.get("experiment"))


def evaluate(
    path: Path, data: str | None, out: Path | None, say: Say = print, *, images: bool = True, **reading: Any
) -> Path:
    """Evaluate a trained run on its own test set, or on all of other data.

    On other data every example counts, whichever way they are split (of data that are computed, their test set);
    baselines are fitted to the run's own training data and settings chosen on its own validation data, as for its own
    test set.

    Args:
        path: the run folder.
        data: the data, as the flag ``--data`` takes it; None for the run's own.
        out: where ``metrics.json``, the figures and the page go; None for a folder inside the run folder.
        say: called with each line for the user.
        images: put the figures into the page; they may show patients.
        **reading: other ways to read the files of `data`, fields of the configuration such as ``slices``.

    Returns:
        The folder written.

    Raises:
        UserError: if the run is not trained or the data are wrong.
    """
    folder, experiment, run = open_trained(path)
    config = run.config
    reread = other_data.read_as(experiment, config, **reading)
    other = data if data is not None and other_data.is_other(config, data) else None
    if other is None and reread != config:
        raise UserError("--slices and --foreground say how the files of other data are read; name those with --data")
    if other is not None:
        config, splits, home = other_data.load_for_evaluation(experiment, config, reread, run.facts, other)
        about = {**_about_data(splits), "train": 0, "validation": 0, "baselines": home}
        part = "its test set" if splits.origin == "computed" else "all of them"
        where = f"{other_data.count(splits.test)} of {splits.name}, {part}"
        note = f"evaluated {where}; baselines fitted on {home}, settings chosen there"
    else:
        splits = experiment.load(config)
        about, home = _about_data(splits), splits.name
        where = f"{other_data.count(splits.test)} of {splits.name}, the test set"
        note = ""
    run = _at_home(run._replace(config=config, splits=splits, key=key_of(config, EVALUATE)))
    target = out or folder.path / "evaluations" / _label(config.data or "own")
    with new_folder(target, "--out"):
        say(f"evaluating {where}")
        evaluation = experiment.evaluate(run)
        save_evaluation(evaluation, target)
        runs.write_json(target / "metrics.json", evaluation.metrics)
        if evaluation.timings:
            runs.write_json(target / "timings.json", {"measured": evaluation.timings})
        runs.write_json(target / "data.json", about)
        facts = {"data": splits.name, "examples": len(splits.test), "run": folder.path.name, "trained on": home}
        evaluation_page.write(folder, target, note or f"evaluated {where}", facts, images=images)
    if note:
        say(note)
    for line in _lines(evaluation.headline, evaluation.metrics, target / "figures" / "captions.json", experiment):
        say(line)
    say(f"\nreport: {target / 'report.html'}\n{target}")
    return target


class _Later:
    """Data that are read when somebody looks at them: most samples need none."""

    def __init__(self, load: Callable[[], Any]):
        self._load = functools.cache(load)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def sample(
    path: Path,
    n: int,
    out: Path | None,
    seed: int | None,
    say: Say = print,
    request: Request = Request(),  # noqa: B008
) -> Path:
    """Draw samples from a trained run.

    Args:
        path: the run folder.
        n: how many.
        out: where figures, ``samples.npz`` and a file for each image go; None for ``samples/`` in the run folder.
        seed: a seed of its own; None for the run's.
        say: called with each line for the user.
        request: labels, guidance, sampler and steps, where the run has them.

    Returns:
        The folder written.

    Raises:
        UserError: if the run is not trained, or the experiment cannot sample or not as asked.
    """
    folder, experiment, run = open_trained(path)
    if experiment.sample is None:
        raise UserError(f"{path}: the experiment {experiment.name} has nothing to sample; try `jaxgen eval`")
    asked, keywords = apply_request(request, experiment, run, n)
    target = out or folder.path / "samples"
    key = key_of(run.config if seed is None else dataclasses.replace(run.config, seed=seed), SAMPLE)
    with new_folder(target, "--out"):
        splits = _Later(lambda: experiment.load(run.config))
        evaluation = experiment.sample(run._replace(config=asked, splits=splits, key=key), n, **keywords)
        save_evaluation(evaluation, target)
        if out is None:
            remove_samples(target)
        arrays: dict[str, Any] = {name: np.asarray(array) for name, array in evaluation.arrays.items()}
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            runs.write_bytes(target / "samples.npz", buffer.getvalue())
        files = sum(
            write_samples(
                target,
                "sample" if name == "images" else plain_name(name),
                arrays[name],
                spatial=experiment.spatial_dims,
                label=arrays.get("label"),
                label_names=arrays.get("label_names", ()),
                value_range=getattr(run.facts, "value_range", None),
            )
            for name in evaluation.images
        )
    if files:
        say(f"{files} files of samples, and samples.npz")
    for line in _lines(evaluation.headline, evaluation.metrics, target / "figures" / "captions.json", experiment):
        say(line)
    say(f"\n{target}")
    return target


def results(folder: runs.RunFolder) -> list[str]:
    """The lines that end a run: headline, metrics against the baseline, and where everything is."""
    about, metrics = runs.read_object(folder.config, runs.CONFIG), runs.read_object(folder.metrics)
    captions = runs.read_object(folder.captions, runs.CAPTIONS, default={})
    lines = ["", *filter(None, [captions.get("headline", "")]), ""]
    if about.get("preset") == "smoke":
        lines += ["The preset smoke only shows that the parts work: these numbers say nothing of the method.", ""]
    metrics = report.ordered(metrics, captions.get("order", {}))
    lines += report.table(metrics, captions.get("describe", {}), about.get("baseline", "")).splitlines()
    return [*lines, "", f"report: {folder.report}", f"run:    {folder.path}"]


def resume(folder: runs.RunFolder) -> str:
    """The command that goes on with a run."""
    return f"jaxgen run {runs.argument(folder.path)}{trust(folder)}"


def trust(folder: runs.RunFolder) -> str:
    """What a command needs beside the path of a run that was made from a user's file; else an empty text."""
    return " --trust-code" if runs.read_object(folder.config, default={}).get("source") else ""


def command(reference: str, preset: str, config: RunConfig, experiment: Experiment) -> str:
    """The shortest command that runs this configuration from nothing.

    Args:
        reference: the name or file of the experiment.
        preset: the name of the preset.
        config: the configuration.
        experiment: the experiment.

    Returns:
        A line for the shell.
    """
    default, _ = choose_preset(experiment.presets, None)
    words = ["jaxgen", "run", reference, *(["--preset", preset] if preset != default else [])]
    for name, (_, value) in diff(experiment.presets.get(preset, config), config).items():
        if isinstance(value, bool):
            words.append(flag(name) if value else flag("no_" + name))
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
        words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return shlex.join(words)


def environment() -> dict[str, Any]:
    """Versions, devices and the machine, as saved with every run."""
    device = jax.devices()[0]
    return {
        "started": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z").strip(),
        "device": f"{jax.device_count()} x {device.device_kind}".removeprefix("1 x "),
        "platform": device.platform,
        "processes": jax.process_count(),
        "cpu_count": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "jaxgen": jaxgen.__version__,
        "commit": commit(),
        "versions": versions(),
        "command_line": shlex.join(map(local_paths.without_paths, [Path(sys.argv[0]).name, *sys.argv[1:]])),
    }


def commit() -> str | None:
    """The commit of the checkout that jaxgen runs from, with ``+`` where files differ from it; None outside of one."""
    git = ["git", "-C", str(Path(jaxgen.__file__).parent)]
    try:
        words = [*git, "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions of the packages that results depend on; those not installed are left out."""
    names = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "grain", "tensorflow-datasets", "numpy"]
    found = {}
    for name in [*names, "scipy", "nibabel", "pillow", "pydicom", "highdicom"]:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def make_folder(path: Path, name: str) -> None:
    """Make a folder for outputs.

    Args:
        path: the folder.
        name: the flag it came from, for the message.

    Raises:
        UserError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} {path}: it cannot be made ({runs.explain(error)}); give another folder") from error


@contextlib.contextmanager
def new_folder(path: Path, name: str) -> Iterator[Path]:
    """Make a folder for outputs; if what fills it fails before anything is in it, it is taken away again.

    Args:
        path: the folder.
        name: the flag it came from, for the message.

    Yields:
        The folder.

    Raises:
        UserError: if it cannot be made.
    """
    made = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    make_folder(path, name)
    try:
        yield path
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Save figures, captions, headline and how to show the metrics under ``path/figures``.

    Args:
        evaluation: what to save; its metrics are left to the caller.
        path: a folder that is there.
    """
    figures = path / "figures"
    if figures.is_symlink():
        raise UserError(f"{figures}: it is a link, and figures are not written elsewhere; delete it")
    figures.mkdir(exist_ok=True)
    for name, (figure, _) in evaluation.figures.items():
        if not runs.is_plain_name(name):
            raise UserError(f"the figure {name!r} of this experiment has no plain name; name it without / and \\")
        buffer = io.BytesIO()
        # without the version of matplotlib, equal figures are equal files
        figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
        runs.write_bytes(figures / f"{name}.png", buffer.getvalue())
    captions = {
        "headline": evaluation.headline,
        "figures": [{"name": name, "caption": figure.caption} for name, figure in evaluation.figures.items()],
        "describe": {name: metric._asdict() for name, metric in evaluation.describe.items()},
        "order": {
            "methods": list(evaluation.metrics),
            "metrics": list(dict.fromkeys(n for m in evaluation.metrics.values() if isinstance(m, Mapping) for n in m)),
        },
    }
    runs.write_json(figures / "captions.json", captions)


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
    feed = Feed(
        examples,
        config.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=config.workers,
    )
    for spec in stages_of(experiment, config):
        stage = spec.build(run._replace(params=params, splits=None))._replace(formerly=spec.formerly)
        result = train_stage(stage, feed, config, folder.path, constants, reporter)
        clock.stage(spec.name, result.timings)
        params[spec.name] = _local(result.params)
    return run._replace(params=params)


def _local(tree: Any) -> Any:
    """Parameters on this process's first device, wherever training spread them."""
    device = jax.local_devices()[0]
    return jax.tree.map(lambda x: jax.device_put(np.asarray(x.addressable_data(0)), device), tree)


class _Clock:
    """timings.json: what all sessions of a run took together."""

    def __init__(self, folder: runs.RunFolder, began: float, loaded: float, batch_size: int):
        self.folder, self.began, self.batch_size = folder, began, batch_size
        try:
            self.before = runs.read_object(folder.timings, runs.TIMINGS, default={})
        except UserError:
            self.before = {}
        self.now: dict[str, Any] = {"load_seconds": loaded, "stages": {}}

    def stage(self, name: str, timings: Mapping[str, Any]) -> None:
        before = self.before.get("stages", {}).get(name, {})
        both = {key: before.get(key, 0) + timings.get(key, 0) for key in ("steps", "compile_seconds", "train_seconds")}
        if both["train_seconds"] > 0:
            both["images_per_second"] = both["steps"] * self.batch_size / both["train_seconds"]
        self.now["stages"][name] = both

    def save(self, **more: Any) -> None:
        if jax.process_index() != 0:
            return
        self.now |= more
        total = self.before.get("total_seconds", 0) + time.perf_counter() - self.began
        sessions = self.before.get("sessions", 0) + 1
        runs.write_json(self.folder.timings, {**self.now, "total_seconds": total, "sessions": sessions})


def _refuse_another(folder: runs.RunFolder, experiment: Experiment, config: RunConfig) -> None:
    about = _about(folder)
    if (other := about.get("experiment")) != experiment.name:
        raise UserError(
            f"--workdir {folder.path}: it holds a run of {other}, not of {experiment.name}; give another folder"
        )
    saved = _saved_config(folder, about, type(config))
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


def _about_data(splits: Any) -> dict[str, Any]:
    """What ``data.json`` says of the data: the names of classes and raters, and who the test patients are."""
    people = {part: getattr(getattr(splits, part), "patients", None) for part in ("train", "validation", "test")}
    named: dict[str, Any] = {"classes": list(splits.label_names), "raters": list(splits.rater_names)}
    if people["test"] is not None:
        named["patients"] = {part: len(set(found)) for part, found in people.items() if found is not None}
        named["test_patients"] = sorted({str(patient) for patient in people["test"]})
    return {name: value for name, value in named.items() if value} | {
        "name": splits.name,
        "origin": local_paths.origin(splits.origin),
        "licence": splits.licence,
        "train": len(splits.train),
        "validation": len(splits.validation),
        "test": len(splits.test),
        "names": f"{zlib.crc32(json.dumps([list(map(str, part.names)) for part in splits[:3]]).encode()):08x}",
        "content": f"{_content(splits.test):08x}",
    }


def _content(source: Any) -> int:
    """A checksum of three examples, which tells sets apart whose names are alike."""
    crc = 0
    for i in sorted({0, len(source) // 2, len(source) - 1} & set(range(len(source)))):
        for name, value in sorted(source[i].items()):
            array = np.ascontiguousarray(value)
            if array.dtype.kind in "biufc":
                crc = zlib.crc32(array.tobytes(), zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc))
    return crc


def _same_data(folder: runs.RunFolder, data: Mapping[str, Any]) -> None:
    saved = runs.read_object(folder.data, default={})
    for name in ("train", "validation", "test", "names"):
        if name in saved and saved[name] != data[name]:
            what = "the names of its images" if name == "names" else f"{saved[name]} images to {name}"
            raise UserError(
                f"--data: {data['name']} changed since this run began ({what} then, another now); "
                "restore it, or start a new run in another --workdir"
            )


def _lines(headline: str, metrics: Mapping[str, Any], captions: Path, experiment: Experiment) -> list[str]:
    describe = runs.read_object(captions, runs.CAPTIONS, default={}).get("describe", {})
    lines = report.table(metrics, describe, experiment.baseline).splitlines()
    return [headline, "", *lines] if headline else lines


def _label(text: str) -> str:
    """A folder's name for what ``--data`` was."""
    clean = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in Path(text).name)[:60]
    return f"{clean.strip('-') or 'data'}-{zlib.crc32(text.encode()):08x}"


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"jaxgen-{name}")
