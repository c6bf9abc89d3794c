"""What ``jaxgen sample`` is asked for: labels, covariates, guidance, sampler, steps, where an experiment has them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgen.config import RunConfig, flag, nearest
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment, Run


class Request(NamedTuple):
    """How samples shall be drawn; None leaves a choice to the run.

    Attributes:
        label: names or numbers of classes, in turn.
        covariates: values of covariates, ``name=value``.
        guidance: the scale of the guidance by labels or covariates.
        sampler: the name of the sampler.
        steps: its steps.
        prompt: texts, in turn.
        control: files of hints, in turn.
        strength: the weight of the hints.
    """

    label: tuple[str, ...] | None = None
    covariates: tuple[str, ...] | None = None
    guidance: float | None = None
    sampler: str | None = None
    steps: int | None = None
    prompt: tuple[str, ...] | None = None
    control: tuple[str, ...] | None = None
    strength: float | None = None


def apply_request(request: Request, experiment: Experiment, run: Run, n: int) -> tuple[RunConfig, dict[str, Any]]:
    """Put what is asked for into the configuration, or into keywords of ``experiment.sample``.

    Args:
        request: what is asked for.
        experiment: the experiment; its `sample_flags` say what it takes.
        run: the run, for its configuration and the names of its classes.
        n: how many samples are drawn.

    Returns:
        The configuration and the keywords; among them ``label``, ``[n]`` numbers of classes, and ``covariates``, values
        by name.

    Raises:
        UserError: if the experiment does not take what is asked for, or the value does not fit.
    """
    config, keywords = run.config, dict[str, Any]()
    for name, value in request._asdict().items():
        if value is None:
            continue
        if name not in experiment.sample_flags:
            known = ", ".join(map(flag, ("n", "seed", *experiment.sample_flags)))
            raise UserError(f"{flag(name)}: samples of {experiment.name} have no such choice; they know {known}")
        field = experiment.sample_flags[name]
        if name == "label":
            numbers = class_numbers(value, getattr(run.facts, "classes", ()))
            keywords["label"] = np.resize(np.asarray(numbers, np.int32), n)
        elif name == "covariates":
            keywords["covariates"] = covariate_values(value, run.facts)
        elif field is None:
            keywords[name] = value
        else:
            change: dict[str, Any] = {field: (value,) if isinstance(getattr(config, field), tuple) else value}
            try:
                config = dataclasses.replace(config, **change)
            except UserError as error:
                raise UserError(str(error).replace(flag(field), flag(name))) from error
    return config, keywords


def class_numbers(words: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The numbers of classes by their names, or by their numbers; several may stand in one word, with commas between.

    Args:
        words: what the command line says.
        classes: the name of each class.

    Returns:
        Numbers of classes, in the order given.

    Raises:
        UserError: if there is no such class; the message names those there are.

    Example:
        >>> class_numbers(["bright,0"], ["dark", "bright"])
        [1, 0]
    """
    if not classes:
        raise UserError("--label: the run was trained without labels; leave it out")
    found = []
    for word in words:
        for name in [word] if word in classes else word.split(","):
            name = name.strip()
            if name in classes:
                found.append(list(classes).index(name))
            elif name.isdecimal() and int(name) < len(classes):
                found.append(int(name))
            else:
                known = ", ".join(one if one == str(i) else f"{one} ({i})" for i, one in enumerate(classes))
                raise UserError(f"--label {name}: no such class; the run knows {known}{nearest(name, classes)}")
    return found


def covariate_values(words: Sequence[str], facts: Any) -> dict[str, float]:
    """The values of covariates, ``name=value`` with commas between, in the units of the training data.

    Args:
        words: what the command line says.
        facts: of the run: ``covariates``, their names, and ``covariate_range``, their lowest and highest values.

    Returns:
        Values by name.

    Raises:
        UserError: for a name that is not known, a value out of the range of the training data, or one that is no
            number; the message names those there are, with their ranges.

    Example:
        >>> from types import SimpleNamespace
        >>> facts = SimpleNamespace(covariates=("age",), covariate_range=((44.0,), (82.0,)))
        >>> covariate_values(["age=70"], facts)
        {'age': 70.0}
    """
    names = tuple(getattr(facts, "covariates", ()))
    if not names:
        raise UserError("--covariates: the run was trained without covariates; leave it out")
    ranges = dict(zip(names, zip(*facts.covariate_range, strict=True), strict=True))
    known = ", ".join(f"{name} from {low:.4g} to {high:.4g}" for name, (low, high) in ranges.items())
    found: dict[str, float] = {}
    for part in (part.strip() for word in words for part in word.split(",")):
        name, _, text = (side.strip() for side in part.partition("="))
        try:
            value = float(text)
        except ValueError:
            raise UserError(
                f"--covariates {part}: write name=number, with commas between; the run knows {known}"
            ) from None
        if name not in ranges:
            raise UserError(f"--covariates {part}: no such covariate; the run knows {known}{nearest(name, names)}")
        low, high = ranges[name]
        room = 1e-3 * (high - low)
        if not low - room <= value <= high + room:
            raise UserError(f"--covariates {part}: outside of the training data; the run knows {known}")
        if name in found:
            raise UserError(f"--covariates {part}: {name} is given twice; give it once")
        found[name] = value
    return found
