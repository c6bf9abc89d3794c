"""Flow matching of images, and what makes it fast: couplings, reflow and MeanFlow, from one evaluation to fifty.

    jaxgen run flow_matching                                          # phantom brains, computed
    jaxgen run flow_matching --data DATA --method reflow              # your images; 2-rectified flow beside it
    jaxgen run flow_matching --coupling optimal_transport --sampler heun --sampler-steps 20

Lipman et al. 2023, arXiv 2210.02747; couplings of Tong et al. 2024, arXiv 2302.00482; reflow of Liu et al. 2023, arXiv
2209.03003; MeanFlow of Geng et al. 2025, arXiv 2505.13447. The likelihood is exact up to the trace's random probes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxgen import baselines, couplings
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import flow_matching_model, mean_flow_model, reflow_model
from jaxgen.losses import logit_normal, uniform_time
from jaxgen.metrics import straightness
from jaxgen.nets import interval
from jaxgen.paths import rectified
from jaxgen.samplers import Sampling, euler, from_velocity, grids, heun, midpoint, runge_kutta4, sample
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.tasks.old import likelihood as dequantised
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.tasks.old.networks import UNetConfig, network
from jaxgen.train import Stage
from jaxgen.types import Model

PATH = rectified()
SAMPLERS = {"euler": euler, "midpoint": midpoint, "heun": heun, "runge_kutta4": runge_kutta4}
FEW = (1, 2, 4, 10)
"""Evaluations at which the few-step model and Euler's method are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMatchingConfig(UNetConfig, images.JudgedConfig):
    """The configuration of `flow_matching`."""

    coupling: Literal["independent", "optimal_transport", "entropic"] = option(
        "independent", "how noise is paired with images within a batch", group="method"
    )
    regularisation: float = option(0.1, "of the entropic coupling, in squared distance a pixel", gt=0, group="method")
    time: Literal["uniform", "logit_normal"] = option("uniform", "the law of the training times", group="method")
    method: Literal["mean_flow", "reflow"] = option("mean_flow", "how the few-step model is trained", group="method")
    few_steps: int = option(800, "its training steps", ge=1, group="method")
    teacher_steps: int = option(5, "Heun steps that draw an image to learn from (reflow)", ge=1, group="method")
    sampler: Literal["euler", "midpoint", "heun", "runge_kutta4"] = option("euler", "solver", group="sampling")
    sampler_steps: int = option(50, "its steps from noise to image", ge=1, le=10_000, group="sampling")
    likelihood_images: int = option(48, "test images whose likelihood is computed", ge=2, group="judging")
    tolerance: float = option(1e-3, "of the adaptive solver of the likelihood", gt=0, lt=1, group="judging")


def _shape(config: FlowMatchingConfig, constants: Mapping[str, Any]) -> tuple[int, ...]:
    return config.size, config.size, constants["channels"]


def _coupling(config: FlowMatchingConfig, constants: Mapping[str, Any]) -> couplings.Coupling:
    if config.coupling == "entropic":
        return couplings.entropic(config.regularisation * float(np.prod(_shape(config, constants))), 50)
    return {"independent": couplings.independent, "optimal_transport": couplings.optimal_transport}[config.coupling]


def _flow(config: FlowMatchingConfig, constants: Mapping[str, Any]) -> Model:
    return flow_matching_model(
        network(config, constants),
        _shape(config, constants),
        Sampling(PATH, SAMPLERS[config.sampler](PATH), grids.uniform(PATH, config.sampler_steps)),
        coupling=_coupling(config, constants),
        time={"uniform": uniform_time, "logit_normal": logit_normal()}[config.time],
    )


def _few(config: FlowMatchingConfig, constants: Mapping[str, Any], teacher: Any) -> Model:
    net, one, shape = network(config, constants), grids.uniform(PATH, 1), _shape(config, constants)
    if config.method == "mean_flow":
        return mean_flow_model(interval(net), PATH, shape, one, coupling=_coupling(config, constants))
    many = grids.uniform(PATH, config.teacher_steps)
    return reflow_model(net, PATH, shape, euler(PATH), one, teacher, heun(PATH), many)


def _drawing_few(config: FlowMatchingConfig, constants: Mapping[str, Any], *, mean_flow: bool):
    """``(params, key, n, evaluations) -> images`` in equal steps, one program for any number of them.

    A step of MeanFlow and one of Euler's method differ only in what the network is asked.
    """
    net = network(config, constants)
    net = interval(net) if mean_flow else net

    @jax.jit
    def draw(params, key, steps):
        def step(i, x):
            ends = (i / steps, (i + 1) / steps) if mean_flow else (i / steps,)
            return x + net.apply(params, x, *ends) / steps

        noise = jax.random.normal(key, (config.chunk, *_shape(config, constants)))
        return jax.lax.fori_loop(0, steps, step, noise)

    def drawn(params, key, n: int, evaluations: int) -> np.ndarray:
        keys = jax.random.split(key, -(-n // config.chunk))
        return np.concatenate([np.asarray(draw(params["net"], k, evaluations)) for k in keys])[:n]

    return drawn


def _build_flow(config: FlowMatchingConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model = _flow(config, constants)
    return Stage("flow", model, images.optimizers(config), config.steps, dequantised.prepare(config))


def _build_few(config: FlowMatchingConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    model, steps = _few(config, constants, trained["flow"]["net"]), config.few_steps
    return Stage("few_steps", model, images.optimizers(config, steps), steps, dequantised.prepare(config))


def _draw(config: FlowMatchingConfig, model: Model, params, key, n: int) -> np.ndarray:
    draw = jax.jit(lambda keys: model.sample(params, keys, len(keys)))
    return images.in_chunks(draw, n, config.chunk, jax.random.split(key, n))


def _bend(config: FlowMatchingConfig, constants, params, key) -> float:
    """How far the trajectories are from straight, in squared units a pixel, by 20 Euler steps."""
    net, grid = network(config, constants), grids.uniform(PATH, 20)

    @jax.jit
    def bend(params, key):
        denoise = from_velocity(lambda x, t: net.apply(params, x, t), PATH)
        noise = jax.random.normal(key, (min(config.chunk, 32), *_shape(config, constants)))
        way = sample(euler(PATH), denoise, jax.random.key(0), noise, grid, keep=True)  # Euler draws nothing
        return straightness(way, grid).mean() / noise[0].size

    return float(bend(params["net"], key))


def _bits(config: FlowMatchingConfig, constants, trained, splits, key) -> dict[str, dict[str, float]]:
    """Bits per dimension of test images, of the flow and of the Gaussian."""
    data_key, probe_key, other_key = jax.random.split(key, 3)
    x = dequantised.test_images(config, constants, splits, data_key, config.likelihood_images)
    density = _flow(config, constants).log_prob
    assert density is not None

    @jax.jit
    def log_prob(params, keys, x):
        return density(params, keys, x, rtol=config.tolerance, atol=config.tolerance)

    keys = jax.random.split(probe_key, len(x))
    flow = images.in_chunks(lambda k, x: log_prob(trained["flow"], k, x), len(x), min(config.chunk, 24), keys, x)
    gaussian = dequantised.fitted_gaussian_log_prob(config, constants, splits, other_key, x)
    nats = {"flow matching": flow, "gaussian": gaussian}
    return {name: dequantised.bits(values, x[0].size) for name, values in nats.items()}


def _evaluate(config: FlowMatchingConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    draw_key, bits_key, bend_key = jax.random.split(key, 3)
    method = config.method.replace("_", " ")
    sets = {"flow matching": _draw(config, _flow(config, constants), trained["flow"], draw_key, real.count)}
    by_euler = _drawing_few(config, constants, mean_flow=False)
    by_few = _drawing_few(config, constants, mean_flow=True) if config.method == "mean_flow" else by_euler
    for n in FEW:
        sets[f"Euler, {n}"] = by_euler(trained["flow"], draw_key, real.count, n)
        sets[f"{method}, {n}"] = by_few(trained["few_steps"], draw_key, real.count, n)
    sets["gaussian"] = baselines.gaussian_images(real.train, real.count, config.seed)
    sets["held-out images"] = real.held_out
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}
    for name, found in _bits(config, constants, trained, splits, bits_key).items():
        metrics[name] |= found
    metrics["flow matching"]["straightness"] = _bend(config, constants, trained["flow"], bend_key)
    if config.method == "reflow":
        metrics[f"{method}, 1"]["straightness"] = _bend(config, constants, trained["few_steps"], bend_key)
    metrics["images"] = real.count
    frechet = {name: metrics[name]["frechet"] for name in sets}
    curves = {label: (FEW, [frechet[f"{label}, {n}"] for n in FEW]) for label in ("Euler", method)}
    levels = {name: frechet[name] for name in ("flow matching", "gaussian", "held-out images")}
    shown = ("flow matching", *(f"{kind}, {n}" for kind in ("Euler", method) for n in (1, 4)), "gaussian")
    figures = {
        "samples": pictures.grid(sets["flow matching"][:40], "Images drawn by flow matching."),
        "beside": pictures.rows(
            {name: sets[name][:8] for name in (*shown, "held-out images")},
            "Flow matching, fewer evaluations of it and of the few-step model, the baseline, and real images.",
        ),
        "few_steps": pictures.curves(
            curves,
            "Frechet distance by the number of evaluations of the network.",
            x="evaluations",
            y="Frechet distance",
            logarithmic="xy",
            levels=levels,
        ),
        "neighbours": judging.neighbours(real, sets["flow matching"][:8]),
    }
    bits = {name: metrics[name]["bits"] for name in ("flow matching", "gaussian")}
    headline = (
        f"Frechet distance {frechet['flow matching']:.3g} with {config.sampler_steps} {config.sampler} steps, a fitted "
        f"Gaussian {frechet['gaussian']:.3g}, held-out images {frechet['held-out images']:.3g}; with one evaluation "
        f"{frechet['Euler, 1']:.3g} by Euler, {frechet[f'{method}, 1']:.3g} by {method}. "
        f"{bits['flow matching']:.3f} +- {metrics['flow matching']['bits_error']:.3f} bits per dimension, Gaussian "
        f"{bits['gaussian']:.3f}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images, dequantised uniformly"),
    "bits_error": Metric("its standard error", "", "over test images"),
    "straightness": Metric("Departure from straight", "lower", "mean squared, of the velocity from the chord's"),
    **judging.DESCRIBE,
}


def _sample(config: FlowMatchingConfig, constants, trained, splits, key, n) -> Evaluation:
    drawn = _draw(config, _flow(config, constants), trained["flow"], key, n)
    return judging.sampled(drawn, "Images drawn by flow matching.")


SMALL = FlowMatchingConfig(
    steps=1500,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
    ema_decay=0.995,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    few_steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    attention=None,
    samples=16,
    chunk=16,
    sampler_steps=3,
    teacher_steps=2,
    likelihood_images=3,
    tolerance=0.1,
    judge_steps=4,
    judge_channels=(8,),
    checkpoint_every=4,
    log_every=1,
)
FULL = FlowMatchingConfig(
    data="",
    size=64,
    channels=(192, 384, 576, 768),
    blocks=3,
    attention=(1, 2, 3),
    head_width=64,
    dropout=0.1,
    residual_resampling=True,
    patch=1,
    steps=500_000,
    few_steps=200_000,
    batch_size=2048,
    learning_rate=1e-4,
    warmup_steps=10_000,
    schedule="constant",
    optimizer="adam",
    ema_decay=0.9999,
    samples=10_000,
    likelihood_images=1000,
    tolerance=1e-5,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="flow_matching",
    summary="Flow matching of images from one evaluation to fifty, with reflow or MeanFlow, and its likelihood",
    data="phantom brains, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=images.load_images,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("flow", _build_flow), StageSpec("few_steps", _build_few)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
