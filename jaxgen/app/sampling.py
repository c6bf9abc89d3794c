"""``jaxgen sample``: samples of a trained run, as a figure, arrays and a file each."""

import dataclasses
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.app import runs
from jaxgen.app.cards import with_report, write_cards
from jaxgen.app.opening import open_trained
from jaxgen.app.outputs import Say, new_folder, refuse_run, save_evaluation, table_lines
from jaxgen.app.sample_files import SETTINGS, plain_name, remove_samples, set_aside, write_samples
from jaxgen.app.sample_request import Request, apply_request
from jaxgen.errors import UserError
from jaxgen.experiment import SAMPLE, key_of, spatial_rank


class _Later:
    """Data that are read when somebody looks at them: most samples need none."""

    def __init__(self, load: Callable[[], Any]) -> None:
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
        out: where figures, ``samples.npz``, a file for each image and, with a release report, cards go; None for
            ``samples/`` in the run folder, where samples drawn before with other settings move into a folder of their
            own.
        seed: a seed of its own; None for the run's.
        say: called with each line for the user.
        request: labels, guidance, sampler and steps, where the run has them.

    Returns:
        The folder written.

    Raises:
        UserError: if the run is not trained, `out` is a run, or the experiment cannot sample or not as asked.
    """
    if out is not None:
        refuse_run(out, "--out")
    folder, experiment, run = open_trained(path)
    if experiment.sample is None:
        raise UserError(f"{path}: the experiment {experiment.name} has nothing to sample; try `jaxgen eval`")
    asked, keywords = apply_request(request, experiment, run, n)
    target = out or folder.path / "samples"
    seeded = run.config if seed is None else dataclasses.replace(run.config, seed=seed)
    settings = {"n": n, "seed": seeded.seed, **{k: v for k, v in request._asdict().items() if v is not None}}
    key = key_of(seeded, SAMPLE)
    with new_folder(target, "--out"):
        splits = _Later(lambda: experiment.load(run.config))
        evaluation = experiment.sample(run._replace(config=asked, splits=splits, key=key), n, **keywords)
        evaluation = evaluation._replace(release=with_report(evaluation.release, folder.path))
        if out is None:
            if (moved := set_aside(target, settings)) is not None:
                say(f"samples drawn before with other settings are now in {moved}")
            remove_samples(target)
            runs.write_json(target / SETTINGS, settings)
        save_evaluation(evaluation, target)
        if evaluation.release:
            write_cards(target, evaluation.release, runs.read_object(folder.config, runs.CONFIG))
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
                spatial=spatial_rank(experiment, run.config),
                label=arrays.get("label"),
                label_names=arrays.get("label_names", ()),
                value_range=getattr(run.facts, "value_range", None),
            )
            for name in evaluation.images
        )
    if files:
        say(f"{files} files of samples, and samples.npz")
    for line in table_lines(evaluation.headline, evaluation.metrics, target / "figures" / "captions.json", experiment):
        say(line)
    say(f"\n{target}")
    return target
