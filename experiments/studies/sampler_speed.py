"""Which sampler to pick: quality against evaluations of the network, and against time, for every sampler.

    jaxgen run sampler_speed                         # a mixture with its exact denoiser, and a trained U-Net
    jaxgen run sampler_speed --grid karras           # other times
    jaxgen run sampler_speed --samplers ddim,dpm_solver_2m,unipc --data DATA

The mixture shows the error of the samplers themselves, all of them; the network, whether it matters on images.
"""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxgen import figures, published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Run
from jaxgen.figures import sampler_errors
from jaxgen.metrics import sample_sets, sampler_error
from jaxgen.samplers import from_noise, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, features, generation, images
from jaxgen.types import Array, Key, Params

Errors = dict[str, dict[int, float]]
"""``{sampler: {evaluations: error}}``."""
GRIDS = {"uniform": grids.uniform, "log_snr": grids.log_snr, "karras": grids.karras}
PATHS = ("vp", "linear", "scaled_linear", "cosine", "sub_vp")
ONE_OF_EACH_KIND = ("ddim", "heun", "dpm_solver_2m", "unipc", "deis", "ddpm", "dpm_solver_2m_sde", "euler_maruyama")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSpeedConfig(diffusion.DiffusionConfig, features.FeatureConfig):
    path: str = option("vp", "how noise is mixed in, in both parts", choices=PATHS, group="method")
    grid: str = option("log_snr", "the times of all samplers", choices=GRIDS, group="sampling")
    evaluations: tuple[int, ...] = option(
        (5, 10, 20, 50, 100), "most evaluations of the network, for each column of the table", ge=4, group="sampling"
    )
    samplers: tuple[str, ...] = option(
        ONE_OF_EACH_KIND, "samplers to run with the trained network", choices=SAMPLERS, group="sampling"
    )
    dimensions: int = option(16, "dimensions of the mixture", ge=2, le=512, group="mixture")
    parts: int = option(8, "Gaussians in the mixture", ge=1, le=100, group="mixture")
    points: int = option(2048, "samples of the mixture", ge=16, group="mixture")
    reference_steps: int = option(400, "steps of the solution taken for the true flow", ge=50, group="mixture")

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.evaluations) != sorted(set(self.evaluations)):
            raise UserError(f"--evaluations must rise, got {','.join(map(str, self.evaluations))}")


def draw(run: Run, name: str, evaluations: int, key: Key, n: int) -> tuple[np.ndarray, float]:
    """Images ``[n, h, w, c]``, and the seconds they took once the program was compiled."""
    path, shape, chunk = diffusion.make_path(run.config), images.image_shape(run), run.config.chunk
    step, grid = SAMPLERS[name].step(path), GRIDS[run.config.grid](path, SAMPLERS[name].steps_within(evaluations))

    def drawn(params: Params, keys: Key) -> Array:
        return from_noise(path, diffusion.denoise_with(run, params), step, grid, keys, shape)

    params, keys = run.params["ddpm"]["net"], jax.random.split(key, n)
    program = jax.jit(drawn).lower(params, keys[: min(chunk, n)]).compile()
    began = time.perf_counter()
    found = images.in_chunks(functools.partial(program, params), n, chunk, keys)
    return found, time.perf_counter() - began


def errors_on_mixture(config: SamplerSpeedConfig, key: Key) -> sampler_error.Found:
    return sampler_error.evaluate_samplers(
        diffusion.make_path(config),
        sampler_error.make_mixture(config.dimensions, config.parts, config.seed),
        GRIDS[config.grid],
        config.evaluations,
        key,
        points=config.points,
        reference_steps=config.reference_steps,
    )


def picks(title: str, errors: Errors, budget: int, floor: float = 0.0) -> dict[str, str]:
    """The best and the second at a number of evaluations, in words; below the floor they are tied."""
    order = sampler_error.ranking(errors, budget)
    known = [name for name in order if np.isfinite(errors[name][budget])]
    words = [f"{name} {errors[name][budget]:.3g}" if name in known else f"{name} diverged" for name in order[:2]]
    equal = sum(errors[name][budget] <= floor for name in order)
    if equal > 1:
        words = [f"{equal} as good as fresh draws", words[0]]
    return {f"{title}_{rank}": word for rank, word in zip(("best", "second"), words, strict=False)}


def evaluate(run: Run) -> Evaluation:
    config = run.config
    exact_key, draw_key = jax.random.split(run.key)
    found = errors_on_mixture(config, exact_key)
    compared = generation.Comparison(run, lambda n: {}, gaussian=False)
    count, known = compared.real.count, compared.real.train_features
    frechet, kernel, seconds = ({name: dict[int, float]() for name in config.samplers} for _ in range(3))
    shown: dict[str, list[np.ndarray]] = {name: [] for name in config.samplers}
    for name in config.samplers:
        for budget in config.evaluations:
            drawn, took = draw(run, name, budget, draw_key, count)
            distances = sample_sets.distances(compared.extract, known, drawn)
            frechet[name][budget], kernel[name][budget] = distances["frechet"], distances["kernel"]
            seconds[name][budget] = took / count
            if budget in config.evaluations[:3]:
                shown[name] += list(drawn[:3])
    held_out = compared.metrics["held-out images"]["frechet"]

    measures = {"flow": found.flow, "rmse": found.rmse, "law": found.law, "frechet": frechet, "kernel": kernel}
    metrics: dict[str, Any] = {f"{b} evaluations": column(measures, b, found.law_floor) for b in config.evaluations}
    metrics |= {"law_floor": found.law_floor, "frechet_floor": held_out, "images": count}
    winners = {
        budget: dict.fromkeys(sampler_error.ranking(measures[title], budget)[0] for title in ("flow", "frechet"))
        for budget in config.evaluations
    }
    advice = "; ".join(f"{budget} evaluations: {' and '.join(names)}" for budget, names in winners.items())
    headline = f"Best on the mixture (nearest to the true flow) and on images (Frechet distance): {advice}."
    made = {
        **sampler_errors.error_figures(found),
        **trained_figures(config, frechet, seconds, held_out),
        "samples": rows_of_samples(config, shown),
    }
    timings = {
        name: {f"milliseconds per image, {budget} evaluations": 1000 * took for budget, took in entry.items()}
        for name, entry in seconds.items()
    }
    return Evaluation(metrics, made, headline, describe(measures), timings=timings)


def column(measures: Mapping[str, Errors], budget: int, floor: float) -> dict[str, Any]:
    """The errors of all samplers at a number of evaluations, with the best two in words."""
    lost = {name for errors in measures.values() for name in errors if not np.isfinite(errors[name][budget])}
    found: dict[str, Any] = {"diverged": ", ".join(sorted(lost))} if lost else {}
    for title in ("flow", "law", "frechet"):
        found |= picks(title, measures[title], budget, floor if title == "law" else 0.0)
    for title, errors in measures.items():
        found |= {f"{title}.{name}": errors[name][budget] for name in errors}
    return found


def trained_figures(config: SamplerSpeedConfig, frechet: Errors, seconds: Errors, held_out: float) -> dict[str, Figure]:
    levels = {"held-out images": held_out}
    against_time = {
        name: ([1000 * seconds[name][budget] for budget in frechet[name]], list(frechet[name].values()))
        for name in frechet
    }
    notes = {name: [str(budget) for budget in frechet[name]] for name in frechet}
    return {
        "frechet_against_evaluations": figures.curves(
            sampler_errors.finite_curves(frechet, list(frechet)),
            "Images from the trained network: Frechet distance to the training images in features.",
            x="evaluations of the network",
            y="Frechet distance",
            logarithmic="xy",
            levels=levels,
        ),
        "frechet_against_time": figures.curves(
            against_time,
            f"The same against measured time, {min(config.chunk, config.samples)} images at once, without "
            "compilation; numbers are evaluations.",
            x="milliseconds per image",
            y="Frechet distance",
            logarithmic="xy",
            levels=levels,
            notes=notes,
        ),
    }


def rows_of_samples(config: SamplerSpeedConfig, shown: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    heads = [f"{budget}" if i == 0 else "" for budget in config.evaluations[:3] for i in range(3)]
    caption = "Images of each sampler from the same three noises; above each group, the evaluations of the network."
    return figures.rows(shown, caption, heads=heads)


TITLES = {
    "flow": ("Distance to the flow", "mixture, deterministic samplers: RMS over coordinates, median over points"),
    "rmse": ("RMSE to the flow", "RMS over points too: decided by the few that end in another part of the mixture"),
    "law": ("Distance to the distribution", "mixture: sliced Wasserstein distance"),
    "frechet": ("Frechet distance", "images, in features"),
    "kernel": ("Kernel distance", "images: unbiased squared MMD, cubic kernel, in features"),
}


def describe(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for title in ("flow", "law", "frechet"):
        label, help_ = TITLES[title]
        found |= {f"{title}_best": Metric(f"{label}: best", "", help_)}
        found |= {f"{title}_second": Metric(f"{label}: runner-up", "")}
    for title, errors in measures.items():
        found |= {f"{title}.{name}": Metric(f"{TITLES[title][0]}: {name}", "") for name in errors}
    return found | {
        "diverged": Metric("Diverged", "", "samplers of which an error is no number: they have no value below"),
        "law_floor": Metric("Distance to the distribution: fresh draws", "lower"),
        "frechet_floor": Metric("Frechet distance: held-out images", "lower"),
    }


def draw_by_first_sampler(run: Run, key: Key, n: int) -> np.ndarray:
    return draw(run, run.config.samplers[0], run.config.evaluations[-1], key, n)[0]


EXPERIMENT = generation.experiment(
    name="sampler_speed",
    summary="Which sampler to pick: quality against evaluations and time, on an exact mixture and a trained model",
    data="a mixture of Gaussians and phantom brains, computed; or your images",
    config=SamplerSpeedConfig,
    presets={
        "small": {"size": 32, "samples": 96, "chunk": 32},
        "smoke": {"evaluations": (5, 10), "samplers": ("ddim", "dpm_solver_2m_sde"), "dimensions": 4, "parts": 2}
        | {"points": 128, "reference_steps": 50},
        "full": published.DHARIWAL_64
        | {"path": "cosine", "samplers": tuple(SAMPLERS), "dimensions": 64, "parts": 32, "points": 16_384}
        | {"reference_steps": 1000, "chunk": 500}
        | {"steps": 500_000, "batch_size": 256, "learning_rate": 1e-4, "warmup_steps": 5000}
        | {"schedule": "constant"},
    },
    stages=(images.stage("ddpm", diffusion.make_model),),
    evaluate=evaluate,
    draw=draw_by_first_sampler,
    caption="Images drawn by the first sampler, at the most evaluations.",
    baseline="",
    sample_flags={"sampler": "samplers", "steps": "evaluations"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
