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
from jaxgen.metrics import straightness
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, from_velocity, grids, sample
from jaxgen.samplers.catalogue import FLOW_SOLVERS
from jaxgen.tasks.flow_likelihood import Density, FlowLikelihoodConfig
from jaxgen.tasks.images import image_shape
from jaxgen.tasks.networks import UNetConfig, network
from jaxgen.types import Array, Key, Model, Net, Params

PATH = rectified()
COUPLINGS: dict[str, Callable[[float], couplings.Coupling]] = {
    "independent": lambda regularisation: couplings.independent,
    "optimal_transport": lambda regularisation: couplings.optimal_transport,
    "entropic": lambda regularisation: couplings.entropic(regularisation, 50),
}
TIMES = {"uniform": uniform_time, "logit_normal": logit_normal()}
FINE = 20
"""Euler steps that follow a trajectory closely enough to see its curvature."""


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


def in_few_steps(run: Run, net: Net, *, mean_flow: bool = False) -> Callable[[Params, Key, int, int], np.ndarray]:
    """Draw images in equal steps ``x += velocity / steps``; one program serves any number of steps.

    A step of MeanFlow and one of Euler's method differ only in what the network is asked.

    Args:
        run: the run.
        net: the velocity ``apply(params, x, t)`` or, of MeanFlow, the mean velocity ``apply(params, x, t, s)``.
        mean_flow: which of the two.

    Returns:
        ``draw(params, key, n, steps) -> [n, h, w, c]``.
    """
    chunk, shape = run.config.chunk, image_shape(run)

    @jax.jit
    def draw(params: Params, key: Key, steps: Array) -> Array:
        def step(i: Array, x: Array) -> Array:
            times = (i / steps, (i + 1) / steps) if mean_flow else (i / steps,)
            return x + net.apply(params, x, *times) / steps

        return jax.lax.fori_loop(0, steps, step, jax.random.normal(key, (chunk, *shape)))

    def drawn(params: Params, key: Key, n: int, steps: int) -> np.ndarray:
        keys = jax.random.split(key, -(-n // chunk))
        return np.concatenate([np.asarray(draw(params, k, steps)) for k in keys])[:n]

    return drawn


def departures_from_straight(run: Run, net: Net, stages: Mapping[str, str], key: Key) -> dict[str, dict[str, float]]:
    """How far trajectories from noise to image are from straight, as the metric ``straightness`` of each method.

    Args:
        run: the run.
        net: the velocity ``apply(params, x, t)``.
        stages: the stage that trained its parameters, by the name of the method.
        key: one key, of the noise.

    Returns:
        `jaxgen.metrics.straightness` in squared units per pixel, by method.
    """
    grid = grids.uniform(PATH, FINE)

    @jax.jit
    def departure(params: Params, key: Key) -> Array:
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), PATH)
        noise = jax.random.normal(key, (min(run.config.chunk, 32), *image_shape(run)))
        trajectory = sample(euler(PATH), denoise, jax.random.key(0), noise, grid, keep=True)  # Euler draws nothing
        return straightness(trajectory, grid).mean() / noise[0].size

    return {name: {"straightness": float(departure(run.params[stage]["net"], key))} for name, stage in stages.items()}


DESCRIBE = {
    "straightness": Metric("Departure from straight", "lower", "mean squared, of the velocity from the chord's")
}
