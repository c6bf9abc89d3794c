"""Normalizing flows of points in the plane, whose true density is known.

    jaxgen run planar_flow                                        # two moons, a spline flow
    jaxgen run planar_flow --data checkerboard --flow real_nvp

The headline is the Kullback-Leibler divergence from the true law to the flow: how far its mean negative log-likelihood
lies above the entropy, in nats.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
import scipy.stats
from matplotlib.figure import Figure as Canvas

from jaxgen.app.cli import run_module
from jaxgen.bijections import Bijection, rational_quadratic
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Splits
from jaxgen.data.planar import planar_set
from jaxgen.experiment import Evaluation, Figure, Metric, StageSpec
from jaxgen.families import flow_model, masked_autoregressive_flow, neural_spline_flow, real_nvp
from jaxgen.tasks import before
from jaxgen.train import Stage, make_optimizer
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanarFlowConfig(RunConfig):
    """The configuration of `planar_flow`."""

    data: str = option("moons", "points: eight_gaussians, 25_gaussians, moons, spirals or checkerboard", group="data")
    points: int = option(200_000, "training points", ge=64, le=10**8, group="data")
    test_points: int = option(20_000, "points to evaluate on", ge=2, le=10**7, group="judging")
    flow: Literal["spline", "autoregressive_spline", "real_nvp", "autoregressive"] = option(
        "spline", "couplings or autoregressions, of splines or affine", group="network"
    )
    layers: int = option(4, "couplings (an even number) or autoregressions", ge=1, le=256, group="network")
    widths: tuple[int, ...] = option((128, 128), "hidden layers of each conditioner", ge=1, group="network")
    bins: int = option(32, "pieces of a spline", ge=2, le=500, group="network")
    bound: float = option(3.0, "half the width of the square of the splines, in deviations", gt=0, group="network")
    mix: bool = option(False, "mix the coordinates before each pair of spline couplings", group="network")


def _flow(config: PlanarFlowConfig) -> Bijection:
    options: dict[str, Any] = {"layers": config.layers, "widths": config.widths}
    if config.flow == "spline":
        return neural_spline_flow(2, bins=config.bins, bound=config.bound, mix=config.mix, **options)
    if config.flow == "real_nvp":
        return real_nvp(2, **options)
    transform = rational_quadratic(config.bins, config.bound) if config.flow == "autoregressive_spline" else None
    return masked_autoregressive_flow(2, transform=transform, **options)


def _model(config: PlanarFlowConfig) -> Model:
    return flow_model(_flow(config), (2,), data="points")


def _load(config: PlanarFlowConfig) -> Splits:
    law = planar_set(config.data)

    def drawn(n: int, part: int) -> ArraySource:
        return ArraySource({"points": law.draw(np.random.default_rng([config.seed, part]), n)[0]})

    train, validation, test = (drawn(n, part) for part, n in enumerate((config.points, 256, config.test_points)))
    return Splits(train, validation, test, name=config.data, origin="computed", licence="CC0-1.0")


def _measure(config: PlanarFlowConfig, splits) -> dict[str, Any]:
    points = splits.train.arrays["points"]
    return {"mean": points.mean(0).tolist(), "covariance": np.cov(points.T).tolist()}


def _build(config: PlanarFlowConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    optimizer = make_optimizer(
        config.learning_rate, config.warmup_steps, config.steps, config.schedule, clip=config.gradient_clip
    )
    return Stage("flow", _model(config), {"net": optimizer}, config.steps)


def _log_prob(config: PlanarFlowConfig, trained):
    log_density = _model(config).log_prob
    assert log_density is not None
    run = jax.jit(lambda params, x: log_density(params, None, x))
    return lambda x: np.asarray(run(trained["flow"], np.asarray(x, np.float32)), np.float64)


def _draw(config: PlanarFlowConfig, trained, key, n: int) -> np.ndarray:
    return np.asarray(jax.jit(_model(config).sample, static_argnums=2)(trained["flow"], key, n))


def _figure(law, log_prob, samples: np.ndarray) -> Figure:
    extent = 1.05 * law.extent
    line = np.linspace(-extent, extent, 201)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    panels = {"true density": law.log_prob(grid), "density of the flow": log_prob(grid)}
    canvas = Canvas(figsize=(9, 3.1), layout="constrained")
    *shown, points = canvas.subplots(1, 3)
    top = np.exp(panels["true density"]).max()
    for axes, (name, values) in zip(shown, panels.items(), strict=True):
        picture = np.exp(values).reshape(201, 201)
        axes.imshow(picture, origin="lower", extent=(-extent, extent) * 2, cmap="magma", vmin=0, vmax=top)
        axes.set(title=name, xticks=[], yticks=[])
    points.scatter(*samples[:4000].T, s=1, alpha=0.4)
    points.set(
        title="samples of the flow",
        xlim=(-extent, extent),
        ylim=(-extent, extent),
        aspect="equal",
        xticks=[],
        yticks=[],
    )
    return Figure(canvas, "The density that the flow learned beside the true one, and points drawn from the flow.")


def _evaluate(config: PlanarFlowConfig, constants, trained, splits, key) -> Evaluation:
    law, test = planar_set(config.data), splits.test.arrays["points"]
    log_prob, true = _log_prob(config, trained), law.log_prob(test)
    gaussian = scipy.stats.multivariate_normal(constants["mean"], constants["covariance"]).logpdf(test)
    metrics: dict[str, Any] = {}
    for name, found in (("flow", log_prob(test)), ("gaussian", gaussian)):
        gap = true - found
        metrics[name] = {
            "nats": float(-found.mean()),
            "gap": float(gap.mean()),
            "gap_error": float(gap.std(ddof=1) / np.sqrt(len(gap))),
        }
    metrics["entropy"] = law.entropy(500)
    figures = {"density": _figure(law, log_prob, _draw(config, trained, key, 4000))}
    ours, baseline = metrics["flow"], metrics["gaussian"]
    headline = (
        f"{ours['gap']:.4f} +- {ours['gap_error']:.4f} nats above the entropy of {config.data} "
        f"({metrics['entropy']:.3f}); a fitted Gaussian {baseline['gap']:.3f}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "nats": Metric("Negative log-likelihood", "lower", "mean over fresh points, nats"),
    "gap": Metric("Above the entropy", "lower", "mean of log p_true - log p_model over fresh points, nats"),
    "gap_error": Metric("its standard error", "", "over points"),
}


def _sample(config: PlanarFlowConfig, constants, trained, splits, key, n: int) -> Evaluation:
    points = _draw(config, trained, key, n)
    shown = _figure(planar_set(config.data), _log_prob(config, trained), points)
    return Evaluation({"points": n}, {"samples": shown}, f"{n} points", arrays={"points": points})


SMALL = PlanarFlowConfig(
    steps=5000,
    batch_size=512,
    learning_rate=2e-3,
    ema_decay=0.995,
    steps_per_call=100,
    checkpoint_every=1000,
    log_every=100,
)
EXPERIMENT = before.experiment(
    name="planar_flow",
    summary="Normalizing flows of 2-D points, judged by their distance to the true entropy",
    data="two moons, eight Gaussians, spirals or a checkerboard, computed",
    presets={
        "smoke": dataclasses.replace(
            SMALL,
            steps=10,
            points=256,
            test_points=64,
            batch_size=32,
            layers=2,
            widths=(8,),
            bins=4,
            steps_per_call=5,
            log_every=5,
        ),
        "small": SMALL,
        "full": dataclasses.replace(
            SMALL, steps=50_000, points=10**7, layers=8, batch_size=2048, checkpoint_every=5000
        ),
    },
    load=_load,
    measure=_measure,
    stages=(StageSpec("flow", _build),),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
