"""Flow matching on two moons: the smallest whole experiment, to read and to copy.

    jaxgen run two_moons                        # half a minute on 2 cores
    jaxgen run two_moons --coupling optimal_transport --ode-steps 3

The energy distance to fresh points must fall far below that of the baseline, a Gaussian fitted to the same points.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import RunConfig, option
from jaxgen.couplings import COUPLINGS
from jaxgen.data import ArraySource, Splits
from jaxgen.data.planar import planar_set
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Metric, Run, StageSpec
from jaxgen.families import flow_matching_model
from jaxgen.figures.points import panels
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import mlp
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.tasks.points import PointFacts, measure_points, points_of
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoMoonsConfig(RunConfig):
    """Every field is a flag of ``jaxgen run two_moons``, checked when it is made."""

    points: int = option(4096, "training points", ge=64, le=10**7)
    spread: float = option(0.1, "standard deviation of the points round each moon", ge=0)
    widths: tuple[int, ...] = option((128, 128, 128), "hidden layers of the velocity network", ge=1)
    coupling: str = option("independent", "how noise is paired with data", choices=COUPLINGS)
    ode_steps: int = option(50, "Euler steps from noise to data", ge=1)


def load(config: TwoMoonsConfig) -> Splits:
    if config.data:
        raise UserError(f"--data {config.data}: the points of two_moons are computed; it takes no other data")

    def moons(part: int, n: int) -> ArraySource:
        rng = np.random.default_rng([config.seed, part])
        angle, upper = np.pi * rng.random(n), rng.random(n) < 0.5
        x = np.where(upper, np.cos(angle), 1 - np.cos(angle)) - 0.5
        y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
        points = np.stack([x, y], axis=-1) + config.spread * rng.standard_normal((n, 2))
        return ArraySource({"points": points.astype(np.float32)})

    parts = moons(0, config.points), moons(1, 256), moons(2, 2048)
    return Splits(*parts, name="two moons", origin="computed", licence="CC0-1.0")


def model(config: TwoMoonsConfig) -> Model:
    net, path = mlp(2, widths=config.widths), rectified()
    sampling = Sampling(path, euler(path), grids.uniform(path, config.ode_steps))
    return flow_matching_model(net, (2,), sampling, data="points", coupling=COUPLINGS[config.coupling])


def build(run: Run) -> Stage:
    config = run.config
    optimizer = make_optimizer(config.learning_rate, config.warmup_steps, config.steps, config.schedule)
    return Stage("flow", model(config), {"net": optimizer}, config.steps)


def draw(run: Run, n: int) -> np.ndarray:
    return np.asarray(jax.jit(model(run.config).sample, static_argnums=2)(run.params["flow"], run.key, n))


def evaluate(run: Run) -> Evaluation:
    train, test = points_of(run.splits.train), points_of(run.splits.test)
    n, gaussian = len(test), run.facts.gaussian
    sets = {"flow": draw(run, n), "gaussian": gaussian.draw(n, run.config.seed), "training points": train[:n]}
    found = {name: float(energy_distance(jnp.asarray(points), jnp.asarray(test))) for name, points in sets.items()}
    flow, fitted, known = found.values()
    shown = {"fresh points": test, **sets}
    return Evaluation(
        {name: {"energy_distance": distance} for name, distance in found.items()},
        {"points": panels(planar_set("moons"), "Fresh points, and those compared with them.", sets=shown)},
        f"Energy distance to fresh points {flow:.4f}; a fitted Gaussian {fitted:.4f}; training points {known:.4f}.",
        {"energy_distance": Metric("Energy distance", "lower", "squared, unbiased, to 2,048 fresh points")},
    )


def sample(run: Run, n: int) -> Evaluation:
    points = draw(run, n)
    shown = panels(planar_set("moons"), "Points drawn from the flow.", sets={"samples": points})
    return Evaluation({"points": n}, {"samples": shown}, f"{n} points", arrays={"points": points})


SMALL = TwoMoonsConfig(
    steps=15_000, batch_size=256, learning_rate=2e-3, ema_decay=0.995, steps_per_call=50, log_every=50
)
EXPERIMENT = Experiment(
    name="two_moons",
    summary="Flow matching on 2-D points, the smallest whole experiment",
    data="two moons, computed",
    presets={
        "smoke": dataclasses.replace(SMALL, steps=20, points=256, batch_size=32, steps_per_call=10, log_every=10),
        "small": SMALL,
        "full": dataclasses.replace(SMALL, steps=50_000, points=10**6, batch_size=4096, checkpoint_every=5000),
    },
    load=load,
    measure=measure_points,
    facts=PointFacts,
    stages=(StageSpec("flow", build),),
    evaluate=evaluate,
    sample=sample,
    sample_flags={"steps": "ode_steps"},
    baseline="gaussian",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
