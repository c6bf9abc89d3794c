"""Points in the plane: densities that are known, so that a model's likelihood can be compared with the entropy."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxgen import presets
from jaxgen.baselines import Gaussian
from jaxgen.config import RunConfig, option
from jaxgen.data import ArraySource, Source, Splits
from jaxgen.data.planar import PLANAR, planar_set
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Experiment, Metric, Run
from jaxgen.facts import Facts
from jaxgen.figures.points import panels
from jaxgen.tasks import images
from jaxgen.types import Key

SMALL: presets.Changes = {"checkpoint_every": 1000, "log_every": 100}
SIZES = {"points": 256, "test_points": 128, "batch_size": 32}
SMOKE: presets.Changes = {**SIZES, "steps": 10, "steps_per_call": 5, "log_every": 5}
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

    @property
    def gaussian(self) -> Gaussian:
        """The fitted Gaussian, the baseline of every experiment on points."""
        return Gaussian(np.array(self.mean), np.array(self.covariance))


def points_of(source: Source) -> np.ndarray:
    """All points of a split ``[n, 2]``."""
    return ArraySource.from_source(source).arrays["points"]


def load_points(config: PointsConfig) -> Splits:
    """Points of the set that ``--data`` names: for training, 1000 for validation, and to evaluate on.

    Raises:
        UserError: if there is no set of that name, or it is one of images.
    """
    if config.data not in PLANAR and Path(config.data).expanduser().exists():
        raise UserError(
            f"--data {config.data}: these are no points in the plane; the likelihood of images is that of "
            f"`jaxgen run cnf_images --data {config.data}`, or of normalizing_flow"
        )
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


def describe(gap: str = "gap") -> dict[str, Metric]:
    """How to show the metrics of `jaxgen.data.planar.PlanarSet.score`."""
    return {
        "nats": Metric("Negative log-likelihood", "lower", "mean over fresh points, nats; the entropy at best"),
        gap: Metric("Above the entropy", "lower", "divergence from the true density, estimated on fresh points, nats"),
        f"{gap}_error": Metric("its standard error", "", "over fresh points"),
        "energy_distance": Metric("Energy distance", "lower", "squared, unbiased, of samples to fresh points"),
    }


make = functools.partial(presets.make, small=SMALL, smoke=SMOKE, full=FULL)
stage = functools.partial(images.stage, prepare=None)


def experiment(
    *,
    config: type[PointsConfig],
    presets: Mapping[str, presets.Changes],
    draw: Callable[[Run, Key, int], np.ndarray],
    **fields: Any,
) -> Experiment:
    """An experiment on points in the plane, compared with a fitted Gaussian.

    Args:
        config: the class of the configuration.
        presets: what each preset changes (`jaxgen.presets.make`).
        draw: ``draw(run, key, n) -> points [n, 2]``, for ``jaxgen sample``.
        **fields: of `Experiment`: ``name``, ``summary``, ``data``, ``stages``, ``evaluate``, and those that differ from
            those of every experiment on points.
    """

    def sample(run: Run, n: int) -> Evaluation:
        points = draw(run, run.key, n)
        shown = panels(planar_set(run.config.data), "Points drawn from the model.", sets={"samples": points})
        return Evaluation({"points": n}, {"samples": shown}, f"{n} points", arrays={"points": points})

    shared: dict[str, Any] = {"load": load_points, "measure": measure_points, "facts": PointFacts, "sample": sample}
    return Experiment(presets=make(config, presets), baseline="gaussian", **shared | fields)
