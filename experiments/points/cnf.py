"""Continuous normalizing flows on points in the plane whose density is known, by likelihood and by flow matching.

    jaxgen run cnf                                       # eight Gaussians: minutes on 2 CPU cores
    jaxgen run cnf --data spirals --kinetic 0.01         # moons, spirals, checkerboard, 25_gaussians
    jaxgen run cnf --trace hutchinson --jacobian 0.01    # FFJORD with the regularisation of RNODE

One network is trained twice: by maximum likelihood (Chen et al. 2018; Grathwohl et al. 2019, "FFJORD") and by flow
matching (Lipman et al. 2023), and evaluated by its exact log-density of fresh points: the entropy is the best there is.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.couplings import COUPLINGS
from jaxgen.data.planar import planar_set
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.families import Costs, cnf_model, flow_matching_model
from jaxgen.figures.points import panels
from jaxgen.metrics import straightness
from jaxgen.nets import mlp
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.samplers.velocity import compiled_velocity
from jaxgen.tasks import points
from jaxgen.types import Key, Model, Net

METHODS = {"likelihood": "cnf", "flow matching": "flow_matching"}  # how the network was trained, and in which stage
SOLVERS = ("euler", "midpoint", "heun", "dopri5")
PATH = rectified()
DEFAULTS = {"data": "eight_gaussians", "batch_size": 256, "ema_decay": 0.998, "steps_per_call": 50}
LARGE = {"points": 10**6, "test_points": 50_000, "widths": (256, 256, 256), "solver_steps": 16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNFConfig(points.PointsConfig):
    tolerance: float = option(1e-5, "of the adaptive solver of the evaluation", gt=0, lt=1, group="evaluation")
    widths: tuple[int, ...] = option((64, 64, 64), "hidden layers of the velocity", ge=1, group="network")
    trace: str = option("exact", "divergence while training the CNF", choices=("exact", "hutchinson"), group="method")
    kinetic: float = option(0.0, "weight of the kinetic energy (RNODE)", ge=0, group="method")
    jacobian: float = option(0.0, "weight of the Jacobian's norm (RNODE)", ge=0, group="method")
    solver: str = option("dopri5", "solver while training the CNF", choices=SOLVERS, group="method")
    solver_steps: int = option(6, "its steps", ge=1, le=1000, group="method")
    coupling: str = option("independent", "of noise with data, in flow matching", choices=COUPLINGS, group="method")
    flow_steps: int = option(20_000, "training steps of flow matching", ge=1, group="training")


def velocity(config: CNFConfig) -> Net:
    return mlp(2, widths=config.widths, time_scale=4.0)


def by_likelihood(run: Run) -> Model:
    config, costs = run.config, Costs(run.config.kinetic, run.config.jacobian)
    solver = {"solver": config.solver, "steps": config.solver_steps, "trace": config.trace}
    return cnf_model(velocity(config), (2,), data="points", costs=costs, **solver)


def by_flow_matching(run: Run) -> Model:
    sampling, coupling = Sampling(PATH, euler(PATH), grids.uniform(PATH, 50)), COUPLINGS[run.config.coupling]
    return flow_matching_model(velocity(run.config), (2,), sampling, data="points", coupling=coupling)


def draw(run: Run, key: Key, n: int) -> np.ndarray:
    exact = {"rtol": run.config.tolerance, "atol": run.config.tolerance}
    return np.asarray(by_likelihood(run).sample(run.params["cnf"], key, n, **exact))


def evaluate(run: Run) -> Evaluation:
    known, fresh, grid = planar_set(run.config.data), points.points_of(run.splits.test), grids.uniform(PATH, 100)
    flow, n = compiled_velocity(velocity(run.config).apply, grid, run.config.tolerance), len(fresh)
    score = functools.partial(known.score, fresh, gap="excess")
    sets = {"fresh points": fresh, "gaussian": run.facts.gaussian.draw(n, run.config.seed)}
    metrics: dict[str, Any] = {"gaussian": score(run.facts.gaussian.log_prob, sets["gaussian"])}
    densities, ways = {}, {}
    for name, stage in METHODS.items():
        params = run.params[stage]["net"]
        drawn, cost = flow.draw(params, jax.random.normal(run.key, (n, 2)))
        way = flow.trajectory(params, jax.random.normal(run.key, (1000, 2)))
        densities[name] = functools.partial(flow.log_prob, params)
        sets[name], ways[name] = np.asarray(drawn), np.asarray(way)
        metrics[name] = score(densities[name], sets[name]) | {"evaluations": int(cost["evaluations"])}
        metrics[name]["straightness"] = float(straightness(way, grid).mean())
    gaps = ", ".join(f"{name} {found['excess']:.3f}" for name, found in metrics.items())
    metrics["entropy"] = known.entropy(250)
    headline = f"Nats above the entropy of {run.config.data} ({metrics['entropy']:.3f}): {gaps}."
    shown = {
        "points": panels(known, "Fresh points, and those drawn from each model.", sets=sets),
        "densities": panels(known, "The true density and the models', on one scale.", densities=densities),
        "ways": panels(known, "Trajectories from noise (grey) to points (red).", ways=ways),
    }
    return Evaluation(metrics, shown, headline, DESCRIBE)


DESCRIBE = {
    **points.describe("excess"),
    "straightness": Metric("Departure from straight", "lower", "mean squared, of the velocity from the chord's"),
    "evaluations": Metric("Evaluations", "lower", "of the velocity, to draw samples by Dopri5 to the tolerance"),
}
EXPERIMENT = points.experiment(
    name="cnf",
    summary="Continuous normalizing flows by likelihood and by flow matching, compared with the entropy",
    data="points in the plane of known density, computed",
    config=CNFConfig,
    presets={
        "smoke": {"flow_steps": 10, "widths": (16,), "solver": "midpoint", "solver_steps": 2, "tolerance": 1e-3},
        "small": {**DEFAULTS, "points": 50_000, "test_points": 5000, "steps": 2000, "learning_rate": 3e-3},
        "full": {**DEFAULTS, **LARGE, "steps": 20_000, "flow_steps": 100_000, "batch_size": 1024},
    },
    stages=(points.stage("cnf", by_likelihood), points.stage("flow_matching", by_flow_matching, steps="flow_steps")),
    evaluate=evaluate,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
