"""Opening a run folder: its experiment, configuration, facts and trained parameters, checked against each other."""

import dataclasses
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import consent
from jaxgen.app import runs
from jaxgen.config import RunConfig, from_dict, nearest
from jaxgen.data.source import identity
from jaxgen.discovery import names
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Run, StageSpec, find, is_file, stages_of
from jaxgen.facts import Facts
from jaxgen.train import load_params


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
    run = Run(config, facts_of(experiment, folder.constants, constants), params, chosen=chosen_of(folder.chosen))
    for spec in stages_of(experiment, config, run.facts):
        if not folder.checkpoints(folder_of(spec, folder)).is_dir():
            raise UserError(f"{path}: its stage {spec.name!r} is not trained yet; go on with `{resume(folder)}`")
        damaged: list[str] = []
        saved = load_params(folder.checkpoints(folder_of(spec, folder)), warn=damaged.append)
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


def facts_of(experiment: Experiment, path: Path, constants: Mapping[str, Any]) -> Facts:
    """The facts of a run folder."""
    try:
        return experiment.facts.from_json(constants)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix('constants.json: ')}") from error


def folder_of(spec: StageSpec, folder: runs.RunFolder) -> str:
    """The name of a stage's folder: a run of before has that of before."""
    return spec.formerly if spec.formerly and folder.checkpoints(spec.formerly).is_dir() else spec.name


def chosen_of(path: Path) -> dict[str, Any]:
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


def at_home(run: Run) -> Run:
    """A run whose facts say which training images it has."""
    if run.facts.home:
        return run
    return run._replace(facts=dataclasses.replace(run.facts, home=identity(run.splits.train)))


def refuse_other_facts(path: Path, saved: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
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
    about = about_run(folder)
    experiment = _experiment_of(folder, about)
    preset = str(about.get("preset"))
    config = experiment.presets.get(preset) or next(iter(experiment.presets.values()))
    experiment = experiment._replace(load=consent.guarded(experiment.load))
    return folder, experiment, preset, saved_config(folder, about, type(config))


def about_run(folder: runs.RunFolder) -> dict[str, Any]:
    """What ``config.json`` says; a `UserError` if it is not that of a run."""
    about = runs.read_json(folder.config)
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise UserError(f"{folder.config}: it is not the configuration of a jaxgen run; give the path of a run folder")
    return about


def saved_config(folder: runs.RunFolder, about: Mapping[str, Any], kind: type[RunConfig]) -> RunConfig:
    """The configuration in ``config.json``, of this version or the one before."""
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
    if not Path(source).is_file():
        raise UserError(
            f"{folder.path}: the file {source} that this run was made from is not there; put it back, or write where "
            f"it is now into `source` in {folder.config}"
        )
    return find(source)


def reference_of(folder: runs.RunFolder) -> str:
    """How the command line names the experiment of a run."""
    about = about_run(folder)
    return str(about.get("source") or about.get("experiment"))


def resume(folder: runs.RunFolder) -> str:
    """The command that goes on with a run."""
    return f"jaxgen run {runs.argument(folder.path)}{trust(folder)}"


def trust(folder: runs.RunFolder) -> str:
    """What a command needs besides the path of a run that was made from a user's file; else an empty text."""
    return " --trust-code" if runs.read_object(folder.config, default={}).get("source") else ""
