"""Counterfactuals as methods: images encoded into noise and decoded as healthy, at a chosen level and scale."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.medical.anomaly import FLOOR, LabelledNetworks, Method, Pair, foreground, translate
from jaxgen.samplers import denoiser, grids
from jaxgen.tasks import diffusion
from jaxgen.tasks.anomaly import noisy_classifier
from jaxgen.tasks.anomaly.evaluation import Comparison
from jaxgen.tasks.anomaly.labelled import HEALTHY, ILL, NULL
from jaxgen.tasks.anomaly.methods import by_network
from jaxgen.tasks.anomaly.restoration import check_levels
from jaxgen.tasks.networks import network
from jaxgen.types import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualConfig(noisy_classifier.NoisyClassifierConfig):
    """The options of counterfactuals."""

    levels: tuple[float, ...] = option(
        (0.05, 0.1, 0.2), "shares of the way to the noise to encode up to, to choose from", gt=0, le=1, group="sampling"
    )
    sampler_steps: int = option(50, "steps up, and as many down", ge=1, le=10_000, group="sampling")
    tuned_on: int = option(30, "images with artificial anomalies to choose scales on", ge=2, group="evaluation")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        check_levels(self.levels, self.highest)


class Setting(NamedTuple):
    """How far up to encode, and how hard to guide."""

    level: float
    scale: float


def counterfactual(
    run: Run, name: str, pair: Callable[[LabelledNetworks, float], Pair], scales: tuple[float, ...] = (1.0,)
) -> Method:
    """A method that carries images up to a level under one denoiser and down under another.

    Args:
        run: the run.
        name: of the method.
        pair: ``pair(networks, scale)``, the two denoisers.
        scales: to choose from; levels are those of the configuration.
    """
    config, net, path = run.config, network(run, classes=2), diffusion.make_path(run.config)

    def restore(params: Params, x: Array, setting: Setting) -> Array:
        def denoise(x: Array, t: Array, label: Array) -> Array:
            predict = lambda x, t: net.apply(params["diffusion"]["net"], x, t, label=label)  # noqa: E731
            return denoiser(predict, path, config.prediction)(x, t)

        def log_healthy(x: Array, t: Array) -> Array:
            return noisy_classifier.log_healthy(config, params["classifier"]["net"], x, t)

        labels = (jnp.full(len(x), label, jnp.int32) for label in (HEALTHY, ILL, NULL))
        grid = grids.from_share(path, setting.level, config.sampler_steps)
        return translate(path, *pair(LabelledNetworks(denoise, log_healthy, *labels), setting.scale), x, grid)

    settings = tuple(Setting(level, scale) for level in config.levels for scale in scales)
    return Method(name, by_network(run, restore, run.params), settings)


def evaluation(compared: Comparison, ours: str) -> Evaluation:
    """The evaluation, with the setting of each method and what it changes in healthy images."""
    x = compared.bench.validation[: compared.run.config.tuned_on]
    within = foreground(x, FLOOR)
    rows = {
        name: {**tuned.setting._asdict(), "healthy_change": compared.mean_score(name, x, within)}
        for name, tuned in compared.tuned.items()
    }
    return compared.evaluation(ours, metrics=rows, describe=DESCRIBE)


DESCRIBE = {
    "level": Metric("Level", "", "encoded up to, chosen on artificial anomalies; a share of the way to the noise"),
    "scale": Metric("Scale", "", "of the guidance, chosen with the level"),
    "healthy_change": Metric("Change of healthy images", "lower", "mean absolute, in the foreground"),
}
