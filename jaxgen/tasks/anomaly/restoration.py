"""Restoration from a level of noise: one program for every level, the level chosen on artificial anomalies."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures import curves
from jaxgen.medical.anomaly import FLOOR, Method, by_residual, foreground, named_noise
from jaxgen.metrics.best import highest
from jaxgen.tasks.anomaly.data import AnomalyConfig
from jaxgen.tasks.anomaly.evaluation import Comparison
from jaxgen.tasks.diffusion import DiffusionConfig
from jaxgen.tasks.images import draw_in_chunks
from jaxgen.tasks.networks import UNetConfig
from jaxgen.types import Array, Key, NoiseDistribution, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestorationConfig(AnomalyConfig, DiffusionConfig):
    """The options of an experiment that noises images up to a level and restores them."""

    wavelength: float = option(16.0, "of the first octave of the simplex noise, pixels", gt=0, group="method")
    levels: tuple[float, ...] = option(
        (0.05, 0.1, 0.2, 0.3, 0.45, 0.6),
        "levels to choose from, shares of the way to the noise",
        gt=0,
        le=1,
        group="method",
    )
    repeats: int = option(1, "draws of noise per image, averaged", ge=1, group="sampling")

    def distribution(self, name: str, *, std: float = 1.0, cells: int = 8) -> NoiseDistribution:
        """Noise by its name (`jaxgen.medical.anomaly.named_noise`)."""
        return named_noise(name, self.size, wavelength=self.wavelength, std=std, cells=cells)


def check_levels(levels: Sequence[float], highest: float) -> None:
    """Refuse levels that nothing was trained on."""
    if max(levels) > highest:
        raise UserError(f"--levels go to {max(levels):g}, but training only to --highest {highest:g}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoarseNoiseConfig(UNetConfig):
    """The options of an experiment whose noise may be coarse."""

    noise: str = option("coarse", "the kind of noise", choices=("coarse", "white", "simplex"), group="method")
    cells: int = option(8, "nodes of the coarse noise along one side", ge=1, group="method")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.noise == "coarse" and self.cells > self.size:
            raise UserError(f"--cells must be at most --size {self.size}, got {self.cells}")


def restoring(run: Run, name: str, restore: Callable[..., Array], params: Params, *, short: str = "") -> Method:
    """A method that restores images from a level, one of ``config.levels``.

    Args:
        run: the run.
        name: of the method.
        restore: a jitted ``restore(params, keys [b], images [b, h, w, c], level)``; the level is an argument of the
            compiled program.
        params: those of the stage.
        short: the name in ``chosen.json``, if that is another.
    """

    def restored(key: Key, x: np.ndarray, level: float) -> np.ndarray:
        return draw_in_chunks(run, lambda keys, x: restore(params, keys, x, jnp.float32(level)), key, len(x), x)

    found = by_residual(run.config.residual, restored, run.config.score_channels)
    return Method(name, found, run.config.levels, short)


def evaluation(
    compared: Comparison,
    ours: str = "",
    *,
    metrics: Mapping[str, Any] = {},
    figures: Mapping[str, Figure] = {},
    describe: Mapping[str, Metric] = {},
) -> Evaluation:
    """The evaluation, with the level of each method and the curve that it was chosen by.

    Args:
        compared: the comparison of all methods.
        ours: the method of the headline; the best on artificial anomalies if not given.
        metrics: more metrics, by method or of the whole.
        figures: more figures.
        describe: how to show the added metrics.
    """
    found = {name: tuned.scores[tuned.setting] for name, tuned in compared.tuned.items()}
    rows: dict[str, Any] = {**metrics}
    for name, tuned in compared.tuned.items():
        rows[name] = {**rows.get(name, {}), "chosen_level": tuned.setting, "validation_ap": found[name]}
    levels = curves(
        {t.method.short_name: (list(t.scores), list(t.scores.values())) for t in compared.tuned.values()},
        "Average precision of artificial anomalies in healthy validation images: where levels are chosen.",
        x="level, share of the way to the noise",
        y="average precision",
    )
    return compared.evaluation(
        ours or highest(found), metrics=rows, figures={"levels": levels, **figures}, describe={**DESCRIBE, **describe}
    )


def healthy_errors(compared: Comparison) -> dict[str, dict[str, float]]:
    """What each tuned method changes in the healthy pixels round artificial anomalies."""
    x, mask = compared.bench.chosen_on
    healthy = foreground(x, FLOOR) & ~mask
    return {name: {"healthy_error": compared.mean_score(name, x, healthy)} for name in compared.tuned}


DESCRIBE = {
    "healthy_error": Metric(
        "Healthy error", "lower", "mean absolute residual of the healthy pixels round artificial anomalies"
    ),
    "chosen_level": Metric("Level", "", "chosen on artificial anomalies, a share of the way to the noise"),
    "validation_ap": Metric("AP, artificial", "higher", "of the artificial anomalies that the level is chosen on"),
}
