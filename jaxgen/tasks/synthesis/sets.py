"""What is known of real images: their findings and their group; and the vector that a generator is told."""

from typing import NamedTuple

import numpy as np

from jaxgen.data import Source, Subset
from jaxgen.data.source import evenly_spaced
from jaxgen.errors import UserError
from jaxgen.experiment import Run
from jaxgen.medical.synthesis import cells
from jaxgen.tasks import images
from jaxgen.tasks.synthesis.options import attribute_of
from jaxgen.train.finding_classifiers import Labelled

LEAST = 2
"""Labelled images that a class needs."""


class Known(NamedTuple):
    """Images and what is known of them.

    Attributes:
        image: ``[n, h, w, c]``, float32 in [-1, 1] or bytes.
        findings: ``[n, k]``, zeros and ones; one-hot where an image has one class.
        group: ``[n]``, the number of its group in ``facts.groups``, those that training data lack after them; zeros
            without an attribute.
    """

    image: np.ndarray
    findings: np.ndarray
    group: np.ndarray


def labelled(run: Run) -> np.ndarray:
    """Which training images have labels: as many as the configuration says, spread over the training data.

    Raises:
        UserError: if a class has fewer than two of them.
    """
    config, train = run.config, run.splits.train
    chosen = evenly_spaced(len(train), config.labelled or len(train))
    counts = _findings(run, Subset(train, chosen)).sum(0)
    for name, count in zip(run.facts.classes, counts, strict=True):
        if count < LEAST:
            few = "1 labelled training image" if count else "no labelled training image"
            raise UserError(f"--data {config.data}: class {name} has {few}; {LEAST} are the least (see --labelled)")
    return np.asarray(chosen)


def known(run: Run, source: Source, dtype: type[np.floating] | type[np.uint8] = np.float32) -> Known:
    """All images of a source, and what is known of them."""
    image = images.real_images(run, source, dtype=dtype)["image"]
    return Known(image, _findings(run, source), _groups(run, source))


def _findings(run: Run, source: Source) -> np.ndarray:
    arrays = getattr(source, "arrays", None)
    entry = "labels" if run.facts.several else "label"
    values = arrays[entry] if arrays else np.stack([source[i][entry] for i in range(len(source))])
    return np.asarray(values if run.facts.several else np.eye(len(run.facts.classes))[values], np.float32)


def _groups(run: Run, source: Source) -> np.ndarray:
    if not run.config.attribute:
        return np.zeros(len(source), int)
    values = attribute_of(run.config, run.splits, source)
    levels = [float(name) for name in run.facts.groups]
    levels += sorted(set(values.tolist()) - set(levels))
    return np.array([levels.index(value) for value in values.tolist()])


def told(run: Run, findings: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The vectors ``[n, k + groups]`` that a generator is told: the findings, then the group one-hot."""
    groups = len(run.facts.groups)
    one_hot = np.eye(groups)[group] if groups else np.zeros((len(findings), 0))
    return np.concatenate([findings, one_hot], -1, dtype=np.float32)


def labelled_as(one: Known, plan: np.ndarray | None = None) -> Labelled:
    """Images for a classifier, those of each cell drawn as often as a plan says; without one all alike."""
    if plan is None:
        return Labelled(one.image, one.findings)
    _, which, counts = cells(one.findings, one.group)
    return Labelled(one.image, one.findings, (plan / np.maximum(counts, 1))[which, one.group])
