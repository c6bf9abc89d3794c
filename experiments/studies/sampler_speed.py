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
from typing import Any, Literal, get_args

import jax
import numpy as np

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, StageSpec
from jaxgen.metrics import frechet_distance
from jaxgen.paths import Path
from jaxgen.samplers import grids, sample
from jaxgen.samplers.catalogue import SAMPLERS, SamplerName
from jaxgen.tasks import before
from jaxgen.tasks import exact_mixture as exact
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage

GRIDS = {
    "uniform": grids.uniform,
    "log_snr": grids.log_snr,
    "karras": grids.karras,
}
ONE_OF_EACH_KIND: tuple[SamplerName, ...] = (
    "ddim",
    "heun",
    "dpm_solver_2m",
    "unipc",
    "deis",
    "ddpm",
    "dpm_solver_2m_sde",
    "euler_maruyama",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSpeedConfig(denoisers.DenoiserConfig, images.JudgedConfig):
    """The configuration of `sampler_speed`."""

    path: Literal["vp", "linear", "scaled_linear", "cosine", "sub_vp"] = option(
        "vp", "how noise is mixed in, in both parts", group="method"
    )
    grid: Literal["uniform", "log_snr", "karras"] = option("log_snr", "the times of all samplers", group="sampling")
    evaluations: tuple[int, ...] = option(
        (5, 10, 20, 50, 100), "most evaluations of the network, for each column of the table", ge=4, group="sampling"
    )
    samplers: tuple[SamplerName, ...] = option(
        ONE_OF_EACH_KIND, "samplers to run with the trained network", group="sampling"
    )
    dimensions: int = option(16, "of the mixture", ge=2, le=512, group="mixture")
    parts: int = option(8, "normal laws in the mixture", ge=1, le=100, group="mixture")
    points: int = option(2048, "samples of the mixture", ge=16, group="mixture")
    reference_steps: int = option(400, "steps of the solution taken for the true flow", ge=50, group="mixture")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if list(self.evaluations) != sorted(set(self.evaluations)):
            raise UserError(f"--evaluations must rise, got {','.join(map(str, self.evaluations))}")


def _make_grid(config: SamplerSpeedConfig, path: Path, name: str, evaluations: int):
    return GRIDS[config.grid](path, SAMPLERS[name].steps_within(evaluations))


def _build(config: SamplerSpeedConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = denoisers.make_model(config, constants)
    return Stage("ddpm", model, images.optimizers(config), config.steps, images.prepare_images(config))


def _draw(config: SamplerSpeedConfig, constants, trained, name: str, evaluations: int, key, n: int):
    """Images ``[n, h, w, c]``, and the seconds they took once the program was compiled."""
    path, shape = denoisers.make_path(config), (config.size, config.size, constants["channels"])
    step, grid = SAMPLERS[name].step(path), _make_grid(config, path, name, evaluations)

    def draw(params, keys):
        noise_keys, step_keys = draws.split(keys, 2)
        start = denoisers.starting_noise(path, noise_keys, (len(keys), *shape))
        return sample(step, denoisers.denoise_with(config, constants, params), step_keys, start, grid)

    params, keys = trained["ddpm"]["net"], jax.random.split(key, n)
    program = jax.jit(draw).lower(params, keys[: min(config.chunk, n)]).compile()
    began = time.perf_counter()
    drawn = images.in_chunks(functools.partial(program, params), n, config.chunk, keys)
    return drawn, time.perf_counter() - began


def _exact(config: SamplerSpeedConfig, key) -> exact.Found:
    law = exact.make_mixture(config.dimensions, config.parts, config.seed)
    return exact.judge(
        denoisers.make_path(config),
        law,
        GRIDS[config.grid],
        config.evaluations,
        key,
        points=config.points,
        reference_steps=config.reference_steps,
    )


def _picks(title: str, errors: Mapping[str, Mapping[int, float]], budget: int, floor: float = 0.0) -> dict[str, str]:
    """The best and the second at a number of evaluations, in words; below the floor they cannot be told apart."""
    order = exact.ranking(errors, budget)
    known = [name for name in order if np.isfinite(errors[name][budget])]
    words = [f"{name} {errors[name][budget]:.3g}" if name in known else f"{name} diverged" for name in order[:2]]
    equal = sum(errors[name][budget] <= floor for name in order)
    if equal > 1:
        words = [f"{equal} as good as fresh draws", words[0]]
    return {f"{title}_{rank}": word for rank, word in zip(("best", "second"), words, strict=False)}


def _evaluate(config: SamplerSpeedConfig, constants, trained, splits, key) -> Evaluation:
    exact_key, draw_key = jax.random.split(key)
    found = _exact(config, exact_key)
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    frechet: dict[str, dict[int, float]] = {name: {} for name in config.samplers}
    kernel: dict[str, dict[int, float]] = {name: {} for name in config.samplers}
    seconds: dict[str, dict[int, float]] = {name: {} for name in config.samplers}
    shown: dict[str, list[np.ndarray]] = {name: [] for name in config.samplers}
    for name in config.samplers:
        for budget in config.evaluations:
            drawn, took = _draw(config, constants, trained, name, budget, draw_key, real.count)
            known = judging.distances(judge, real.train_features, drawn)
            frechet[name][budget], kernel[name][budget] = known["frechet"], known["kernel"]
            seconds[name][budget] = took / real.count
            if budget in config.evaluations[:3]:
                shown[name] += list(drawn[:3])
    held_out = float(frechet_distance(real.train_features, judge.features(real.held_out)))

    measures = {"flow": found.flow, "rmse": found.rmse, "law": found.law, "frechet": frechet, "kernel": kernel}
    metrics: dict[str, Any] = {}
    for budget in config.evaluations:
        lost = {name for errors in measures.values() for name in errors if not np.isfinite(errors[name][budget])}
        column: dict[str, Any] = {"diverged": ", ".join(sorted(lost))} if lost else {}
        for title in ("flow", "law", "frechet"):
            column |= _picks(title, measures[title], budget, found.law_floor if title == "law" else 0.0)
        for title, errors in measures.items():
            column |= {f"{title}.{name}": errors[name][budget] for name in errors}
        metrics[f"{budget} evaluations"] = column
    metrics |= {"law_floor": found.law_floor, "frechet_floor": held_out, "images": real.count}
    winners = {
        budget: dict.fromkeys(exact.ranking(measures[title], budget)[0] for title in ("flow", "frechet"))
        for budget in config.evaluations
    }
    advice = "; ".join(f"{budget} evaluations: {' and '.join(names)}" for budget, names in winners.items())
    headline = f"Best on the mixture (nearest to the true flow) and on images (Frechet distance): {advice}."
    figures = {
        **_exact_figures(found),
        **_trained_figures(config, frechet, seconds, held_out),
        "samples": _rows(config, shown),
    }
    timings = {
        name: {f"milliseconds an image, {budget} evaluations": 1000 * took for budget, took in entry.items()}
        for name, entry in seconds.items()
    }
    return Evaluation(metrics, figures, headline, _describe(measures), timings=timings)


def _lines(errors: Mapping[str, Mapping[int, float]], names: Sequence[str]):
    """Curves of what is finite."""
    kept = {name: [(b, e) for b, e in errors[name].items() if 0 < e < 1e3] for name in names}
    return {name: tuple(zip(*points, strict=True)) for name, points in kept.items() if points}


def _exact_figures(found: exact.Found) -> dict[str, Figure]:
    axes: dict[str, Any] = {"x": "evaluations of the denoiser", "logarithmic": "xy"}
    by_kind = [[name for name in found.law if SAMPLERS[name].random is random] for random in (False, True)]
    floor = {"draws of the mixture": found.law_floor}
    return {
        "error_to_the_flow": pictures.curves(
            _lines(found.flow, list(found.flow)),
            "Deterministic samplers on the mixture with its exact denoiser: distance to where the probability flow "
            "leads from the same noise, of a typical point.",
            y="median distance (RMS over coordinates)",
            **axes,
        ),
        **{
            f"error_of_the_law_{kind}": pictures.curves(
                _lines(found.law, names),
                f"The {kind} samplers on the mixture: distance of the law of their samples to that of the data.",
                y="sliced Wasserstein distance",
                levels=floor,
                **axes,
            )
            for kind, names in zip(("deterministic", "stochastic"), by_kind, strict=True)
            if names
        },
    }


def _trained_figures(config: SamplerSpeedConfig, frechet, seconds, held_out: float) -> dict[str, Figure]:
    levels = {"held-out images": held_out}
    against_time = {
        name: ([1000 * seconds[name][budget] for budget in frechet[name]], list(frechet[name].values()))
        for name in frechet
    }
    notes = {name: [str(budget) for budget in frechet[name]] for name in frechet}
    return {
        "frechet_against_evaluations": pictures.curves(
            _lines(frechet, list(frechet)),
            "Images from the trained network: Frechet distance to the training images in the judge's features.",
            x="evaluations of the network",
            y="Frechet distance",
            logarithmic="xy",
            levels=levels,
        ),
        "frechet_against_time": pictures.curves(
            against_time,
            f"The same against measured time, {min(config.chunk, config.samples)} images at once, compilation left "
            "out; numbers are evaluations.",
            x="milliseconds an image",
            y="Frechet distance",
            logarithmic="xy",
            levels=levels,
            notes=notes,
        ),
    }


def _rows(config: SamplerSpeedConfig, shown: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    heads = [f"{budget}" if i == 0 else "" for budget in config.evaluations[:3] for i in range(3)]
    caption = "Images of each sampler from the same three noises; above each group, the evaluations of the network."
    return pictures.rows(shown, caption, heads=heads)


TITLES = {
    "flow": ("Distance to the flow", "mixture, deterministic samplers: RMS over coordinates, median over points"),
    "rmse": ("RMSE to the flow", "RMS over points too: decided by the few that end in another part of the mixture"),
    "law": ("Distance to the law", "mixture: sliced Wasserstein distance"),
    "frechet": ("Frechet distance", "images, in the judge's features"),
    "kernel": ("Kernel distance", "images: unbiased squared MMD, cubic kernel, in the judge's features"),
}


def _describe(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Metric]:
    describe = {}
    for title in ("flow", "law", "frechet"):
        label, help_ = TITLES[title]
        describe[f"{title}_best"] = Metric(f"{label}: best", "", help_)
        describe[f"{title}_second"] = Metric(f"{label}: runner-up", "")
    for title, errors in measures.items():
        describe |= {f"{title}.{name}": Metric(f"{TITLES[title][0]}: {name}", "") for name in errors}
    return describe | {
        "diverged": Metric("Diverged", "", "samplers of which an error is no number: they have no value below"),
        "law_floor": Metric("Distance to the law: fresh draws of it", "lower"),
        "frechet_floor": Metric("Frechet distance: held-out images", "lower"),
    }


def _sample(config: SamplerSpeedConfig, constants, trained, splits, key, n) -> Evaluation:
    name, evaluations = config.samplers[0], config.evaluations[-1]
    drawn, _ = _draw(config, constants, trained, name, evaluations, key, n)
    return judging.sampled(drawn, f"Images drawn by {name} in {evaluations} evaluations.")


SMALL = SamplerSpeedConfig(
    size=32,
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    samples=96,
    chunk=32,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    channels=(8, 12),
    attention=(1,),
    samples=16,
    chunk=16,
    judge_steps=6,
    judge_channels=(8,),
    evaluations=(5, 10),
    samplers=("ddim", "dpm_solver_2m_sde"),
    dimensions=4,
    parts=2,
    points=128,
    reference_steps=50,
    checkpoint_every=3,
    log_every=1,
)
FULL = SamplerSpeedConfig(
    data="",
    size=64,
    path="cosine",
    channels=(192, 384, 576, 768),
    blocks=3,
    attention=(1, 2, 3),
    head_width=64,
    residual_resampling=True,
    patch=1,
    samplers=get_args(SamplerName),
    dimensions=64,
    parts=32,
    points=16_384,
    reference_steps=1000,
    steps=500_000,
    batch_size=256,
    learning_rate=1e-4,
    warmup_steps=5000,
    schedule="constant",
    ema_decay=0.9999,
    samples=10_000,
    chunk=500,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="sampler_speed",
    summary="Which sampler to pick: quality against evaluations and time, on an exact mixture and a trained model",
    data="a mixture of normal laws and phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("ddpm", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"sampler": "samplers", "steps": "evaluations"},
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
