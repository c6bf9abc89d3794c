"""Restoration from a level of noise: from any level by one program, the level chosen on artificial anomalies."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Figure, Metric, Run, chosen_number
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.old import denoisers, images
from jaxgen.types import Key, Params

Restore = Callable[[Key, np.ndarray, float], np.ndarray]
"""``restore(key, images [n, h, w, c], level) -> healthy versions``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelsConfig(shared.AnomalyConfig, denoisers.DenoiserConfig):
    """The options of an experiment that noises images up to a level and restores them."""

    wavelength: float = option(16.0, "of the first octave of the simplex noise, pixels", gt=0, group="method")
    levels: tuple[float, ...] = option(
        (0.05, 0.1, 0.2, 0.3, 0.45, 0.6),
        "levels to choose from, shares of the way to the noise",
        gt=0,
        le=1,
        group="method",
    )
    repeats: int = option(1, "draws of noise an image, averaged", ge=1, group="sampling")


def check_levels(levels: Sequence[float], highest: float) -> None:
    """Nothing above `highest` was trained on."""
    if max(levels) > highest:
        raise UserError(f"--levels go to {max(levels):g}, but training only to --highest {highest:g}")


def check_cells(cells: int, size: int) -> None:
    """Coarse noise has at most one node a pixel."""
    if cells > size:
        raise UserError(f"--cells must be at most --size {size}, got {cells}")


def middle(settings: Sequence[float]) -> float:
    """The setting to use before any was chosen."""
    return sorted(settings)[len(settings) // 2]


def restorer(config: LevelsConfig, run: Callable, params: Params) -> Restore:
    """From a jitted ``run(params, keys [n], images [n, h, w, c], level)``; the level is an argument of the program."""

    def restore(key: Key, x: np.ndarray, level: float) -> np.ndarray:
        keys = jax.random.split(key, len(x))
        return images.in_chunks(lambda k, x: run(params, k, x, jnp.float32(level)), len(x), config.chunk, keys, x)

    return restore


def choose(
    config: LevelsConfig, restorers: Mapping[str, Restore], key: Key, bench: judging.Bench
) -> tuple[dict[str, judging.Tuned], Figure]:
    """Each restorer at the level that finds artificial anomalies best, and the plot of all levels."""
    found = {
        name: judging.tuned(config, functools.partial(restore, key), config.levels, bench.chosen_on)
        for name, restore in restorers.items()
    }
    figure = pictures.curves(
        {name: (list(tuned.found), list(tuned.found.values())) for name, tuned in found.items()},
        "Average precision of artificial anomalies in healthy validation images: where levels are chosen.",
        x="level, share of the way to the noise",
        y="average precision",
    )
    return found, figure


def levels_of(chosen: Mapping[str, judging.Tuned]) -> dict[str, float]:
    """The level of each restorer, for `jaxgen apply`."""
    return {name: float(tuned.setting) for name, tuned in chosen.items()}


def facts(tuned: judging.Tuned) -> dict[str, float]:
    """What a table says of the choice."""
    return {"chosen_level": tuned.setting, "validation_ap": tuned.found[tuned.setting]}


DESCRIBE = {
    **judging.describe(),
    "chosen_level": Metric("Level", "", "chosen on artificial anomalies, a share of the way to the noise"),
    "validation_ap": Metric("AP, artificial", "higher", "of the artificial anomalies that the level is chosen on"),
}


def applied(config: LevelsConfig, constants: Mapping[str, Any], name: str, restore: Restore):
    """`jaxgen apply`, at the level chosen for this restorer; before there is one, at the middle one."""
    level = chosen_number(Run(None, None, chosen=constants.get("chosen", {})), name, default=middle(config.levels))

    def score(key, x):
        return shared.by_residual(config, lambda x: restore(key, x, level))(x)

    return shared.applied(config, constants, score)
