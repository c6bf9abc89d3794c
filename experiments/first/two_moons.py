"""Flow matching on two moons: the smallest whole experiment, to read and to copy.

    jaxgen run two_moons                        # half a minute on 2 cores
    jaxgen run two_moons --coupling optimal_transport --ode-steps 3

The energy distance to fresh points must fall far below that of the baseline, a Gaussian fitted to the same points.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen import couplings
from jaxgen.app.cli import run_module
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Splits
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, StageSpec
from jaxgen.families import flow_matching_model
from jaxgen.metrics.energy import energy_distance
from jaxgen.nets import mlp
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, grids
from jaxgen.tasks import before
from jaxgen.train import Stage, make_optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoMoonsConfig(RunConfig):
    """Every field is a flag of ``jaxgen run two_moons``, checked when it is made."""

    points: int = option(4096, "training points", ge=64, le=10**7)
    spread: float = option(0.1, "standard deviation of the points round each moon", ge=0)
    widths: tuple[int, ...] = option((128, 128, 128), "hidden layers of the velocity network", ge=1)
    coupling: Literal["independent", "optimal_transport"] = option("independent", "how noise is paired with data")
    ode_steps: int = option(50, "Euler steps from noise to data", ge=1)


def _moons(n, spread, seed):
    rng = np.random.default_rng(seed)
    angle, upper = np.pi * rng.random(n), rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle)) - 0.5
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
    points = np.stack([x, y], axis=-1) + spread * rng.standard_normal((n, 2))
    return ArraySource({"points": points.astype(np.float32)})


def _load(config):
    if config.data:
        raise UserError(f"--data {config.data}: the points of two_moons are computed; it takes no other data")
    counts = (config.points, 256, 2048)
    train, validation, test = (_moons(n, config.spread, [config.seed, k]) for k, n in enumerate(counts))
    return Splits(train, validation, test, name="two moons", origin="computed", licence="CC0-1.0")


def _measure(config, splits):
    points = splits.train.arrays["points"]
    return {"mean": points.mean(0).tolist(), "covariance": np.cov(points.T).tolist()}


def _model(config):
    path = rectified()
    return flow_matching_model(
        mlp(2, widths=config.widths),
        (2,),
        Sampling(path, euler(path), grids.uniform(path, config.ode_steps)),
        data="points",
        coupling=getattr(couplings, config.coupling),
    )


def _build(config, constants, trained):
    optimizer = make_optimizer(config.learning_rate, config.warmup_steps, config.steps, config.schedule)
    return Stage("flow", _model(config), {"net": optimizer}, config.steps)


def _draw(config, trained, key, n):
    return np.asarray(jax.jit(_model(config).sample, static_argnums=2)(trained["flow"], key, n))


def _figure(sets):
    canvas = Canvas(figsize=(3 * len(sets), 3), layout="constrained")
    for axes, (name, points) in zip(canvas.subplots(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        axes.scatter(*points.T, s=2, alpha=0.5)
        axes.set(title=name, xlim=(-2.2, 2.2), ylim=(-1.6, 1.6), aspect="equal")
    return Figure(canvas, "Each panel shows 2-D points: " + ", ".join(sets) + ".")


def _evaluate(config, constants, trained, splits, key):
    test = splits.test.arrays["points"]
    flow = _draw(config, trained, key, len(test))
    rng = np.random.default_rng(config.seed)
    gaussian = rng.multivariate_normal(constants["mean"], constants["covariance"], len(test)).astype(np.float32)
    train = splits.train.arrays["points"][: len(test)]
    sets = {"flow": flow, "gaussian": gaussian, "training points": train}
    metrics = {name: {"energy_distance": float(energy_distance(points, test))} for name, points in sets.items()}
    headline = "Energy distance to fresh points {:.4f}; a fitted Gaussian {:.4f}; the training points {:.4f}.".format(
        *(entry["energy_distance"] for entry in metrics.values())
    )
    describe = {"energy_distance": Metric("Energy distance", "lower", "squared, unbiased, to 2,048 fresh points")}
    return Evaluation(metrics, {"points": _figure({"fresh points": test, **sets})}, headline, describe)


def _sample(config, constants, trained, splits, key, n):
    points = _draw(config, trained, key, n)
    return Evaluation(
        {"points": n}, {"samples": _figure({"samples": points})}, f"{n} points", arrays={"points": points}
    )


SMALL = TwoMoonsConfig(
    steps=15_000, batch_size=256, learning_rate=2e-3, ema_decay=0.995, steps_per_call=50, log_every=50
)
EXPERIMENT = before.experiment(
    name="two_moons",
    summary="Flow matching on 2-D points, the smallest whole experiment",
    data="two moons, computed",
    presets={
        "smoke": dataclasses.replace(SMALL, steps=20, points=256, batch_size=32, steps_per_call=10, log_every=10),
        "small": SMALL,
        "full": dataclasses.replace(SMALL, steps=50_000, points=10**6, batch_size=4096, checkpoint_every=5000),
    },
    load=_load,
    measure=_measure,
    stages=(StageSpec("flow", _build),),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"steps": "ode_steps"},
    baseline="gaussian",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
