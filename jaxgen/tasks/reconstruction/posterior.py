"""Reconstruction with a diffusion prior: a network learns images, and what was measured enters when it is sampled.

The posterior methods are those of `jaxgen.medical.reconstruction.catalogue`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.config import option
from jaxgen.data.images import sides_of
from jaxgen.experiment import Evaluation, Run, StageSpec, chosen_number
from jaxgen.imaging.operators import LinearOperator
from jaxgen.medical.reconstruction.cases import WIDENING, Method, Samples
from jaxgen.medical.reconstruction.catalogue import METHODS, Posed, PosteriorMethod
from jaxgen.samplers import ddim, grids, sample, starting_noise
from jaxgen.tasks import diffusion, generation, images
from jaxgen.types import Array, Denoise, Key, Model, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosteriorConfig(diffusion.DiffusionConfig):
    """The options of every reconstruction with a diffusion prior."""

    sampler_steps: int = option(50, "steps from noise to image", ge=4, le=10_000, group="sampling")

    cases: int = option(16, "test images", ge=1, group="evaluation")
    tuning: int = option(16, "validation images that choose every method's setting", ge=1, group="evaluation")
    calibration: int = option(
        4,
        "validation images used to calibrate the uncertainty intervals (a part of --tuning)",
        ge=1,
        group="evaluation",
    )
    repeats: int = option(
        6, "samples per image: their mean and standard deviation are reported", ge=2, le=256, group="evaluation"
    )
    tv_steps: int = option(300, "iterations of total variation", ge=1, group="evaluation")


SONG_2022: dict[str, Any] = {
    "path": "ve",
    "prediction": "noise",
    "blocks": 2,
    "head_width": 64,
    "patch": 1,
    "sampler_steps": 1000,
    "cases": 1000,
    "repeats": 4,
    "steps": 2_400_000,
    "batch_size": 64,
    "learning_rate": 2e-4,
    "warmup_steps": 5000,
    "schedule": "constant",
    "optimizer": "adam",
    "ema_decay": 0.999,
}
"""Training and sampling of Song et al. 2022, "Solving inverse problems in medical imaging with score-based generative
models"."""


class Problem(NamedTuple):
    """A kind of measurement, as posterior methods need it; JAX traces all its functions but `view`.

    Attributes:
        kind: the name under which the catalogue of methods holds the settings for it.
        system: ``system(scan) -> (A, y)``, what a scan says of images in [-1, 1].
        prior: ``prior(params, scan) -> denoise``.
        channels: ``channels(scan)`` of the images that are drawn.
        finish: ``finish(scan, A, y, x) -> (x, misfit [b] or None)``, of samples x.
        view: images as they are compared, ``[..., channels] -> [..., 1]``.
        ends_on_prior: whether DiffPIR's last step leaves the measurements out.
        params: ``params(run)``, what `prior` is given; the parameters of the stage "prior" if left out.
    """

    kind: str
    system: Callable[[Any], tuple[LinearOperator, Array]]
    prior: Callable[[Params, Any], Denoise]
    channels: Callable[[Any], int]
    finish: Callable[[Any, LinearOperator, Array, Array], tuple[Array, Array | None]]
    view: Callable[[np.ndarray], np.ndarray]
    ends_on_prior: bool = False
    params: Callable[[Run], Params] = lambda run: run.params["prior"]["net"]


def in_chunks(run: Run, function: Callable[..., Any], scan: Any, copies: int = 1, *arrays: Any) -> Any:
    """``function(scan, *arrays)`` of the scan `copies` times over, in chunks; images larger than trained one by one."""
    chunk = run.config.chunk if scan.shape[0] <= sides_of(run.config.size)[0] else 1
    n = copies * len(scan)

    def at(numbers: np.ndarray, *arrays: Any) -> Any:
        return function(scan.take(numbers % len(scan)), *arrays)

    return images.in_chunks(at, n, chunk, np.arange(n), *arrays, exactly=True)


def methods(run: Run, problem: Problem, tuned_on: Mapping[str, str] = {}) -> tuple[Method, ...]:
    """The posterior methods that ``--methods`` names, each compiled once for any scan of a kind and any setting.

    Args:
        run: the run, whose stages trained the prior.
        problem: the kind of measurement.
        tuned_on: situations whose setting is that of another (`jaxgen.medical.reconstruction.cases.Method`).
    """
    return tuple(
        Method(name, _draw(run, problem, METHODS[name]), METHODS[name].settings[problem.kind], True, (), tuned_on)
        for name in run.config.methods
    )


def compiled(run: Run, problem: Problem, method: PosteriorMethod) -> Callable[..., tuple[Array, Array | None]]:
    """A posterior method as one program, ``(params, keys [b], scan, setting) -> (x, misfit [b] or None)``."""
    config, path = run.config, diffusion.make_path(run.config)
    grid = np.asarray(grids.uniform(path, config.sampler_steps))

    @jax.jit
    def program(params: Params, keys: Key, scan: Any, setting: Array) -> tuple[Array, Array | None]:
        noise_keys, step_keys = draws.split(keys, 2)
        operator, y = problem.system(scan)
        denoise = problem.prior(params, scan)
        start = starting_noise(path, noise_keys, (len(keys), *scan.shape, problem.channels(scan)))
        posed = Posed(path, grid, operator, y, config.inner_steps, config.snr, problem.ends_on_prior)
        step, consistent = method.make(posed, denoise, setting)
        x = sample(step, consistent, step_keys, start, jnp.asarray(grid))
        return problem.finish(scan, operator, y, x)

    return program


def _draw(run: Run, problem: Problem, method: PosteriorMethod) -> Callable[..., Samples]:
    program = compiled(run, problem, method)

    def draw(scan: Any, setting: float, key: Key, repeats: int) -> Samples:
        params, n = problem.params(run), len(scan)

        def chunk(part: Any, keys: Key) -> tuple[Array, Array | None]:
            return program(params, keys, part, setting)

        drawn, misfit = in_chunks(run, chunk, scan, repeats, jax.random.split(key, repeats * n))
        drawn = drawn.reshape(repeats, n, *drawn.shape[1:])
        misfit = None if misfit is None else misfit.reshape(repeats, n)
        return Samples(problem.view(drawn), problem.view(drawn.mean(0)), misfit)

    return draw


def prior(run: Run) -> Model:
    """The diffusion model of images of one channel."""
    return diffusion.make_model(run, steps=run.config.sampler_steps)


def prior_stage(prepare: Callable[[Any], images.Prepare]) -> StageSpec:
    """The stage that trains the prior; ``prepare(config)`` makes what is done to a batch on the device."""
    return images.stage("prior", prior, prepare=prepare)


def sample_prior(run: Run, n: int) -> Evaluation:
    """Slices drawn with nothing measured, for `jaxgen sample`."""
    path = diffusion.make_path(run.config)
    grid, shape = grids.uniform(path, run.config.sampler_steps), images.image_shape(run)

    @jax.jit
    def draw(params: Params, keys: Key) -> Array:
        start = starting_noise(path, keys, (len(keys), *shape))
        return sample(ddim(path), diffusion.denoise_with(run, params), keys, start, grid)

    params = run.params["prior"]["net"]
    drawn = images.draw_in_chunks(run, lambda keys: draw(params, keys), run.key, n)
    return generation.sampled(drawn, "Slices drawn by the prior, with nothing measured.")


class Reconstruction(NamedTuple):
    """What is said of one scan.

    Attributes:
        image: the image of the samples' mean, ``[*spatial]``.
        uncertainty: their standard deviation, as wide as validation images ask for, ``[*spatial]``.
        misfit: ``|A x - y| / |y|`` of the worst sample; None if it is not reported.
    """

    image: np.ndarray
    uncertainty: np.ndarray
    misfit: float | None


def reconstructor(run: Run, problem: Problem) -> Callable[..., Reconstruction]:
    """``f(key, scan, *situations)``, for `jaxgen apply`: the first of ``--methods`` on a scan of one image.

    Its setting is that of the first of the situations that the run's evaluation chose one for.
    """
    config = run.config  # no more images at once than the samples of one scan
    run = run._replace(config=dataclasses.replace(config, chunk=min(config.chunk, config.repeats)))
    method = methods(run, problem)[0]

    def reconstruct(key: Key, scan: Any, *situations: str) -> Reconstruction:
        name = next((name for name in situations if name in run.chosen), situations[0])
        setting = chosen_number(run, name, method.name, default=method.settings[0])
        drawn = method.run(scan, setting, key, config.repeats)
        spread = kept_widening(run, name, method.name) * drawn.images.std(0, ddof=1)
        worst = None if drawn.misfit is None else float(drawn.misfit.max())
        return Reconstruction(drawn.mean[0, ..., 0], spread[0, ..., 0], worst)

    return reconstruct


def kept_widening(run: Run, situation: str, method: str) -> float:
    """The factor that an evaluation kept, 1 before there is one; NaN, which JSON holds as null, comes back."""
    name, row = WIDENING.format(method), run.chosen.get(situation)
    if isinstance(row, Mapping) and name in row and row[name] is None:
        return float("nan")
    return chosen_number(run, situation, name, default=1.0)
