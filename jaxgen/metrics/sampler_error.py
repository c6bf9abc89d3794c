"""Samplers evaluated where the truth is known: on a mixture of Gaussians with its exact denoiser.

The remaining error is the sampler's. For a deterministic sampler it is the distance to the exact probability-flow
endpoint from the same noise; for every sampler, the distance between the distribution of its samples and the mixture.

A noise on the watershed between two parts of the mixture is led to either by the smallest error: one such point in
hundreds decides the root mean square. So methods are compared by the distance of a typical point, the median.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import mixtures
from jaxgen.metrics.wasserstein import wasserstein_along
from jaxgen.mixtures import Mixture
from jaxgen.paths import Path
from jaxgen.samplers import grids, runge_kutta4, sample
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.types import Array

DIRECTIONS = 128
"""Directions of the sliced Wasserstein distance."""
FRESH = 8
"""Sets of draws whose mean distance is the best to hope for."""

Grid = Callable[[Path, int], Array]


class Found(NamedTuple):
    """Errors of samplers, ``{sampler: {evaluations: number}}``, and what unlimited evaluations could reach.

    Attributes:
        flow: distance to the end of the probability flow, root mean square over coordinates and median over points;
            deterministic samplers only.
        rmse: the same, root mean square over points too.
        law: sliced Wasserstein distance to draws of the mixture.
        law_floor: the same between those draws and as many others, the mean of several times.
    """

    flow: dict[str, dict[int, float]]
    rmse: dict[str, dict[int, float]]
    law: dict[str, dict[int, float]]
    law_floor: float


def make_mixture(dimensions: int, parts: int, seed: int) -> Mixture:
    """Gaussians in random places; each is long in few directions, as images are, and thin in the others."""
    rng = np.random.default_rng(seed)
    means = 0.8 * rng.standard_normal((parts, dimensions))
    axes = np.linalg.qr(rng.standard_normal((parts, dimensions, dimensions)))[0]
    variances = np.geomspace(0.3, 0.003, dimensions)
    return mixtures.mixture(np.linspace(1, 2, parts), means, (axes * variances) @ axes.swapaxes(1, 2))


def flow_ends(path: Path, mixture: Mixture, x: np.ndarray, steps: int) -> np.ndarray:
    """Where the probability flow carries x ``[n, d]`` from noise to data: a fine solution of order 4 in float64."""
    with jax.enable_x64(True):
        grid = grids.log_snr(path, steps, low=-12.0, high=18.0)
        solve = jax.jit(lambda x: sample(runge_kutta4(path), mixture.denoiser(path), jax.random.key(0), x, grid))
        return np.asarray(solve(jnp.asarray(x, jnp.float64)))


def evaluate_samplers(
    path: Path,
    mixture: Mixture,
    grid: Grid,
    budgets: Sequence[int],
    key: Array,
    *,
    points: int,
    reference_steps: int,
    names: Sequence[str] = tuple(SAMPLERS),
) -> Found:
    """Run every sampler at every number of evaluations, all from the same noise.

    Args:
        path: the path.
        mixture: the data.
        grid: ``(path, steps) -> times``.
        budgets: the most evaluations that a sampler may make.
        key: of the noise and the draws.
        points: the number of samples.
        reference_steps: of the solution taken for the truth.
        names: the samplers.

    Returns:
        The errors; infinite where a sampler diverged.
    """
    noise_key, step_key, data_key, direction_key, *other_keys = jax.random.split(key, 4 + FRESH)
    start = path.sigma(jnp.float32(path.t_noise)) * jax.random.normal(noise_key, (points, mixture.means.shape[1]))
    ends = flow_ends(path, mixture, np.asarray(start), reference_steps)
    real = mixture.sample(data_key, points)
    directions = jax.random.normal(direction_key, (DIRECTIONS, mixture.means.shape[1]))
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    sliced = jax.jit(lambda x, y: jnp.sqrt(jnp.mean(wasserstein_along(x, y, directions))))
    flow: dict[str, dict[int, float]] = {}
    rmse: dict[str, dict[int, float]] = {}
    distribution: dict[str, dict[int, float]] = {}
    for name in names:
        sampler = SAMPLERS[name]
        step = sampler.step(path)
        program = jax.jit(
            lambda key, x, grid, step=step: sample(
                step, mixture.denoiser(path), key, x, grid
            )  # one per number of steps
        )
        distribution[name] = {}
        for budget in budgets:
            x = program(step_key, start, grid(path, sampler.steps_within(budget)))
            distribution[name][budget] = _number(sliced(x, real))
            if not sampler.random:
                square = np.mean((np.asarray(x, np.float64) - ends) ** 2, axis=1)
                # A median alone would pass over the points that diverged.
                middle = np.median(square) if np.isfinite(square).all() else np.inf
                flow.setdefault(name, {})[budget] = _number(np.sqrt(middle))
                rmse.setdefault(name, {})[budget] = _number(np.sqrt(np.mean(square)))
    fresh = [_number(sliced(mixture.sample(k, points), real)) for k in other_keys]
    return Found(flow, rmse, distribution, float(np.mean(fresh)))


def _number(value: Any) -> float:
    """A float that can be ordered: what is no number is as bad as can be."""
    value = float(value)
    return value if np.isfinite(value) else float("inf")


def ranking(errors: Mapping[str, Mapping[int, float]], budget: int) -> list[str]:
    """The samplers from the best to the worst at a number of evaluations; those that diverged are last."""
    return sorted(errors, key=lambda name: _number(errors[name][budget]))
