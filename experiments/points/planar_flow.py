"""Normalizing flows of points in the plane, whose true density is known.

    jaxgen run planar_flow                                        # two moons, a spline flow
    jaxgen run planar_flow --data checkerboard --flow real_nvp

The headline is the Kullback-Leibler divergence from the true distribution to the flow: how far its mean negative
log-likelihood lies above the entropy, in nats.
"""

import dataclasses

import jax
import numpy as np
import scipy.stats

from jaxgen.app.cli import run_module
from jaxgen.bijections import rational_quadratic
from jaxgen.config import option
from jaxgen.data.planar import planar_set
from jaxgen.experiment import Evaluation, Run
from jaxgen.families import flow_model, masked_autoregressive_flow, neural_spline_flow, real_nvp
from jaxgen.figures.points import SHOWN, panels
from jaxgen.tasks import points
from jaxgen.types import Key, Model

FLOWS = ("spline", "autoregressive_spline", "real_nvp", "autoregressive")
TRAINING = {"batch_size": 512, "learning_rate": 2e-3, "ema_decay": 0.995, "steps_per_call": 100}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanarFlowConfig(points.PointsConfig):
    flow: str = option("spline", "couplings or autoregressions, of splines or affine", choices=FLOWS, group="network")
    layers: int = option(4, "couplings (an even number) or autoregressions", ge=1, le=256, group="network")
    widths: tuple[int, ...] = option((128, 128), "hidden layers of each conditioner", ge=1, group="network")
    bins: int = option(32, "pieces of a spline", ge=2, le=500, group="network")
    bound: float = option(3.0, "half width of the splines' square, in standard deviations", gt=0, group="network")
    mix: bool = option(False, "mix the coordinates before each pair of spline couplings", group="network")


def model(run: Run) -> Model:
    config, layers, widths = run.config, run.config.layers, run.config.widths
    if config.flow == "spline":
        flow = neural_spline_flow(2, layers=layers, widths=widths, bins=config.bins, bound=config.bound, mix=config.mix)
    elif config.flow == "real_nvp":
        flow = real_nvp(2, layers=layers, widths=widths)
    else:
        spline = rational_quadratic(config.bins, config.bound) if config.flow == "autoregressive_spline" else None
        flow = masked_autoregressive_flow(2, transform=spline, layers=layers, widths=widths)
    return flow_model(flow, (2,), data="points")


def draw(run: Run, key: Key, n: int) -> np.ndarray:
    return np.asarray(jax.jit(model(run).sample, static_argnums=2)(run.params["flow"], key, n))


def evaluate(run: Run) -> Evaluation:
    known, fresh = planar_set(run.config.data), points.points_of(run.splits.test)
    density = model(run).log_prob
    assert density is not None
    compiled = jax.jit(density)

    def log_prob(x: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(run.params["flow"], None, x))

    gaussian = scipy.stats.multivariate_normal(*run.facts.gaussian)
    ours, baseline = (known.score(fresh, density) for density in (log_prob, gaussian.logpdf))
    entropy = known.entropy(500)
    headline = (
        f"{ours['gap']:.4f} +- {ours['gap_error']:.4f} nats above the entropy of {run.config.data} ({entropy:.3f}); "
        f"a fitted Gaussian {baseline['gap']:.3f}."
    )
    shown = panels(
        known,
        "The true density, the one that the flow learned, and points drawn from the flow.",
        densities={"density of the flow": log_prob},
        sets={"samples of the flow": draw(run, run.key, SHOWN)},
    )
    metrics = {"flow": ours, "gaussian": baseline, "entropy": entropy}
    return Evaluation(metrics, {"density": shown}, headline, points.describe())


EXPERIMENT = points.experiment(
    name="planar_flow",
    summary="Normalizing flows of 2-D points, evaluated by their distance to the true entropy",
    data="two moons, eight Gaussians, spirals or a checkerboard, computed",
    config=PlanarFlowConfig,
    presets={
        "smoke": {"test_points": 64, "layers": 2, "widths": (8,), "bins": 4},
        "small": {**TRAINING, "steps": 5000},
        "full": {**TRAINING, "steps": 50_000, "points": 10**7, "layers": 8, "batch_size": 2048},
    },
    stages=(points.stage("flow", model),),
    evaluate=evaluate,
    draw=draw,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
