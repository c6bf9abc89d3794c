"""Continuous normalizing flows on points in the plane whose density is known, by likelihood and by flow matching.

    jaxgen run cnf                                       # eight Gaussians: minutes on 2 CPU cores
    jaxgen run cnf --data spirals --kinetic 0.01         # moons, spirals, checkerboard, 25_gaussians
    jaxgen run cnf --trace hutchinson --jacobian 0.01    # FFJORD with the regularisation of RNODE

One network is trained twice: by maximum likelihood (Chen et al. 2018; Grathwohl et al. 2019, "FFJORD") and by flow
matching (Lipman et al. 2023). Both are judged by their exact log-density of fresh points, beside the entropy, which no
model can beat, and beside a fitted Gaussian.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen import couplings
from jaxgen.app.cli import run_module
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Splits
from jaxgen.data.planar import PlanarSet, planar_set
from jaxgen.experiment import Evaluation, Figure, Metric, StageSpec
from jaxgen.families import Costs, cnf_model, flow_matching_model
from jaxgen.metrics import straightness
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import mlp
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, from_velocity, grids, sample
from jaxgen.samplers.continuous_flow import log_prob
from jaxgen.samplers.ode import solve_ode_counted
from jaxgen.tasks import before
from jaxgen.tasks.images import in_chunks
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Model, Params

METHODS = {"likelihood": "cnf", "flow matching": "flow_matching"}
"""How the network was trained, and in which stage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNFConfig(RunConfig):
    """The configuration of `cnf`."""

    data: str = option("eight_gaussians", "eight_gaussians, 25_gaussians, moons, spirals or checkerboard", group="data")
    points: int = option(50_000, "training points", ge=64, le=10**7, group="data")
    widths: tuple[int, ...] = option((64, 64, 64), "hidden layers of the velocity", ge=1, group="network")
    trace: Literal["exact", "hutchinson"] = option("exact", "divergence while training the CNF", group="method")
    kinetic: float = option(0.0, "weight of the kinetic energy (RNODE)", ge=0, group="method")
    jacobian: float = option(0.0, "weight of the Jacobian's norm (RNODE)", ge=0, group="method")
    solver: Literal["euler", "midpoint", "heun", "dopri5"] = option(
        "dopri5", "solver while training the CNF", group="method"
    )
    solver_steps: int = option(6, "its steps", ge=1, le=1000, group="method")
    coupling: Literal["independent", "optimal_transport"] = option(
        "independent", "how flow matching pairs noise with data", group="method"
    )
    flow_steps: int = option(20_000, "training steps of flow matching", ge=1, group="training")
    fresh: int = option(5000, "fresh points to judge with", ge=100, group="judging")
    tolerance: float = option(1e-5, "of the adaptive solver that judges", gt=0, lt=1, group="judging")


def _load(config: CNFConfig) -> Splits:
    law = planar_set(config.data)
    counts = (config.points, 1000, config.fresh)
    train, validation, test = (
        ArraySource({"points": law.draw(np.random.default_rng([config.seed, k]), n)[0]}) for k, n in enumerate(counts)
    )
    return Splits(train, validation, test, name=config.data, origin="computed", licence="CC0-1.0")


def _measure(config: CNFConfig, splits: Splits) -> dict[str, Any]:
    points = ArraySource.from_source(splits.train).arrays["points"]
    return {
        "mean": points.mean(0).tolist(),
        "covariance": np.cov(points.T).tolist(),
        "entropy": planar_set(config.data).entropy(250),
    }


def _net(config: CNFConfig):
    return mlp(2, widths=config.widths, time_scale=4.0)


def _stage(config: CNFConfig, name: str, model: Model, steps: int) -> Stage:
    optimizer = make_optimizer(
        config.learning_rate,
        config.warmup_steps,
        steps,
        config.schedule,
        clip=config.gradient_clip,
        weight_decay=config.weight_decay,
        name=config.optimizer,
    )
    return Stage(name, model, {"net": optimizer}, steps)


def _build_cnf(config: CNFConfig, constants, trained) -> Stage:
    model = cnf_model(
        _net(config),
        (2,),
        solver=config.solver,
        steps=config.solver_steps,
        trace=config.trace,
        costs=Costs(config.kinetic, config.jacobian),
        data="points",
    )
    return _stage(config, "cnf", model, config.steps)


def _build_flow(config: CNFConfig, constants, trained) -> Stage:
    path = rectified()
    model = flow_matching_model(
        _net(config),
        (2,),
        Sampling(path, euler(path), grids.uniform(path, 50)),
        data="points",
        coupling=getattr(couplings, config.coupling),
    )
    return _stage(config, "flow_matching", model, config.flow_steps)


class _Functions:
    """Compiled once, for velocities trained in any way: ``f(params, ...)``."""

    def __init__(self, config: CNFConfig) -> None:
        net, path = _net(config), rectified()
        tolerances: dict[str, Any] = {"solver": "dopri5", "rtol": config.tolerance, "atol": config.tolerance}
        self.fine = grids.uniform(path, 100)

        def draw(params, noise):
            return solve_ode_counted(net.apply, params, noise, 0.0, 1.0, **tolerances)

        def density(params, x):
            return log_prob(lambda x, t: net.apply(params, x, t), None, x, **tolerances)

        def way(params, noise):
            denoise = from_velocity(lambda x, t: net.apply(params, x, t), path)
            return sample(euler(path), denoise, jax.random.key(0), noise, self.fine, keep=True)

        self.draw, self.density, self.way = jax.jit(draw), jax.jit(density), jax.jit(way)


class _Flow:
    """A trained velocity, however it was trained."""

    def __init__(self, functions: _Functions, trained: Params, chunk: int) -> None:
        self._functions, self._params, self._chunk = functions, trained["net"], chunk

    def draw(self, key, n: int) -> tuple[np.ndarray, int]:
        """Points ``[n, 2]``, and how often the velocity was asked."""
        points, cost = self._functions.draw(self._params, jax.random.normal(key, (n, 2)))
        return np.asarray(points), int(cost["evaluations"])

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """``[n]`` nats."""
        density = lambda x: self._functions.density(self._params, x)  # noqa: E731
        return in_chunks(density, len(x), self._chunk, x.astype(np.float32)).astype(np.float64)

    def way(self, key) -> tuple[np.ndarray, float]:
        """Trajectories ``[101, 1000, 2]``, and how far they are from straight."""
        way = self._functions.way(self._params, jax.random.normal(key, (1000, 2)))
        return np.asarray(way), float(straightness(way, self._functions.fine).mean())


def _gaussian_log_prob(constants: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    covariance, off = np.array(constants["covariance"]), x - np.array(constants["mean"])
    square = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1]) - math.log(2 * math.pi)


def _score(law: PlanarSet, x: np.ndarray, log_density: np.ndarray) -> dict[str, float]:
    """Nats a point, and what is lost to the true law: the divergence, point by point, so that its error is small."""
    lost = law.log_prob(x) - log_density
    return {
        "nats": float(-log_density.mean()),
        "excess": float(lost.mean()),
        "excess_error": float(lost.std(ddof=1) / math.sqrt(len(lost))),
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(energy_distance(jnp.asarray(a), jnp.asarray(b)))


def _scatter(law: PlanarSet, sets: Mapping[str, np.ndarray]) -> Figure:
    canvas = Canvas(figsize=(2.6 * len(sets), 2.8), layout="constrained")
    for axes, (name, points) in zip(canvas.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        axes.scatter(*points[:3000].T, s=1, alpha=0.4)
        bounds = (-law.extent, law.extent)
        axes.set(title=name, xlim=bounds, ylim=bounds, aspect="equal")
        axes.tick_params(labelsize=6)
    return Figure(canvas, "Each panel shows points in the plane: " + ", ".join(sets) + ".")


def _densities(law: PlanarSet, models: Mapping[str, Any], cells: int = 100) -> Figure:
    line = np.linspace(-law.extent, law.extent, cells)
    points = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    images = {name: np.exp(f(points)).reshape(cells, cells) for name, f in models.items()}
    most = float(images["truth"].max())
    canvas = Canvas(figsize=(2.6 * len(images), 2.8), layout="constrained")
    for axes, (name, image) in zip(canvas.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        axes.imshow(image, origin="lower", vmin=0, vmax=most, cmap="viridis")
        axes.set(title=name, xticks=[], yticks=[])
    return Figure(canvas, "Densities in the plane, on one scale: that of the data, and those of the models.")


def _ways(law: PlanarSet, ways: Mapping[str, np.ndarray]) -> Figure:
    canvas = Canvas(figsize=(3 * len(ways), 3.2), layout="constrained")
    for axes, (name, way) in zip(canvas.subplots(1, len(ways), squeeze=False)[0], ways.items(), strict=True):
        way = way[:, :150]
        axes.plot(way[..., 0], way[..., 1], color="#3b7dd8", linewidth=0.4, alpha=0.6)
        axes.scatter(*way[0].T, s=3, color="gray", zorder=2)
        axes.scatter(*way[-1].T, s=3, color="#e4572e", zorder=2)
        axes.set(title=name, aspect="equal")
        axes.tick_params(labelsize=6)
    return Figure(canvas, "Ways from noise (grey) to points (red).")


def _evaluate(config: CNFConfig, constants, trained, splits, key) -> Evaluation:
    law = planar_set(config.data)
    fresh = ArraySource.from_source(splits.test).arrays["points"]
    functions = _Functions(config)
    flows = {name: _Flow(functions, trained[stage], len(fresh)) for name, stage in METHODS.items()}
    metrics: dict[str, Any] = {}
    sets, ways = {"fresh points": fresh}, {}
    for name, flow in flows.items():
        sets[name], evaluations = flow.draw(key, len(fresh))
        ways[name], bend = flow.way(key)
        metrics[name] = _score(law, fresh, flow.log_prob(fresh)) | {
            "energy_distance": _distance(sets[name], fresh),
            "straightness": bend,
            "evaluations": evaluations,
        }
    rng = np.random.default_rng(config.seed)
    sets["gaussian"] = rng.multivariate_normal(constants["mean"], constants["covariance"], len(fresh)).astype("float32")
    metrics["gaussian"] = _score(law, fresh, _gaussian_log_prob(constants, fresh)) | {
        "energy_distance": _distance(sets["gaussian"], fresh)
    }
    metrics["entropy"] = law.entropy(250)
    figures = {
        "points": _scatter(law, sets),
        "densities": _densities(law, {"truth": law.log_prob, **{name: flow.log_prob for name, flow in flows.items()}}),
        "ways": _ways(law, ways),
    }
    lost = {name: metrics[name]["excess"] for name in (*METHODS, "gaussian")}
    headline = (
        f"Nats above the entropy of {config.data} ({metrics['entropy']:.3f}): by likelihood "
        f"{lost['likelihood']:.3f}, by flow matching {lost['flow matching']:.3f}, a fitted Gaussian "
        f"{lost['gaussian']:.3f}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "nats": Metric("Nats", "lower", "mean negative log-density of fresh points; the entropy at best"),
    "excess": Metric("Nats above entropy", "lower", "divergence from the true law, estimated on fresh points"),
    "excess_error": Metric("its standard error", "", "over fresh points"),
    "energy_distance": Metric("Energy distance", "lower", "squared, unbiased, of samples to fresh points"),
    "straightness": Metric("Departure from straight", "lower", "mean squared, of the velocity from the chord's"),
    "evaluations": Metric("Evaluations", "lower", "of the velocity, to draw samples by Dopri5 to the tolerance"),
}


def _sample(config: CNFConfig, constants, trained, splits, key, n) -> Evaluation:
    law = planar_set(config.data)
    points, _ = _Flow(_Functions(config), trained["cnf"], n).draw(key, n)
    return Evaluation(
        {"points": n}, {"samples": _scatter(law, {"samples": points})}, f"{n} points", arrays={"points": points}
    )


SMALL = CNFConfig(
    steps=2000,
    batch_size=256,
    learning_rate=3e-3,
    ema_decay=0.998,
    steps_per_call=50,
    checkpoint_every=1000,
    log_every=100,
)
EXPERIMENT = before.experiment(
    name="cnf",
    summary="Continuous normalizing flows by likelihood and by flow matching, beside the entropy",
    data="points in the plane of known density, computed",
    presets={
        "smoke": dataclasses.replace(
            SMALL,
            steps=10,
            flow_steps=10,
            points=256,
            fresh=128,
            batch_size=32,
            widths=(16,),
            solver="midpoint",
            solver_steps=2,
            tolerance=1e-3,
            steps_per_call=5,
            log_every=5,
        ),
        "small": SMALL,
        "full": dataclasses.replace(
            SMALL,
            steps=20_000,
            flow_steps=100_000,
            points=10**6,
            fresh=50_000,
            batch_size=1024,
            widths=(256, 256, 256),
            solver_steps=16,
            learning_rate=1e-3,
            checkpoint_every=5000,
        ),
    },
    load=_load,
    measure=_measure,
    stages=(StageSpec("cnf", _build_cnf), StageSpec("flow_matching", _build_flow)),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
