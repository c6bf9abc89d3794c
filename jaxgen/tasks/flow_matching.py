"""Flow matching of images: couplings and times of training, few equal steps, and how straight trajectories are."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from jaxgen import couplings
from jaxgen.config import option
from jaxgen.experiment import Metric, Run
from jaxgen.families import flow_matching_model
from jaxgen.losses import logit_normal, uniform_time
from jaxgen.metrics.straightness import departure_from_straight
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import FLOW_SOLVERS
from jaxgen.tasks.images import image_shape
from jaxgen.tasks.likelihood import Density, FlowLikelihoodConfig
from jaxgen.tasks.networks import UNetConfig, network
from jaxgen.types import Key, Model, Net

PATH = rectified()
COUPLINGS: dict[str, Callable[[float], couplings.Coupling]] = {
    "independent": lambda regularisation: couplings.independent,
    "optimal_transport": lambda regularisation: couplings.optimal_transport,
    "entropic": lambda regularisation: couplings.entropic(regularisation, 50),
}
TIMES = {"uniform": uniform_time, "logit_normal": logit_normal()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMatchingConfig(UNetConfig, FlowLikelihoodConfig):
    """The options of an experiment that trains a velocity of images."""

    coupling: str = option(
        "independent", "how noise is paired with images within a batch", choices=COUPLINGS, group="method"
    )
    regularisation: float = option(0.1, "of the entropic coupling, in squared distance per pixel", gt=0, group="method")
    time: str = option("uniform", "distribution of the training times", choices=TIMES, group="method")
    sampler: str = option("euler", "solver", choices=FLOW_SOLVERS, group="sampling")
    sampler_steps: int = option(50, "its steps from noise to image", ge=1, le=10_000, group="sampling")


def make_coupling(run: Run) -> couplings.Coupling:
    """The coupling that ``--coupling`` names."""
    return COUPLINGS[run.config.coupling](run.config.regularisation * float(np.prod(image_shape(run))))


def make_model(run: Run) -> Model:
    """The model of a velocity, sampled by the solver that ``--sampler`` names."""
    config = run.config
    return flow_matching_model(
        network(run),
        image_shape(run),
        Sampling(PATH, FLOW_SOLVERS[config.sampler](PATH), grids.uniform(PATH, config.sampler_steps)),
        coupling=make_coupling(run),
        time=TIMES[config.time],
    )


def log_density(run: Run) -> Density:
    """The density of the flow, by the adaptive solver of the configuration."""
    log_prob = make_model(run).log_prob
    assert log_prob is not None
    return functools.partial(log_prob, **run.config.solver)


def departures_from_straight(run: Run, net: Net, stages: Mapping[str, str], key: Key) -> dict[str, dict[str, float]]:
    """How far trajectories from noise to image are from straight, as the metric ``straightness`` of each method.

    Args:
        run: the run.
        net: the velocity ``apply(params, x, t)``.
        stages: the stage that trained its parameters, by the name of the method.
        key: one key, of the noise.
    """
    departure = jax.jit(departure_from_straight(net, image_shape(run), min(run.config.chunk, 32)))
    return {name: {"straightness": float(departure(run.params[stage]["net"], key))} for name, stage in stages.items()}


DESCRIBE = {
    "straightness": Metric("Departure from straight", "lower", "mean squared, of the velocity from the chord's")
}
