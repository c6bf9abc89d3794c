"""Glow: a normalizing flow of images, its likelihood in bits, and what that says of anomalies.

    jaxgen run normalizing_flow                                # phantom brains at 32 pixels, computed
    jaxgen run normalizing_flow --data DATA --conditional      # your images, class by class
    jaxgen run normalizing_flow --preset full --data DATA      # the paper's flow for 64 pixels

Bits per dimension of test images stand beside those of a Gaussian with a few principal directions. As an anomaly score
the plain likelihood fails on images that are simpler than the training images; the scores that correct for it stand
beside it. Kingma & Dhariwal 2018, "Glow", arXiv 1807.03039; Serra et al. 2020, arXiv 1909.11480.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure as Canvas
from scipy import ndimage

from jaxgen import baselines
from jaxgen.app.cli import run_module
from jaxgen.bijections import affine, chain, coupling, masks
from jaxgen.config import option
from jaxgen.data import Everything, Source, most_of
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Figure, Metric, Run, StageSpec, chosen_number
from jaxgen.families import Dequantiser, flow_model, glow, uniform_dequantiser, variational_dequantiser
from jaxgen.medical.anomaly.likelihood import (
    complexity,
    complexity_corrected_score,
    likelihood_score,
    typicality_score,
)
from jaxgen.metrics import auroc
from jaxgen.metrics.likelihood import dequantise
from jaxgen.nets import conditioner
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.old import images
from jaxgen.tasks.old import likelihood as dequantised
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage
from jaxgen.types import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormalizingFlowConfig(images.JudgedConfig):
    """The configuration of `normalizing_flow`."""

    levels: int = option(3, "scales; each halves the resolution", ge=1, le=8, group="network")
    couplings: int = option(8, "couplings a scale", ge=1, le=128, group="network")
    width: int = option(64, "hidden channels of the conditioners", ge=4, group="network")
    conditional: bool = option(False, "model the images of each class", group="method")
    dequantisation: Literal["uniform", "variational"] = option(
        "uniform", "noise between the whole numbers of the pixels", group="method"
    )
    temperatures: tuple[float, ...] = option(
        (0.7, 0.85, 1.0), "deviations of the base when images are drawn, to choose from", gt=0, le=2, group="sampling"
    )
    likelihood_images: int = option(256, "test images whose likelihood is computed", ge=2, group="judging")
    likelihood_draws: int = option(4, "draws of the noise an image, averaged", ge=1, le=1000, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        if self.size % 2**self.levels:
            raise UserError(f"--size must be a multiple of {2**self.levels} with so many --levels, got {self.size}")


def _load(config: NormalizingFlowConfig):
    return images.load_images(config, labels=config.conditional)


def _dequantiser(config: NormalizingFlowConfig, channels: int) -> Dequantiser:
    if config.dequantisation == "uniform":
        return uniform_dequantiser()
    side = (config.size, config.size)
    net = conditioner(2 * channels, width=config.width // 2)
    layers = [coupling(net, affine(), mask=masks.checkerboard(side, flip=bool(i % 2))) for i in range(4)]
    return variational_dequantiser(chain(*layers))


def _model(config: NormalizingFlowConfig, constants: Mapping[str, Any]) -> Model:
    shape = (config.size, config.size, constants["channels"])
    classes = len(constants["classes"]) if config.conditional else None
    return flow_model(
        glow(shape, levels=config.levels, steps=config.couplings, width=config.width, classes=classes),
        shape,
        condition="label" if config.conditional else None,
        classes=classes,
        dequantiser=_dequantiser(config, constants["channels"]),
    )


def _build(config: NormalizingFlowConfig, constants: Mapping[str, Any], trained: Mapping[str, Any]) -> Stage:
    return Stage(
        "flow", _model(config, constants), images.optimizers(config), config.steps, images.prepare_images(config)
    )


def _drawing(config: NormalizingFlowConfig, constants, trained):
    """``(key, n, temperature, label) -> images [n, h, w, c]``; without labels a conditional flow takes all in turn."""
    model, classes = _model(config, constants), max(1, len(constants["classes"]))

    @jax.jit
    def draw(params, keys, label, temperature):
        cond = label if config.conditional else None
        return model.sample(params, keys, len(keys), cond, temperature=temperature)

    def drawing(key, n: int, temperature: float, label: np.ndarray | None = None) -> np.ndarray:
        return images.in_chunks(
            lambda *a: draw(trained["flow"], *a, temperature),
            n,
            config.chunk,
            jax.random.split(key, n),
            np.arange(n) % classes if label is None else label,
        )

    return drawing


def _choose_temperature(
    config: NormalizingFlowConfig, constants, judge: images.Judge, draw, splits
) -> dict[float, float]:
    """The Frechet distance to the validation images of images drawn at each temperature, the best one first.

    On other data the temperature is the one that the run has chosen.
    """
    known = isinstance(config.data, Everything) and "temperature" in constants.get("chosen", {})
    temperatures = (
        (chosen_number(Run(config, None, chosen=constants.get("chosen", {})), "temperature", default=1.0),)
        if known
        else config.temperatures
    )
    features = judge.features(images.real_images(config, constants, splits.validation, config.samples)["image"])
    key = jax.random.key(config.seed)
    distances = {t: judging.distances(judge, features, draw(key, config.samples, t))["frechet"] for t in temperatures}
    return dict(sorted(distances.items(), key=lambda item: item[1] if np.isfinite(item[1]) else np.inf))


def _log_prob(config: NormalizingFlowConfig, constants, trained):
    """``(key, bytes [n, h, w, c], labels [n]) -> [n]`` nats, the mean of a few draws of the noise."""
    log_density = _model(config, constants).log_prob
    assert log_density is not None

    @jax.jit
    def run(params, keys, whole, label):
        x = whole.astype(jnp.float32) / 127.5 - 1
        cond = label if config.conditional else None

        def once(i, total):
            return total + log_density(params, jax.vmap(jax.random.fold_in, (0, None))(keys, i), x, cond)

        return jax.lax.fori_loop(0, config.likelihood_draws, once, jnp.zeros(len(x))) / config.likelihood_draws

    def log_prob(key, whole: np.ndarray, label: np.ndarray) -> np.ndarray:
        keys = jax.random.split(key, len(whole))
        found = images.in_chunks(lambda *a: run(trained["flow"], *a), len(whole), config.chunk, keys, whole, label)
        return found.astype(np.float64)

    return log_prob


def _whole_numbers(config: NormalizingFlowConfig, constants, source: Source, most: int | None):
    """At most so many images as bytes, and their labels (zeros where there are none)."""
    arrays = images.real_images(config, constants, source, most, np.uint8)
    return arrays["image"], arrays.get("label", np.zeros(len(arrays["image"]), np.int32))


def odd_images(whole: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Images that are not of the data, made of those that are, bytes ``[n, h, w, c]``: two simpler, three not."""
    rng = np.random.default_rng(seed)
    n, h, w, _ = whole.shape
    blurred = ndimage.gaussian_filter(whole.astype(np.float32), (0, h / 16, w / 16, 0))
    empty = np.broadcast_to(whole.mean((1, 2), keepdims=True), whole.shape)
    rows, columns = np.indices((h, w))
    centre = rng.uniform(0.35, 0.65, (n, 2, 1, 1)) * np.array([h, w])[:, None, None]
    disc = ((rows - centre[:, 0]) / h) ** 2 + ((columns - centre[:, 1]) / w) ** 2 < 0.1**2
    lesion = np.where(disc[..., None], 255.0, whole)
    noisy = whole + 25 * rng.standard_normal(whole.shape)
    made = {"blurred": blurred, "empty": empty, "bright disc": lesion, "noisy": noisy, "negative": 255.0 - whole}
    return {name: np.clip(np.rint(x), 0, 255).astype(np.uint8) for name, x in made.items()}


def _anomalies(config: NormalizingFlowConfig, log_prob, splits, constants, test, key, usual_key):
    """How well each score tells odd images from test images, area under the curve; and their bits per dimension."""
    whole, label = test
    reference, reference_label = _whole_numbers(config, constants, splits.validation, config.likelihood_images)
    sets = {"test images": whole, **odd_images(whole, config.seed)}
    nats = {name: log_prob(key, x, label) for name, x in sets.items()}
    usual = log_prob(usual_key, reference, reference_label)
    scores = {
        "likelihood": lambda name: likelihood_score(nats[name]),
        "complexity corrected": lambda name: complexity_corrected_score(nats[name], complexity(sets[name])),
        "typicality": lambda name: typicality_score(nats[name], usual),
    }
    found = {}
    for method, score in scores.items():
        normal = score("test images")
        found[method] = {
            f"auroc_{name.replace(' ', '_')}": float(
                auroc(np.concatenate([score(name), normal]), np.repeat([1, 0], len(whole)))
            )
            for name in sets
            if name != "test images"
        }
    bits = {name: likelihood_score(values) / whole[0].size for name, values in nats.items()}
    return found, sets, bits


def _histograms(bits: Mapping[str, np.ndarray]) -> Figure:
    canvas = Canvas(figsize=(6.4, 3.4), layout="constrained")
    axes = canvas.subplots()
    everything = np.concatenate(list(bits.values()))
    edges = np.linspace(everything.min(), np.quantile(everything, 0.99), 60)
    for (name, values), colour in zip(bits.items(), pictures.COLOURS, strict=False):
        axes.hist(np.clip(values, edges[0], edges[-1]), edges.tolist(), label=name, color=colour, alpha=0.6)
    axes.set(xlabel="bits per dimension: fewer is more likely", ylabel="images")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return Figure(canvas, "Odd images that are simpler than test images are more likely than they are.")


def _evaluate(config: NormalizingFlowConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    draw_key, likelihood_key, data_key, usual_key = jax.random.split(key, 4)
    draw = _drawing(config, constants, trained)
    distances = _choose_temperature(config, constants, judge, draw, splits)
    chosen = next(iter(distances))
    temperatures = {f"flow at {t:g}": t for t in (chosen, 1.0)}
    sets = {name: draw(draw_key, real.count, t) for name, t in temperatures.items()}
    sets["gaussian"] = baselines.gaussian_images(real.train, real.count, config.seed)
    sets["held-out images"] = real.held_out
    metrics: dict[str, Any] = {name: judging.score(real, judge, x) for name, x in sets.items()}

    log_prob = _log_prob(config, constants, trained)
    test = _whole_numbers(config, constants, splits.test, most_of(config.data, config.likelihood_images))
    continuous = np.asarray(dequantise(jax.random.fold_in(data_key, 2), jnp.asarray(test[0])))
    fitted = dequantised.fitted_gaussian_log_prob(config, constants, splits, data_key, continuous)
    d = test[0][0].size
    flow = dequantised.bits(log_prob(likelihood_key, *test), d, bins=None)
    gaussian = dequantised.bits(fitted, d)
    metrics["flow at 1"] |= flow
    metrics["gaussian"] |= gaussian
    areas, odd, bits = _anomalies(config, log_prob, splits, constants, test, likelihood_key, usual_key)
    metrics |= areas
    metrics |= {"images": real.count, "likelihood_images": len(test[0]), "temperature": chosen}
    metrics |= {f"validation_frechet_at_{t:g}": distance for t, distance in sorted(distances.items())}

    first, plain, corrected = next(iter(temperatures)), areas["likelihood"], areas["complexity corrected"]
    shown = {f"{name}, {bits[name].mean():.2f} bits": x[:8] / 127.5 - 1 for name, x in odd.items()}
    figures = {
        "samples": pictures.grid(sets[first][:40], f"Images drawn at temperature {chosen:g}."),
        "beside": pictures.rows({name: x[:8] for name, x in sets.items()}, "Flow, baseline, and real test images."),
        "neighbours": judging.neighbours(real, sets[first][:8]),
        "anomalies": pictures.rows(shown, "Test images, and odd ones made of them, with their mean bits."),
        "likelihoods": _histograms(bits),
    }
    headline = (
        f"{flow['bits']:.3f} +- {flow['bits_error']:.3f} bits per dimension, Gaussian {gaussian['bits']:.3f}; Frechet "
        f"distance {metrics[first]['frechet']:.3g} at temperature {chosen:g}, Gaussian "
        f"{metrics['gaussian']['frechet']:.3g}. Blurred images as anomalies: AUROC {plain['auroc_blurred']:.2f} by "
        f"likelihood, {corrected['auroc_blurred']:.2f} corrected for complexity."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE, chosen={"temperature": chosen})


DESCRIBE = {
    "bits": Metric("Bits per dimension", "lower", "of test images; an upper bound, by dequantisation"),
    "bits_error": Metric("its standard error", "", "over test images"),
    **{
        f"auroc_{name.replace(' ', '_')}": Metric(f"AUROC {name}", "higher", f"{name} images told from test images")
        for name in ("blurred", "empty", "bright disc", "noisy", "negative")
    },
    **judging.DESCRIBE,
}


def _sample(config: NormalizingFlowConfig, constants, trained, splits, key, n, label=None) -> Evaluation:
    if label is not None and not config.conditional:
        raise UserError("--label: this flow was trained without labels; train one with --conditional")
    draw, chosen = (
        _drawing(config, constants, trained),
        chosen_number(Run(config, None, chosen=constants.get("chosen", {})), "temperature", default=1.0),
    )
    if config.conditional and label is None:
        label = np.arange(n) % len(constants["classes"])
    caption = f"Images drawn at temperature {chosen:g}."
    return judging.sampled(draw(key, n, chosen, label), caption, label, constants["classes"])


SMALL = NormalizingFlowConfig(
    size=32,
    couplings=4,
    width=32,
    steps=1500,
    batch_size=32,
    learning_rate=1e-3,
    warmup_steps=200,
    gradient_clip=50.0,
    ema_decay=0.995,
    samples=128,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=6,
    batch_size=4,
    size=16,
    levels=1,
    couplings=2,
    width=8,
    samples=16,
    chunk=16,
    likelihood_images=8,
    likelihood_draws=1,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = NormalizingFlowConfig(
    data="",
    size=64,
    levels=4,
    couplings=48,
    width=512,
    steps=500_000,
    batch_size=64,
    learning_rate=1e-3,
    warmup_steps=10_000,
    schedule="constant",
    optimizer="adam",
    gradient_clip=50.0,
    ema_decay=0.9999,
    samples=10_000,
    judge_steps=10_000,
    likelihood_images=10_000,
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="normalizing_flow",
    summary="Glow: a normalizing flow of images, bits per dimension, and likelihood as an anomaly score",
    data="phantom brains at 32 pixels, computed; or your images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=_load,
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("flow", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"label": None},
    baseline="gaussian",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
