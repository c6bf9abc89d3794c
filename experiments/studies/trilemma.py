"""The trilemma of generative models: quality, speed and likelihood of every family, measured on the same work.

    jaxgen run trilemma                                    # phantom brains, computed
    jaxgen run trilemma --data DATA --families gan,diffusion
    jaxgen run trilemma --preset full                      # 64 pixels, 30 million parameters, for a GPU or TPU

Every family trains on the same images with the same number of parameters (all players of a family together) and for as
many steps as the same arithmetic pays for: the operations of matrix products and convolutions of its training step are
counted. Then each way of sampling is a point of its own: Frechet distance, precision and coverage in the features of a
classifier that the run trains on the real images, images a second at the best batch, and bits per dimension of test
images where the family has a likelihood. Xiao, Kreis & Vahdat 2022, "Tackling the generative learning trilemma with
denoising diffusion GANs", arXiv 2112.07804, section 1.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t as student_t

from jaxgen import baselines
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.flops import count_flops
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import lowest
from jaxgen.tasks.families import FAMILIES, Point, fitting_width, parameters
from jaxgen.tasks.old import images
from jaxgen.tasks.old import likelihood as dequantised
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.tasks.trilemma_figures import against, triangle
from jaxgen.train import Stage, init_state, make_train_step
from jaxgen.types import Model

FamilyName = Literal["gan", "vae", "flow", "cnf", "flow_matching", "diffusion"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrilemmaConfig(images.JudgedConfig):
    """The configuration of `trilemma`."""

    families: tuple[FamilyName, ...] = option(get_args(FamilyName), "the families to compare", group="method")
    parameters: int = option(500_000, "numbers that each family learns, within 10 %", ge=10_000, group="method")
    compute: float = option(12.0, "training compute of each family, in 10^12 operations", gt=0, group="method")
    evaluations: tuple[int, ...] = option(
        (1, 2, 4, 5, 8, 10, 20, 50, 100), "numbers of evaluations of a network at which to draw", ge=1, group="judging"
    )
    repeats: int = option(3, "independent sets of samples behind each interval", ge=2, le=100, group="judging")
    likelihood_images: int = option(64, "test images whose likelihood is computed", ge=2, group="judging")
    batches: tuple[int, ...] = option((8, 32, 128), "batches to time sampling with", ge=1, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.size % 8:
            raise UserError(f"--size must be a multiple of 8 for all families, got {self.size}")
        if len(set(self.families)) < len(self.families):
            raise UserError(f"--families names one twice: {', '.join(self.families)}")
        for name in self.families:
            if not _points(self, (self.size, self.size, 1), name, 4):
                raise UserError(f"--evaluations: {name} cannot be drawn with {', '.join(map(str, self.evaluations))}")


def _points(config: TrilemmaConfig, shape: tuple[int, int, int], name: str, width: int) -> list[Point]:
    """The ways to draw from a family that the configuration asks for."""
    return [point for point in FAMILIES[name].points(shape, width) if point.evaluations in config.evaluations]


def _shape(config: TrilemmaConfig, constants: Mapping[str, Any]) -> tuple[int, int, int]:
    return config.size, config.size, constants["channels"]


def _model(config: TrilemmaConfig, constants: Mapping[str, Any], name: str) -> Model:
    return FAMILIES[name].model(_shape(config, constants), constants["plan"][name]["width"])


def _optimizers(config: TrilemmaConfig, name: str, model: Model, steps: int) -> dict[str, Any]:
    groups = {group for objective in model.objectives for group in objective.groups}
    family = FAMILIES[name]
    short = dataclasses.replace(config, warmup_steps=min(config.warmup_steps, steps // 10), **family.training)
    return dict.fromkeys(sorted(groups), images.optimizers(short, steps, b1=family.b1)["net"])


def _step_flops(config: TrilemmaConfig, name: str, model: Model, shape: tuple[int, int, int]) -> float:
    """Operations of one training step."""
    optimizers = _optimizers(config, name, model, 1000)
    batch = {"image": jax.ShapeDtypeStruct((config.batch_size, *shape), jnp.float32)}
    state = jax.eval_shape(lambda batch: init_state(model, optimizers, jax.random.key(0), batch), batch)
    return count_flops(make_train_step(model, optimizers, ema_decay=config.ema_decay), state, batch)


def _plan(config: TrilemmaConfig, shape: tuple[int, int, int], name: str) -> dict[str, float]:
    """Width, parameters, operations a step and steps of a family."""
    family = FAMILIES[name]
    width = fitting_width(family, shape, config.parameters)
    model = family.model(shape, width)
    if family.flops is None:
        operations = _step_flops(config, name, model, shape)
    else:
        operations = family.flops(shape, width, config.batch_size)
    steps = max(1, round(1e12 * config.compute / operations))
    return {"width": width, "parameters": parameters(model, shape), "operations": operations, "steps": steps}


def _measure(config: TrilemmaConfig, splits) -> dict[str, Any]:
    constants = images.measure_images(config, splits)
    plan = {name: _plan(config, _shape(config, constants), name) for name in config.families}
    for name, row in plan.items():
        if abs(row["parameters"] / config.parameters - 1) > 0.1:
            raise UserError(f"--parameters {config.parameters}: {name} can have {row['parameters']} at the nearest")
    return {**constants, "plan": plan}


def _stage(name: str) -> StageSpec:
    def build(config: TrilemmaConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
        model, steps = _model(config, constants, name), constants["plan"][name]["steps"]
        return Stage(name, model, _optimizers(config, name, model, steps), steps, dequantised.prepare(config))

    return StageSpec(name, build, wanted=lambda config: name in config.families)


class _Drawer:
    """Draws by one point, in batches of any size; a program is compiled once a size."""

    def __init__(self, point: Point, params: Any) -> None:
        model = point.build()
        self._draw = jax.jit(lambda keys: judging.cut(model.sample(params, keys, len(keys))))

    def images(self, key, n: int, chunk: int) -> np.ndarray:
        """``[n, h, w, c]``."""
        return images.in_chunks(self._draw, n, chunk, jax.random.split(key, n))

    def speed(self, key, batches: tuple[int, ...]) -> dict[str, float]:
        """Images a second at the best of some batches, compilation left out."""
        best = {"images_per_second": 0.0, "batch": 0}
        for batch in batches:
            turns = jax.random.split(key, (3, batch))
            self._draw(turns[0]).block_until_ready()
            began = time.perf_counter()
            for keys in turns[1:]:
                self._draw(keys).block_until_ready()
            rate = 2 * batch / (time.perf_counter() - began)
            if rate > best["images_per_second"]:
                best = {"images_per_second": rate, "batch": batch}
        return best


def _quality(real: judging.Real, judge: images.Judge, sets: list[np.ndarray]) -> dict[str, float]:
    """Means over independent sets of samples, and half the width of a 95 % interval of the Frechet distance."""
    rows = [judging.fidelity(real, judge, drawn) for drawn in sets]
    names = dict.fromkeys(name for row in rows for name in row)  # one that diverged has more
    found = {name: float(np.mean([row.get(name, 0.0) for row in rows])) for name in names}
    if len(sets) > 1:
        error = float(np.std([row["frechet"] for row in rows], ddof=1) / np.sqrt(len(sets)))
        found["frechet_interval"] = float(student_t.ppf(0.975, len(sets) - 1)) * error
    return found


def _interval(nats: np.ndarray, dimensions: int) -> dict[str, float]:
    """Bits per dimension, and half the width of a 95 % interval."""
    found = dequantised.bits(nats, dimensions)
    return {"bits": found["bits"], "bits_interval": 1.96 * found["bits_error"]}


def _bits(config: TrilemmaConfig, constants, name: str, params, splits, key) -> dict[str, float]:
    """`_interval` of dequantised test images; empty for a family without a likelihood."""
    family, density = FAMILIES[name], _model(config, constants, name).log_prob
    if density is None:
        return {}
    data_key, probe_key = jax.random.split(key)
    x = dequantised.test_images(config, constants, splits, data_key, config.likelihood_images)
    log_prob = jax.jit(lambda keys, x: density(params, keys, x, **family.options))
    nats = images.in_chunks(log_prob, len(x), min(config.chunk, 32), jax.random.split(probe_key, len(x)), x)
    return _interval(nats, x[0].size)


def _gaussian_bits(config: TrilemmaConfig, constants, splits, key) -> dict[str, float]:
    data_key, _, fit_key = jax.random.split(key, 3)  # the second one draws the probes of `_bits`
    x = dequantised.test_images(config, constants, splits, data_key, config.likelihood_images)
    return _interval(dequantised.fitted_gaussian_log_prob(config, constants, splits, fit_key, x), x[0].size)


def _evaluate(config: TrilemmaConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    metrics: dict[str, Any] = {}
    timings: dict[str, dict[str, float]] = {}
    drawn: dict[str, np.ndarray] = {}
    points: dict[str, list[Point]] = {}
    bits_key, speed_key, *keys = jax.random.split(key, 2 + config.repeats)
    for name in config.families:
        plan, params = constants["plan"][name], trained[name]
        bits = _bits(config, constants, name, params, splits, bits_key)
        points[name] = _points(config, _shape(config, constants), name, plan["width"])
        for point in points[name]:
            drawer = _Drawer(point, params)
            sets = [drawer.images(k, real.count, config.chunk) for k in keys]
            drawn[point.label] = sets[0]
            metrics[point.label] = {
                **_quality(real, judge, sets),
                **bits,
                "evaluations": point.evaluations,
                "parameters": plan["parameters"],
                "steps": plan["steps"],
            }
            timings[point.label] = drawer.speed(speed_key, config.batches)
    baseline = [baselines.gaussian_images(real.train, real.count, config.seed + i) for i in range(config.repeats)]
    drawn["gaussian"], drawn["held-out images"] = baseline[0], real.held_out
    metrics["gaussian"] = _quality(real, judge, baseline) | _gaussian_bits(config, constants, splits, bits_key)
    metrics["held-out images"] = _quality(real, judge, [real.held_out])
    metrics["images"] = real.count

    best = {
        name: lowest({point.label: metrics[point.label]["frechet"] for point in ways}) for name, ways in points.items()
    }
    rates = {label: row["images_per_second"] for label, row in timings.items()}
    figures = {
        "triangle": triangle(
            {label: (metrics[label]["frechet"], rates[label], metrics[label].get("bits")) for label in best.values()},
            {label: FAMILIES[name].likelihood for name, label in best.items()},
        ),
        "quality_against_speed": against(
            {label: (rates[label], metrics[label]["frechet"]) for label in rates},
            {name: metrics[name]["frechet"] for name in ("gaussian", "held-out images")},
        ),
        "samples": pictures.rows(
            {label: drawn[label][:8] for label in (*best.values(), "gaussian", "held-out images")},
            "Each family at its best point, the baseline, and real images.",
        ),
    }
    finest = lowest({label: metrics[label]["frechet"] for label in best.values()})
    fastest = max(rates, key=lambda label: rates[label])
    bits = {name: metrics[name]["bits"] for name in rates if "bits" in metrics[name]}
    likely = lowest(bits) if bits else ""
    headline = (
        f"At equal parameters and training compute the best Frechet distance is {metrics[finest]['frechet']:.3g} "
        f"({finest}; a fitted Gaussian {metrics['gaussian']['frechet']:.3g}, held-out images "
        f"{metrics['held-out images']['frechet']:.3g})"
        + (f", the fewest bits per dimension {metrics[likely]['bits']:.3f} ({likely})" if likely else "")
        + f"; fastest to draw: {fastest}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE, timings=timings)


def _sample(config: TrilemmaConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn: dict[str, np.ndarray] = {}
    for name in config.families:
        point = _points(config, _shape(config, constants), name, constants["plan"][name]["width"])[-1]
        drawn[name] = _Drawer(point, trained[name]).images(key, n, min(n, config.chunk))
    shown = pictures.rows({name: x[:8] for name, x in drawn.items()}, "Images drawn by each family.")
    return Evaluation(
        {"images": n}, {"samples": shown}, f"{n} images of each family", arrays=drawn, images=tuple(drawn)
    )


DESCRIBE = {
    "frechet": Metric("Frechet distance", "lower", "to the training images, in the judge's features; mean of the sets"),
    "frechet_interval": Metric("+-", "", "half the 95 % interval over independent sets of samples from one training"),
    **{name: judging.DESCRIBE[name] for name in ("kernel", "precision", "recall", "coverage")},
    "bits": Metric("Bits per dimension", "lower", "of test images; a bound for the vae, estimates by random probes"),
    "bits_interval": Metric("+- bits", "", "half the 95 % interval over test images"),
    "evaluations": Metric("Evaluations", "", "of the network, an image"),
    "parameters": Metric("Parameters", "", "all players of the family together"),
    "steps": Metric("Steps", "", "of training that the compute paid for"),
}

SMALL = TrilemmaConfig(
    size=32,
    batch_size=32,
    learning_rate=5e-4,
    warmup_steps=100,
    ema_decay=0.995,
    steps_per_call=5,
    log_every=50,
    checkpoint_every=500,
    samples=256,
    chunk=64,
)
EXPERIMENT = before.experiment(
    name="trilemma",
    summary="Quality, speed and likelihood of every family at equal parameters and training compute",
    data="brain_phantom: computed slices of four classes, or --data",
    presets={
        "smoke": dataclasses.replace(
            SMALL,
            size=16,
            families=("vae", "flow_matching"),
            evaluations=(1, 2),
            parameters=60_000,
            compute=1e-4,
            batch_size=8,
            steps_per_call=1,
            log_every=1,
            samples=8,
            chunk=8,
            repeats=2,
            likelihood_images=4,
            batches=(8,),
            judge_steps=4,
            judge_channels=(8, 8),
        ),
        "small": SMALL,
        "full": dataclasses.replace(
            SMALL,
            size=64,
            parameters=30_000_000,
            compute=500_000.0,
            batch_size=128,
            learning_rate=2e-4,
            warmup_steps=1000,
            ema_decay=0.9999,
            samples=5000,
            chunk=250,
            judge_steps=4000,
            likelihood_images=500,
            batches=(64, 256, 1024),
            checkpoint_every=5000,
            precision="bfloat16",
        ),
    },
    load=images.load_images,
    measure=_measure,
    stages=(images.JUDGE, *(_stage(name) for name in get_args(FamilyName))),
    evaluate=_evaluate,
    sample=_sample,
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
