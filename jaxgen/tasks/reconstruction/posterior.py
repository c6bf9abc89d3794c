"""Reconstruction with a diffusion prior: a network learns images, and what was measured enters when it is sampled.

A new posterior method is a function like `ddnm_sampler` and a line in `METHODS`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run, StageSpec, chosen_number
from jaxgen.imaging.operators import LinearOperator, pseudo_inverse
from jaxgen.medical.reconstruction import ddnm, diffpir, dps, measurement_projection, score_mri
from jaxgen.paths import Path
from jaxgen.samplers import ddim, grids, renewal, reverse_diffusion, sample
from jaxgen.tasks import diffusion, generation, images
from jaxgen.tasks.reconstruction.comparison import WIDENING, Method, Samples
from jaxgen.types import Array, Denoise, Key, Model, Params, Step


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosteriorConfig(diffusion.DiffusionConfig):
    """The options of every reconstruction with a diffusion prior."""

    sampler_steps: int = option(50, "steps from noise to image", ge=4, le=10_000, group="sampling")

    cases: int = option(16, "test slices", ge=1, group="evaluation")
    tuning: int = option(16, "validation slices that choose every method's setting", ge=1, group="evaluation")
    calibration: int = option(
        4,
        "validation slices used to calibrate the uncertainty intervals (a part of --tuning)",
        ge=1,
        group="evaluation",
    )
    repeats: int = option(
        6, "samples per slice: their mean and standard deviation are reported", ge=2, le=256, group="evaluation"
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
        kind: the name under which `METHODS` holds the settings for it.
        system: ``system(scan) -> (A, y)``, what a scan says of images in [-1, 1].
        prior: ``prior(params, scan) -> denoise``.
        channels: ``channels(scan)`` of the images that are drawn.
        finish: ``finish(scan, A, y, x) -> (x, misfit [b] or None)``, of samples x.
        view: images as they are compared, ``[..., channels] -> [..., 1]``.
        ends_on_prior: whether DiffPIR's last step leaves the measurements out: an ill-conditioned operator would leave
            streaks that no prior mends any more.
    """

    kind: str
    system: Callable[[Any], tuple[LinearOperator, Array]]
    prior: Callable[[Params, Any], Denoise]
    channels: Callable[[Any], int]
    finish: Callable[[Any, LinearOperator, Array, Array], tuple[Array, Array | None]]
    view: Callable[[np.ndarray], np.ndarray]
    ends_on_prior: bool = False


class Posed(NamedTuple):
    """A scan as a posterior method is given it.

    Attributes:
        config: the configuration.
        problem: the kind of measurement.
        path: the path of the prior.
        grid: times from noise to image.
        operator: A.
        y: what ``A x`` should be.
    """

    config: Any
    problem: Problem
    path: Path
    grid: np.ndarray
    operator: LinearOperator
    y: Array


class PosteriorMethod(NamedTuple):
    """A posterior sampler.

    Attributes:
        make: ``make(posed, denoise, setting) -> (step, denoise)``.
        settings: to choose from on validation images, by the kind of problem; the first is that of a run that is not
            evaluated. Kinds without settings are not offered.
    """

    make: Callable[[Posed, Denoise, Array], tuple[Step, Denoise]]
    settings: Mapping[str, tuple[float, ...]]


def ddnm_sampler(posed: Posed, denoise: Denoise, damping: Array) -> tuple[Step, Denoise]:
    """DDNM with all noise new, and conjugate gradients for the inverse; the setting is their damping."""
    inverse = pseudo_inverse(posed.operator, iterations=posed.config.inner_steps, damping=damping)
    return ddim(posed.path, eta=1.0), ddnm(denoise, posed.operator, posed.y, inverse)


def diffpir_sampler(posed: Posed, denoise: Denoise, weight: Array) -> tuple[Step, Denoise]:
    """DiffPIR; the setting is the weight of the prior."""
    # A noise of 1 makes the weight that of the noise and of the prior together.
    options: dict[str, Any] = {"noise": 1.0, "weight": weight, "iterations": posed.config.inner_steps}
    if posed.problem.ends_on_prior:
        options["interval"] = (float(posed.grid[0]), float(posed.grid[-3]))
    return renewal(posed.path, 1.0), diffpir(denoise, posed.operator, posed.y, posed.path, **options)


def dps_sampler(posed: Posed, denoise: Denoise, scale: Array) -> tuple[Step, Denoise]:
    """DPS; the setting is the scale of its gradient."""
    return dps(ddim(posed.path, eta=1.0), posed.operator, posed.y, scale), denoise


def score_mri_sampler(posed: Posed, denoise: Denoise, strength: Array) -> tuple[Step, Denoise]:
    """Score-MRI; the setting is the strength of its projections."""
    step, options = reverse_diffusion(posed.path), {"strength": strength, "snr": posed.config.snr}
    return score_mri(step, posed.path, posed.operator, posed.y, **options), denoise


def projection_sampler(posed: Posed, denoise: Denoise, strength: Array) -> tuple[Step, Denoise]:
    """Song's projection; the setting is its strength."""
    inverse = pseudo_inverse(posed.operator, iterations=posed.config.inner_steps, damping=1e-3)
    options: dict[str, Any] = {"strength": strength, "pseudo_inverse": inverse, "snr": posed.config.snr}
    return measurement_projection(
        reverse_diffusion(posed.path), posed.path, posed.operator, posed.y, **options
    ), denoise


METHODS: dict[str, PosteriorMethod] = {
    "ddnm": PosteriorMethod(ddnm_sampler, {"mri": (1e-4, 1e-3, 1e-2), "ct": (1e-6, 1e-5, 1e-3)}),
    "diffpir": PosteriorMethod(diffpir_sampler, {"mri": (1e-5, 1e-4, 1e-3, 1e-2), "ct": (1e-6, 1e-5, 1e-4)}),
    "dps": PosteriorMethod(dps_sampler, {"mri": (3.0, 1.0, 10.0), "ct": (3.0, 1.0, 10.0)}),
    "score_mri": PosteriorMethod(score_mri_sampler, {"mri": (1.0, 0.5)}),
    "projection": PosteriorMethod(projection_sampler, {"ct": (0.6, 0.355, 0.841, 1.0)}),
}


def offered(kind: str) -> tuple[str, ...]:
    """The names of the posterior methods for a kind of problem.

    Example:
        >>> offered("ct")
        ('ddnm', 'diffpir', 'dps', 'projection')
    """
    return tuple(name for name, method in METHODS.items() if kind in method.settings)


def in_chunks(run: Run, function: Callable[..., Any], scan: Any, copies: int = 1, *arrays: Any) -> Any:
    """``function(scan, *arrays)`` of the scan `copies` times over, in chunks; images larger than trained one by one."""
    chunk = run.config.chunk if scan.shape[0] <= run.config.size else 1
    n = copies * len(scan)

    def at(numbers: np.ndarray, *arrays: Any) -> Any:
        return function(scan.take(numbers % len(scan)), *arrays)

    return images.in_chunks(at, n, chunk, np.arange(n), *arrays, exactly=True)


def methods(run: Run, problem: Problem, tuned_on: Mapping[str, str] = {}) -> tuple[Method, ...]:
    """The posterior methods that ``--methods`` names, each compiled once for any scan of a kind and any setting.

    Args:
        run: the run, with a stage "prior".
        problem: the kind of measurement.
        tuned_on: situations whose setting is that of another (`jaxgen.tasks.reconstruction.comparison.Method`).
    """
    return tuple(
        Method(name, _draw(run, problem, METHODS[name]), METHODS[name].settings[problem.kind], True, (), tuned_on)
        for name in run.config.methods
    )


def _draw(run: Run, problem: Problem, method: PosteriorMethod) -> Callable[..., Samples]:
    config, path = run.config, diffusion.make_path(run.config)
    grid = np.asarray(grids.uniform(path, config.sampler_steps))

    @jax.jit
    def program(params: Params, keys: Key, scan: Any, setting: Array) -> tuple[Array, Array | None]:
        noise_keys, step_keys = draws.split(keys, 2)
        operator, y = problem.system(scan)
        denoise = problem.prior(params, scan)
        start = diffusion.starting_noise(path, noise_keys, (len(keys), *scan.shape, problem.channels(scan)))
        posed = Posed(config, problem, path, grid, operator, y)
        step, consistent = method.make(posed, denoise, setting)
        x = sample(step, consistent, step_keys, start, jnp.asarray(grid))
        return problem.finish(scan, operator, y, x)

    def draw(scan: Any, setting: float, key: Key, repeats: int) -> Samples:
        params, n = run.params["prior"]["net"], len(scan)

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
        start = diffusion.starting_noise(path, keys, (len(keys), *shape))
        return sample(ddim(path), diffusion.denoise_with(run, params), keys, start, grid)

    params = run.params["prior"]["net"]
    drawn = images.draw_in_chunks(run, lambda keys: draw(params, keys), run.key, n)
    return generation.sampled(drawn, "Slices drawn by the prior, with nothing measured.")


class Reconstruction(NamedTuple):
    """What is said of one scan.

    Attributes:
        image: the image of the samples' mean, ``[h, w]``.
        uncertainty: their standard deviation, as wide as validation images ask for, ``[h, w]``.
        misfit: ``|A x - y| / |y|`` of the worst sample; None if it is not reported.
    """

    image: np.ndarray
    uncertainty: np.ndarray
    misfit: float | None


def reconstructor(run: Run, problem: Problem) -> Callable[..., Reconstruction]:
    """``f(key, scan, *situations)``, for `jaxgen apply`: the first of ``--methods`` on a scan of one slice.

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


def nearest(known: tuple[int, ...], value: float) -> int:
    """Which of the situations that were evaluated is nearest to this one, by their ratio.

    Example:
        >>> nearest((12, 50), 20)
        12
    """
    return min(known, key=lambda one: abs(np.log(one / value)))
