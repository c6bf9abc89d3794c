"""What the tests of experiments share: the precision of `full`, phantoms, and images of a user."""

import dataclasses

import numpy as np
import pytest

from jaxgen import experiment
from jaxgen.data import phantoms

KEPT = ("image", "mask", "masks", "label", "labels", "covariates", "control", "spacing", "source")
"""What experiments look at of a phantom."""


@pytest.fixture(scope="module", autouse=True)
def smoke_in_the_precision_of_full():
    """Whatever these tests run of a `smoke` preset they run in the precision of the experiment's `full`."""
    changed = {}
    for name in experiment.names():
        presets = experiment.find(name).presets
        if "full" in presets and presets["smoke"].precision != presets["full"].precision:
            changed[name] = presets["smoke"]
            presets["smoke"] = dataclasses.replace(presets["smoke"], precision=presets["full"].precision)
    yield changed
    for name, preset in changed.items():
        experiment.find(name).presets["smoke"] = preset


@pytest.fixture(scope="session", autouse=True)
def phantoms_are_drawn_once():
    """Experiments look at the same thousands of phantoms, of which each takes milliseconds."""
    drawn, draw = {}, phantoms.PhantomSource.__getitem__

    def example(source, i):
        if (source, i) not in drawn:
            whole = draw(source, i)
            drawn[source, i] = {name: whole[name] for name in KEPT if name in whole}
        return drawn[source, i]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantoms.PhantomSource, "__getitem__", example)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Two classes of 20-pixel images: bright discs, and dark ones."""
    path = tmp_path_factory.mktemp("data") / "discs.npz"
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    centre = rng.uniform(7, 13, (60, 2, 1, 1))
    distance = np.sqrt(((np.indices((20, 20))[None] - centre) ** 2).sum(1))
    disc = np.where(distance < 5, np.where(label, 220, 90)[:, None, None], 10)
    np.savez(path, images=(disc + rng.integers(0, 10, disc.shape)).astype(np.uint8), labels=label)
    return path
