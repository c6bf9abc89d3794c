"""What every translation is compared with: the source itself, maps of intensities, and a network trained by L1."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.experiment import Run
from jaxgen.families.translation import direct_translation
from jaxgen.imaging.intensity_mapping import histogram_match, lookup_table
from jaxgen.nets.translator import skip_translator
from jaxgen.tasks import images, networks
from jaxgen.tasks.translation import data
from jaxgen.types import Array, Key, Model, Net

Translate = Callable[[Key, np.ndarray], np.ndarray]


class Translator(NamedTuple):
    """A method as one row of the table.

    Attributes:
        name: of its row.
        run: ``run(key, sources [n, h, w, s]) -> [n, h, w, c]``, all in [-1, 1].
    """

    name: str
    run: Translate


def network(run: Run) -> Net:
    """The U-Net from source to target, of all direct methods alike."""
    if run.config.generator == "skip":
        return skip_translator(run.facts.image_channels, channels=run.config.channels, dropout=run.config.dropout)
    return networks.network(run)


def regression_model(run: Run) -> Model:
    """The baseline: the same network trained by the absolute error."""
    return direct_translation(network(run))


UNET = images.stage("unet", regression_model, prepare=data.prepare, wanted=lambda config: not config.unpaired)
"""The stage of the baseline."""


def by_model(run: Run, name: str, model: Model, *, shared: bool = False) -> Translator:
    """How a trained stage translates, in chunks of one compiled program, cut to [-1, 1].

    Args:
        run: the run.
        name: of the stage and of the row.
        model: its model.
        shared: draw every image with one key, that of the seed of the run, whatever the key of the call: slices of a
            volume that start from the same noise do not flicker.
    """
    program = jax.jit(lambda params, keys, x: model.sample(params, keys, len(x), x))

    def translate(key: Key, sources: np.ndarray) -> np.ndarray:
        def draw(keys: Key, x: np.ndarray) -> Array:
            keys = jnp.broadcast_to(jax.random.key(run.config.seed), keys.shape) if shared else keys
            return program(run.params[name], keys, x)

        found = images.draw_in_chunks(run, draw, key, len(sources), sources)
        return np.clip(found, -1, 1)

    return Translator(name, translate)


def baselines(run: Run, fitted: Mapping[str, np.ndarray] | None = None) -> list[Translator]:
    """The source, matched histograms and, where there are pairs, the best lookup table and the U-Net.

    Args:
        run: the run.
        fitted: training images to fit them to; None for those of `jaxgen.tasks.translation.data.fitted_pairs`.
    """
    fitted = data.fitted_pairs(run) if fitted is None else fitted
    pair = fitted["source"], fitted["image"]
    found = []
    if run.facts.source_channels == run.facts.image_channels:
        found.append(Translator("source", lambda key, x: x))
    matched = histogram_match(*pair)
    found.append(Translator("histogram matching", lambda key, x: matched(x)))
    if run.facts.paired and not run.config.unpaired:
        table = lookup_table(*pair)
        found += [Translator("lookup table", lambda key, x: table(x)), by_model(run, "unet", regression_model(run))]
    return found
