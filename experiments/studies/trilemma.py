"""The trilemma of generative models: quality, speed and likelihood of every family, measured on the same work.

    jaxgen run trilemma                                    # phantom brains, computed
    jaxgen run trilemma --data DATA --families gan,diffusion
    jaxgen run trilemma --preset full                      # 64 pixels, 30 million parameters, for a GPU or TPU

Every family trains on the same images with the same number of parameters (all players of a family together) and for as
many steps as the same arithmetic pays for: the operations of matrix products and convolutions of its training step are
counted. Then each way of sampling is a point of its own: Frechet distance, precision and coverage in the features of a
classifier that the run trains on the real images, images per second at the best batch, and bits per dimension of test
images where the family has a likelihood. Xiao, Kreis & Vahdat 2022, "Tackling the generative learning trilemma with
denoising diffusion GANs", arXiv 2112.07804, section 1.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from scipy.stats import t as student_t

from jaxgen import baselines, figures, headings
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import Splits
from jaxgen.experiment import Evaluation, Figure, Metric, Run, StageSpec
from jaxgen.families.any_width import FAMILIES
from jaxgen.families.drawing import Drawer
from jaxgen.figures.trade_off import against, triangle
from jaxgen.metrics.best import lowest
from jaxgen.metrics.likelihood import bits as likelihood_bits
from jaxgen.tasks import families, generation, images, likelihood
from jaxgen.train import Stage
from jaxgen.types import Key, Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrilemmaConfig(families.FamiliesConfig):
    repeats: int = option(3, "independent sets of samples behind each interval", ge=2, le=100, group="evaluation")
    likelihood_images: int = option(64, "test images whose likelihood is computed", ge=2, group="evaluation")
    batches: tuple[int, ...] = option((8, 32, 128), "batches to time sampling with", ge=1, group="evaluation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrilemmaFacts(images.ImageFacts):
    """What is known of the images, and the width, steps and parameters of each family."""

    plan: Mapping[str, Mapping[str, Any]]


def measure(config: TrilemmaConfig, splits: Splits) -> TrilemmaFacts:
    known = images.measure_images(config, splits)
    shape = (config.size, config.size, known.image_channels)
    plan = {name: families.plan(config, shape, name) for name in config.families}
    return TrilemmaFacts(**vars(known), plan=plan)


def model(run: Run, name: str) -> Model:
    return FAMILIES[name].model(images.image_shape(run), run.facts.plan[name]["width"])


def stage(name: str) -> StageSpec:
    def build(run: Run) -> Stage:
        made, steps = model(run, name), run.facts.plan[name]["steps"]
        optimizers = families.family_optimizers(run.config, name, made, steps)
        return Stage(name, made, optimizers, steps, likelihood.prepare_dequantised(run.config))

    return StageSpec(name, build, wanted=lambda config: name in config.families)


def quality(compared: generation.Comparison, sets: list[np.ndarray]) -> dict[str, float]:
    """Means over independent sets of samples, and half the width of a 95 % interval of the Frechet distance."""
    rows = [compared.fidelity(drawn) for drawn in sets]
    names = dict.fromkeys(name for row in rows for name in row)  # one that diverged has more
    found = {name: float(np.mean([row.get(name, 0.0) for row in rows])) for name in names}
    if len(sets) > 1:
        error = float(np.std([row["frechet"] for row in rows], ddof=1) / np.sqrt(len(sets)))
        found["frechet_interval"] = float(student_t.ppf(0.975, len(sets) - 1)) * error
    return found


def interval(nats: np.ndarray, dimensions: int) -> dict[str, float]:
    """Bits per dimension, and half the width of a 95 % interval."""
    found = likelihood_bits(nats, dimensions)
    return {"bits": found["bits"], "bits_interval": 1.96 * found["bits_error"]}


def bits(run: Run, name: str, key: Key) -> dict[str, float]:
    """`interval` of dequantised test images; empty for a family without a likelihood."""
    family, density, params = FAMILIES[name], model(run, name).log_prob, run.params[name]
    if density is None:
        return {}
    data_key, probe_key = jax.random.split(key)
    x = likelihood.dequantised_test_images(run, data_key, run.config.likelihood_images)
    log_prob = jax.jit(lambda keys, x: density(params, keys, x, **family.options))
    nats = images.in_chunks(log_prob, len(x), min(run.config.chunk, 32), jax.random.split(probe_key, len(x)), x)
    return interval(nats, x[0].size)


def gaussian_bits(run: Run, key: Key) -> dict[str, float]:
    data_key, _, fit_key = jax.random.split(key, 3)  # the second one draws the probes of `bits`
    x = likelihood.dequantised_test_images(run, data_key, run.config.likelihood_images)
    return interval(likelihood.gaussian_baseline(run, fit_key, x), x[0].size)


def evaluate(run: Run) -> Evaluation:
    config = run.config
    compared = generation.Comparison(run, lambda n: {}, gaussian=False)
    real, count = compared.real, compared.real.count
    metrics: dict[str, Any] = {}
    timings: dict[str, dict[str, float]] = {}
    drawn: dict[str, np.ndarray] = {}
    best: dict[str, str] = {}
    bits_key, speed_key, *keys = jax.random.split(run.key, 2 + config.repeats)
    for name in config.families:
        plan, found = run.facts.plan[name], bits(run, name, bits_key)
        points = families.points_of(config, images.image_shape(run), name, plan["width"])
        for point in points:
            drawer = Drawer(point, run.params[name])
            sets = [drawer.images(key, count, config.chunk) for key in keys]
            drawn[point.label] = sets[0]
            about = {"evaluations": point.evaluations, "parameters": plan["parameters"], "steps": plan["steps"]}
            metrics[point.label] = {**quality(compared, sets), **found, **about}
            timings[point.label] = drawer.speed(speed_key, config.batches)
        best[name] = lowest({point.label: metrics[point.label]["frechet"] for point in points})
    baseline = [baselines.gaussian_images(real.train, count, config.seed + i) for i in range(config.repeats)]
    drawn["gaussian"], drawn["held-out images"] = baseline[0], real.held_out
    metrics["gaussian"] = quality(compared, baseline) | gaussian_bits(run, bits_key)
    metrics["held-out images"] = quality(compared, [real.held_out])
    metrics["images"] = count
    return Evaluation(
        metrics,
        draw_figures(metrics, timings, drawn, best),
        headline(metrics, timings, best),
        DESCRIBE,
        timings=timings,
    )


def draw_figures(
    metrics: Mapping[str, Any],
    timings: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, np.ndarray],
    best: Mapping[str, str],
) -> dict[str, Figure]:
    """The triangle of each family at its best point, every point in the plane, and images."""
    rates = {label: row["images_per_second"] for label, row in timings.items()}
    corners = {label: (metrics[label]["frechet"], rates[label], metrics[label].get("bits")) for label in best.values()}
    levels = {name: metrics[name]["frechet"] for name in ("gaussian", "held-out images")}
    shown = {label: drawn[label][:8] for label in (*best.values(), *levels)}
    return {
        "triangle": triangle(corners, {label: FAMILIES[name].likelihood for name, label in best.items()}),
        "quality_against_speed": against({n: (rates[n], metrics[n]["frechet"]) for n in rates}, levels),
        "samples": figures.rows(shown, "Each family at its best point, the baseline, and real images."),
    }


def headline(metrics: Mapping[str, Any], timings: Mapping[str, Mapping[str, float]], best: Mapping[str, str]) -> str:
    frechet = {label: metrics[label]["frechet"] for label in (*best.values(), "gaussian", "held-out images")}
    finest = lowest({label: frechet[label] for label in best.values()})
    fastest = max(timings, key=lambda label: timings[label]["images_per_second"])
    likelihoods = {label: metrics[label]["bits"] for label in timings if "bits" in metrics[label]}
    likely = lowest(likelihoods) if likelihoods else ""
    return (
        f"At equal parameters and training compute the best Frechet distance is {frechet[finest]:.3g} "
        f"({finest}; a fitted Gaussian {frechet['gaussian']:.3g}, held-out images {frechet['held-out images']:.3g})"
        + (f", the fewest bits per dimension {likelihoods[likely]:.3f} ({likely})" if likely else "")
        + f"; fastest to draw: {fastest}."
    )


def sample(run: Run, n: int) -> Evaluation:
    drawn: dict[str, np.ndarray] = {}
    for name in run.config.families:
        width = run.facts.plan[name]["width"]
        point = families.points_of(run.config, images.image_shape(run), name, width)[-1]
        drawn[name] = Drawer(point, run.params[name]).images(run.key, n, min(n, run.config.chunk))
    shown = {"samples": figures.rows({name: x[:8] for name, x in drawn.items()}, "Images drawn by each family.")}
    return Evaluation({"images": n}, shown, f"{n} images of each family", arrays=drawn, images=tuple(drawn))


DESCRIBE = {
    "frechet": Metric("Frechet distance", "lower", "to the training images, in features; mean of the sets"),
    "frechet_interval": Metric("+-", "", "half the 95 % interval over independent sets of samples from one training"),
    **{name: headings.OF_SETS[name] for name in ("kernel", "precision", "recall", "coverage")},
    "bits": Metric("Bits per dimension", "lower", "of test images; a bound for the vae, estimates by random probes"),
    "bits_interval": Metric("+- bits", "", "half the 95 % interval over test images"),
    "evaluations": Metric("Evaluations", "", "of the network, per image"),
    "parameters": Metric("Parameters", "", "all players of the family together"),
    "steps": Metric("Steps", "", "of training that the compute paid for"),
}
EXPERIMENT = generation.experiment(
    name="trilemma",
    summary="Quality, speed and likelihood of every family at equal parameters and training compute",
    data="brain_phantom: computed slices of four classes, or --data",
    config=TrilemmaConfig,
    presets={
        "small": {"size": 32}
        | {"steps": 1000, "batch_size": 32, "learning_rate": 5e-4, "steps_per_call": 5}
        | {"checkpoint_every": 500, "log_every": 50},
        "smoke": {"families": ("vae", "flow_matching"), "evaluations": (1, 2), "parameters": 60_000}
        | {"compute": 1e-4, "samples": 8, "chunk": 8, "repeats": 2, "likelihood_images": 4, "batches": (8,)}
        | {"feature_steps": 4, "feature_channels": (8, 8)}
        | {"steps": 1000, "batch_size": 8, "steps_per_call": 1, "checkpoint_every": 500},
        "full": {"data": "brain_phantom", "size": 64, "parameters": 30_000_000, "compute": 500_000.0}
        | {"samples": 5000, "chunk": 250, "feature_steps": 4000, "likelihood_images": 500}
        | {"batches": (64, 256, 1024)}
        | {"batch_size": 128, "learning_rate": 2e-4, "warmup_steps": 1000, "steps_per_call": 5}
        | {"log_every": 50},
    },
    stages=tuple(stage(name) for name in FAMILIES),
    evaluate=evaluate,
    sample=sample,
    measure=measure,
    facts=TrilemmaFacts,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
