"""Points in the plane: densities that are known, so that a model's likelihood can be compared with the entropy."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure as Canvas

from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Source, Splits
from jaxgen.data.planar import PLANAR, PlanarSet, planar_set
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, Run, StageSpec
from jaxgen.facts import Facts
from jaxgen.metrics.energy import energy_distance
from jaxgen.tasks import presets
from jaxgen.types import Key

LogDensity = Callable[[np.ndarray], np.ndarray]
SHOWN, CELLS = 4000, 120

SMALL: presets.Changes = {"checkpoint_every": 1000, "log_every": 100}
SMOKE: presets.Changes = {
    "steps": 10,
    "points": 256,
    "test_points": 128,
    "batch_size": 32,
    "steps_per_call": 5,
    "log_every": 5,
}
FULL: presets.Changes = {"checkpoint_every": 5000, "log_every": 100}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointsConfig(RunConfig):
    """The options of every experiment on points in the plane."""

    data: str = option("moons", f"points: {', '.join(PLANAR)}", group="data")
    points: int = option(200_000, "training points", ge=64, le=10**8, group="data")
    test_points: int = option(20_000, "points to evaluate on", ge=2, le=10**7, group="evaluation", formerly="fresh")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointFacts(Facts):
    """What is measured on the training points: the Gaussian that is fitted to them.

    Attributes:
        mean: ``[2]``.
        covariance: ``[2, 2]``.
    """

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    renamed: ClassVar[Mapping[str, str]] = {"entropy": ""}


def points_of(source: Source) -> np.ndarray:
    """All points of a split ``[n, 2]``."""
    return ArraySource.from_source(source).arrays["points"]


def load_points(config: PointsConfig) -> Splits:
    """Points of the set that ``--data`` names: for training, 1000 for validation, and to evaluate on.

    Raises:
        UserError: if there is no set of that name.
    """
    known = planar_set(config.data)
    train, validation, test = (
        ArraySource({"points": known.draw(np.random.default_rng([config.seed, part]), n)[0]})
        for part, n in enumerate((config.points, 1000, config.test_points))
    )
    return Splits(train, validation, test, name=config.data, origin="computed", licence="CC0-1.0")


def measure_points(config: RunConfig, splits: Splits) -> PointFacts:
    """Mean and covariance of the training points."""
    points = points_of(splits.train)
    return PointFacts(mean=tuple(points.mean(0).tolist()), covariance=tuple(map(tuple, np.cov(points.T).tolist())))


def score(
    known: PlanarSet, x: np.ndarray, log_prob: np.ndarray, drawn: np.ndarray | None = None, *, gap: str = "gap"
) -> dict[str, float]:
    """How likely fresh points are under a model, compared with their own distribution.

    ``gap = mean(log p(x) - log q(x))`` estimates the Kullback-Leibler divergence from the distribution p to the model
    q; taken point by point, its standard error is smaller than that of the likelihood.

    Args:
        known: the distribution p of the points.
        x: fresh points ``[n, 2]``.
        log_prob: ``log q(x) [n]`` in nats.
        drawn: points ``[m, 2]`` drawn from the model, or None.
        gap: the metric's name.

    Returns:
        ``nats``, the mean negative log-likelihood, `gap`, and ``{gap}_error``, its standard error; with `drawn`
        ``energy_distance`` too, squared and unbiased.

    Example:
        >>> known = planar_set("moons")
        >>> x, _ = known.draw(np.random.default_rng(0), 10)
        >>> score(known, x, known.log_prob(x) - 0.5)["gap"]
        0.5
    """
    log_prob = np.asarray(log_prob, np.float64)
    lost = known.log_prob(x) - log_prob
    found = {
        "nats": float(-log_prob.mean()),
        gap: float(lost.mean()),
        f"{gap}_error": float(lost.std(ddof=1) / np.sqrt(len(lost))),
    }
    if drawn is not None:
        found["energy_distance"] = float(energy_distance(jnp.asarray(drawn), jnp.asarray(x)))
    return found


def describe(gap: str = "gap") -> dict[str, Metric]:
    """How to show the metrics of `score`."""
    return {
        "nats": Metric("Negative log-likelihood", "lower", "mean over fresh points, nats; the entropy at best"),
        gap: Metric("Above the entropy", "lower", "divergence from the true density, estimated on fresh points, nats"),
        f"{gap}_error": Metric("its standard error", "", "over fresh points"),
        "energy_distance": Metric("Energy distance", "lower", "squared, unbiased, of samples to fresh points"),
    }


def gaussian_log_prob(facts: PointFacts, x: np.ndarray) -> np.ndarray:
    """The log-density ``[n]`` of points under the Gaussian fitted to the training points."""
    covariance, off = np.array(facts.covariance), x - np.array(facts.mean)
    square = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    return -0.5 * (square + np.linalg.slogdet(covariance)[1]) - np.log(2 * np.pi)


def gaussian_points(run: Run, n: int) -> np.ndarray:
    """Points ``[n, 2]`` drawn from the Gaussian fitted to the training points."""
    rng = np.random.default_rng(run.config.seed)
    return rng.multivariate_normal(run.facts.mean, run.facts.covariance, n).astype(np.float32)


def panels(
    known: PlanarSet,
    caption: str,
    *,
    densities: Mapping[str, LogDensity] = {},
    sets: Mapping[str, np.ndarray] = {},
    ways: Mapping[str, np.ndarray] = {},
) -> Figure:
    """Densities, points and trajectories in the plane, side by side.

    Args:
        known: the true distribution, whose density sets the scale of colours and whose extent that of points.
        caption: what to see.
        densities: log-densities ``points [n, 2] -> [n]`` by name; the true one is drawn before them.
        sets: points ``[n, 2]`` by name.
        ways: trajectories from noise to points ``[steps + 1, n, 2]`` by name.
    """
    extent = known.extent
    bounds = (-extent, extent)
    line = np.linspace(*bounds, CELLS, dtype=np.float32)
    mesh = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    fields = {"true density": known.log_prob, **densities} if densities else {}
    count = len(fields) + len(sets) + len(ways)
    canvas = Canvas(figsize=(2.8 * count, 3), layout="constrained")
    axes = iter(canvas.subplots(1, count, squeeze=False)[0])
    top = float(np.exp(known.log_prob(mesh)).max())
    for name, log_prob in fields.items():
        panel, picture = next(axes), np.exp(log_prob(mesh)).reshape(CELLS, CELLS)
        panel.imshow(picture, origin="lower", extent=bounds * 2, cmap="magma", vmin=0, vmax=top)
        panel.set(title=name, xticks=[], yticks=[])
    for name, points in sets.items():
        panel = next(axes)
        panel.scatter(*points[:SHOWN].T, s=1, alpha=0.4)
        panel.set(title=name, xlim=bounds, ylim=bounds, aspect="equal", xticks=[], yticks=[])
    for name, way in ways.items():
        panel, way = next(axes), way[:, :150]
        panel.plot(way[..., 0], way[..., 1], color="#3b7dd8", linewidth=0.4, alpha=0.6)
        panel.scatter(*way[0].T, s=3, color="gray", zorder=2)
        panel.scatter(*way[-1].T, s=3, color="#e4572e", zorder=2)
        panel.set(title=name, aspect="equal", xticks=[], yticks=[])
    return Figure(canvas, caption)


make = functools.partial(presets.make, small=SMALL, smoke=SMOKE, full=FULL)


def experiment(
    *,
    name: str,
    summary: str,
    data: str,
    config: type[PointsConfig],
    presets: Mapping[str, presets.Changes],
    stages: Sequence[StageSpec],
    evaluate: Callable[[Run], Evaluation],
    draw: Callable[[Run, Key, int], np.ndarray],
    **others: Any,
) -> Experiment:
    """An experiment on points in the plane, compared with a fitted Gaussian.

    Args:
        name: the name of the file.
        summary: one line for ``jaxgen list``.
        data: one line on the data it trains on by default.
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.tasks.presets.make`).
        stages: the stages.
        evaluate: ``evaluate(run)``.
        draw: ``draw(run, key, n) -> points [n, 2]``, for ``jaxgen sample``.
        **others: fields of `Experiment` that differ from those of every experiment on points.
    """

    def sample(run: Run, n: int) -> Evaluation:
        points = draw(run, run.key, n)
        shown = panels(planar_set(run.config.data), "Points drawn from the model.", sets={"samples": points})
        return Evaluation({"points": n}, {"samples": shown}, f"{n} points", arrays={"points": points})

    fields: dict[str, Any] = {"load": load_points, "measure": measure_points, "facts": PointFacts, "sample": sample}
    return Experiment(
        name=name,
        summary=summary,
        data=data,
        presets=make(config, presets),
        stages=stages,
        evaluate=evaluate,
        baseline="gaussian",
        **fields | others,
    )
