"""What reconstructions with a diffusion prior share, whatever was measured: the prior, and how it is sampled."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec, chosen_number
from jaxgen.imaging.operators import LinearOperator, pseudo_inverse
from jaxgen.medical.reconstruction import ddnm, diffpir, dps
from jaxgen.metrics import interval_coverage, interval_widening
from jaxgen.paths import Path
from jaxgen.samplers import ddim, grids, renewal, sample
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage
from jaxgen.types import Denoise, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosteriorConfig(denoisers.DenoiserConfig):
    """The options of every reconstruction with a diffusion prior."""

    sampler_steps: int = option(50, "steps from noise to image", ge=4, le=10_000, group="sampling")

    cases: int = option(16, "test slices", ge=1, group="judging")
    tuning: int = option(16, "validation slices that choose every method's setting", ge=1, group="judging")
    calibration: int = option(
        4, "of them, those that the width of the samples' intervals comes from", ge=1, group="judging"
    )
    repeats: int = option(6, "samples a slice: their mean and deviation are reported", ge=2, le=256, group="judging")
    tv_steps: int = option(300, "iterations of total variation", ge=1, group="judging")


AnyConfig = TypeVar("AnyConfig", bound=PosteriorConfig)
LEVEL = 0.9
"""Of the intervals whose coverage is reported."""
WIDENING = "{} widening"
"""Where the factor of a method's intervals is kept, beside its setting."""


class Sampler(NamedTuple):
    """A posterior sampler.

    Attributes:
        make: ``(config, path, grid, denoise, operator, y, setting) -> (step, denoise)``.
        settings: to choose from on validation slices.
    """

    make: Callable[..., tuple[Step, Denoise]]
    settings: tuple[float, ...]


def make_ddnm(config, path: Path, grid, denoise, operator: LinearOperator, y, damping):
    """DDNM with all noise new, and conjugate gradients for the inverse; the setting is their damping."""
    inverse = pseudo_inverse(operator, iterations=config.inner_steps, damping=damping)
    return ddim(path, eta=1.0), ddnm(denoise, operator, y, inverse)


def make_diffpir(config, path: Path, grid, denoise, operator: LinearOperator, y, weight, *, last: bool = True):
    """DiffPIR; the setting is the weight of the prior. Unless `last`, the last step leaves the measurements out."""
    # A noise of 1 makes the weight that of the noise and of the prior together.
    options: dict[str, Any] = {"noise": 1.0, "weight": weight, "iterations": config.inner_steps}
    if not last:
        options["interval"] = (float(grid[0]), float(grid[-3]))
    return renewal(path, 1.0), diffpir(denoise, operator, y, path, **options)


def make_dps(config, path: Path, grid, denoise, operator: LinearOperator, y, scale):
    """DPS; the setting is the scale of its gradient."""
    return dps(ddim(path, eta=1.0), operator, y, scale), denoise


def prior_stage(prepare: Callable) -> StageSpec:
    """The stage that trains the prior; ``prepare(config)`` makes what is done to a batch on the device."""

    def build(config: PosteriorConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        model = denoisers.make_model(config, constants, steps=config.sampler_steps)
        return Stage("prior", model, images.optimizers(config), config.steps, prepare(config))

    return StageSpec("prior", build)


def sample_prior(config: PosteriorConfig, constants, trained, splits, key, n) -> Evaluation:
    """Slices drawn with nothing measured, for `jaxgen sample`."""
    path = denoisers.make_path(config)
    grid = grids.uniform(path, config.sampler_steps)

    @jax.jit
    def draw(params, keys):
        start = denoisers.starting_noise(path, keys, (len(keys), config.size, config.size, 1))
        return sample(ddim(path), denoisers.denoise_with(config, constants, params), keys, start, grid)

    params = trained["prior"]["net"]
    drawn = images.in_chunks(lambda keys: draw(params, keys), n, config.chunk, jax.random.split(key, n))
    return judging.sampled(drawn, "Slices drawn by the prior, with nothing measured.")


def for_one_scan(config: AnyConfig) -> AnyConfig:
    """With no more images at once than the samples of one scan."""
    return dataclasses.replace(config, chunk=min(config.chunk, config.repeats))


def nearest(known: Sequence[int], value: float) -> int:
    """Which of the settings that were judged is nearest to this one, by their ratio."""
    return min(known, key=lambda one: abs(np.log(one / value)))


def shown_of(n: int) -> np.ndarray:
    """The numbers of at most 8 of n slices, spread evenly, for the figures."""
    return np.unique(np.linspace(0, n - 1, min(8, n)).round().astype(int))


def widening(drawn: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> float:
    """What the samples' deviation must be multiplied with on validation slices.

    1 where that has no meaning, as where nothing is seen; NaN where samples diverged.
    """
    if not np.isfinite(drawn).all():
        return float("nan")
    found = float(interval_widening(jnp.asarray(drawn), jnp.asarray(truth), level=LEVEL, where=jnp.asarray(seen)))
    return found if np.isfinite(found) else 1.0


def kept_widening(constants: Mapping[str, Any], group: str, method: str) -> float:
    """The `widening` that an evaluation kept, 1 before there is one; NaN, which JSON holds as null, comes back."""
    name, row = WIDENING.format(method), constants["chosen"].get(group)
    if isinstance(row, Mapping) and name in row and row[name] is None:
        return float("nan")
    return chosen_number(Run(None, None, chosen=constants.get("chosen", {})), group, name, default=1.0)


def uncertainty(drawn: np.ndarray, truth: np.ndarray, seen: np.ndarray, widening: float) -> dict[str, float]:
    """How well the deviation of the samples ``[repeats, n, h, w, 1]`` tells the error of their mean, where `seen`.

    All of it is NaN where samples diverged.
    """
    if not np.isfinite(drawn).all():
        return dict.fromkeys(("rank", "coverage", "calibrated", "widening"), float("nan"))
    from scipy.stats import spearmanr  # takes a second to load

    error, spread = np.abs(drawn.mean(0) - truth)[seen], drawn.std(0, ddof=1)[seen]
    covered = functools.partial(
        interval_coverage, jnp.asarray(drawn), jnp.asarray(truth), level=LEVEL, where=jnp.asarray(seen)
    )
    return {
        "rank": float(np.nan_to_num(spearmanr(spread, error).statistic)) if len(error) else 0.0,
        "coverage": float(covered()),
        "calibrated": float(covered(widening=widening)),
        "widening": widening,
    }


def describe_uncertainty(tag: str, name: str) -> dict[str, Metric]:
    """What `uncertainty` says of a situation."""
    inside = f"pixels whose truth lies in the samples' interval of {LEVEL:.0%}"
    return {
        f"rank_{tag}": Metric(
            f"Deviation and error, {name}", "higher", "rank correlation of the samples' deviation with the error"
        ),
        f"coverage_{tag}": Metric(f"Coverage, {name}", "", inside),
        f"calibrated_{tag}": Metric(
            f"Coverage, calibrated, {name}", "", f"{inside}, as wide as validation slices ask for"
        ),
        f"widening_{tag}": Metric(f"Widening, {name}", "", "factor of the width of the calibrated interval"),
    }
