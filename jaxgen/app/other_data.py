"""Other data for a trained run: all of them are the test set, while training and validation data stay the run's own.

What a model learned, what baselines are fitted to and what settings are chosen on are then of one place, so that model
and baselines go to the other place on equal terms.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxgen.config import RunConfig, flag
from jaxgen.data import Everything, Source, Splits, measure_range
from jaxgen.data.everything import all_in_test, with_classes_of
from jaxgen.errors import UserError
from jaxgen.experiment import Experiment
from jaxgen.facts import Facts

MOST_MEASURED = 100
"""Images of the other data whose range of values is compared with that of the run."""


def is_other(config: RunConfig, data: str | None) -> bool:
    """Whether `data` names other data than those of the run.

    Example:
        >>> config = RunConfig(data="a/home.npz")
        >>> is_other(config, None), is_other(config, "a/../a/home.npz"), is_other(config, "b.npz")
        (False, False, True)
    """
    if data is None or data == config.data:
        return False
    one, two = (Path(text).expanduser() for text in (data, config.data))
    return not (config.data and one.resolve() == two.resolve())


def read_as(experiment: Experiment, config: RunConfig, **reading: Any) -> RunConfig:
    """The configuration with other ways to read files.

    Args:
        experiment: the experiment, for the message.
        config: the configuration.
        **reading: fields of the configuration; None for no change.

    Returns:
        The configuration, changed.

    Raises:
        UserError: if the experiment has no such field, or the value does not fit.
    """
    known = {field.name for field in dataclasses.fields(config)}
    changes = {name: value for name, value in reading.items() if value is not None}
    for name in changes:
        if name not in known:
            raise UserError(f"{flag(name)}: {experiment.name} has no such choice; leave it out")
    return dataclasses.replace(config, **changes)


def load_for_evaluation(
    experiment: Experiment, home_config: RunConfig, config: RunConfig, facts: Facts, data: str
) -> tuple[RunConfig, Splits, str]:
    """The run's own data with all of the other data as the test set.

    Args:
        experiment: the experiment.
        home_config: the configuration of the run.
        config: the same, or with other ways to read the other files.
        facts: what was measured on the run's own data.
        data: the other data, as ``--data`` names them.

    Returns:
        The configuration to evaluate with, the data, and the name of the run's own data.

    Raises:
        UserError: if the other data cannot be read or are of another kind (channels, volumes, range of values,
            classes), or the run's own data are gone.
    """
    config = dataclasses.replace(config, data=Everything(data))
    other = experiment.load(config)
    if len(other.train) and other.origin != "computed":  # what is computed has no end: its test set is as good as all
        other = all_in_test(other)
    try:
        home = experiment.load(home_config)
    except UserError as error:
        raise UserError(
            f"the run's own data are needed, for its baselines are fitted to them and its settings chosen on them: "
            f"{error}"
        ) from error
    if not len(other.test):
        raise UserError(f"--data {data}: it holds no example to evaluate; add some")
    _check_kind(other.test, home.train, data)
    _check_range(other.test, getattr(facts, "value_range", None), data)
    if home.covariate_names and other.covariate_names != home.covariate_names:
        raise UserError(
            f"--data {data}: its covariates are {', '.join(other.covariate_names) or 'none'}, those of the run "
            f"{', '.join(home.covariate_names)}; give the same ones in this order"
        )
    if other.mask_names != home.mask_names:
        theirs, ours = (", ".join(names) or "one foreground" for names in (other.mask_names, home.mask_names))
        raise UserError(
            f"--data {data}: its masks have {theirs}, those of the run {ours}; "
            "choose the same classes in this order with --foreground"
        )
    test, names = other.test, home.label_names
    if other.label_names:
        classes = tuple(getattr(facts, "classes", ()))
        names = classes or (*home.label_names, *(n for n in other.label_names if n not in home.label_names))
        test = with_classes_of(test, other.label_names, names, f"--data {data}")
    about = other._replace(train=home.train, validation=home.validation, test=test, label_names=names)
    return config, about, home.name


def _check_kind(other: Source, home: Source, data: str) -> None:
    """Images of as many axes and channels as the run was trained on."""
    if "image" not in (theirs := other[0]) or "image" not in (ours := home[0]):
        return
    new, known = theirs["image"], ours["image"]
    if new.ndim != known.ndim:
        kinds = {3: "2-D images", 4: "volumes"}
        raise UserError(
            f"--data {data}: it has {kinds.get(new.ndim, 'other arrays')}, but the run was trained on "
            f"{kinds.get(known.ndim, 'others')}; give data of that kind"
        )
    if new.shape[-1] != known.shape[-1]:
        made = {1: "convert them to grey", 3: "convert them to colour (RGB)"} if new.shape[-1] in (1, 3) else {}
        raise UserError(
            f"--data {data}: its images have {_channels(new)}, but the run was trained on {_channels(known)}; "
            f"{made.get(known.shape[-1], 'give images of as many, [n, h, w, channels]')}"
        )


def _channels(image: np.ndarray) -> str:
    n = image.shape[-1]
    return f"{n} channel" + "s" * (n != 1)


def _check_range(other: Source, value_range: Any, data: str) -> None:
    """Values of the same kind: not Hounsfield units and bytes, nor bytes and numbers from 0 to 1."""
    if not value_range or "image" not in other[0]:
        return
    low, high = (float(f(bound)) for f, bound in zip((np.min, np.max), value_range, strict=True))
    found = measure_range(other, most=MOST_MEASURED)
    new_low, new_high = float(np.min(found[0])), float(np.max(found[1]))
    width, new_width = high - low, new_high - new_low
    if width <= 0 or new_width <= 0:
        return
    covered = (min(high, new_high) - max(low, new_low)) / width
    signs_differ = (low < -0.1 * width and new_low >= 0) or (low >= 0 and new_low < -0.1 * new_width)
    if covered < 0.15 or new_width > 5 * width or signs_differ:
        raise UserError(
            f"--data {data}: its values go from {new_low:g} to {new_high:g}, those the run was trained on from {low:g} "
            f"to {high:g}: not one kind of values (such as 8 bits and Hounsfield units); bring them to one scale"
        )


def count(test: Source) -> str:
    """How many examples there are, in words.

    Example:
        >>> from jaxgen.data import ArraySource
        >>> count(ArraySource({"image": np.zeros((1, 2, 2, 1))}))
        '1 image'
    """
    n, example = len(test), test[0]
    word = (
        "point" if "points" in example else "volume" if "image" in example and example["image"].ndim == 4 else "image"
    )
    return f"{n} {word}" + "s" * (n != 1)
