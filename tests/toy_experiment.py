"""A small experiment as a user would write it: find bright pixels, with a constant guess as the baseline."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure as Canvas

from jaxgen.app.cli import run_module
from jaxgen.config import RunConfig, option
from jaxgen.data import load
from jaxgen.data.source import ArraySource, Splits
from jaxgen.experiment import Evaluation, Experiment, Figure, Metric, StageSpec
from jaxgen.facts import Facts
from jaxgen.train import Stage
from jaxgen.types import Model, Objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(RunConfig):
    side: int = option(8, "pixels along one side of an image", ge=4, le=256)
    noise: float = option(0.2, "standard deviation of the noise, as a share of the brightness", ge=0)
    augment: bool = option(True, "flip images at random")
    widths: tuple[int, ...] = option((4,), "not used, here to be shown", ge=1)


def load_data(config):
    if config.data:
        return load(config.data, seed=config.seed)
    rng = np.random.default_rng(config.seed)
    masks = (rng.random((24, config.side, config.side)) < 0.3).astype(np.uint8)
    noise = config.noise * rng.standard_normal(masks.shape)
    images = (np.clip(0.2 + 0.6 * masks + noise, 0, 1) * 255).astype(np.uint8)[..., None]
    parts = (ArraySource({"image": images[a:b], "mask": masks[a:b]}) for a, b in ((0, 12), (12, 16), (16, 24)))
    return Splits(*parts, name="bright squares", origin="made up", licence="CC0-1.0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightest(Facts):
    top: float


def measure(config, splits):
    return Brightest(top=float(max(splits.train[i]["image"].max() for i in range(len(splits.train)))))


def model(facts, sees_image, start):
    def logits(net, image):
        x = image[..., 0].astype(jnp.float32) / facts.top
        return net["bias"] + (net["scale"] * x if sees_image else jnp.zeros_like(x))

    def init(key, batch):
        return {"net": {"bias": jnp.float32(start), "scale": 0.1 * jax.random.normal(key, ())}}

    def loss(params, key, batch):
        error = optax.sigmoid_binary_cross_entropy(logits(params["net"], batch["image"]), batch["mask"] > 0)
        return error.mean(axis=(1, 2)), {"bias": params["net"]["bias"]}

    return Model(init, (Objective("net", loss),), lambda params, key, n: jnp.zeros(n)), logits


def stage(name, sees_image):
    def build(run):
        start = run.params["constant"]["net"]["bias"] if sees_image else 0.0
        return Stage(
            name=name,
            model=model(run.facts, sees_image, start)[0],
            optimizers={"net": optax.adam(run.config.learning_rate)},
            steps=run.config.steps,
        )

    return StageSpec(name, build)


def probability(params, facts, image):
    net = jax.tree.map(float, params["net"])
    x = image.astype(np.float32).mean(axis=-1) / facts.top
    return 1 / (1 + np.exp(-net["bias"] - net["scale"] * x))


def apply(run):
    def segment(key, image):
        p = probability(run.params["logistic"], run.facts, image.array)
        threshold = run.chosen.get("threshold", 0.0)
        draws = np.random.default_rng(np.asarray(jax.random.key_data(key))).random((4, *p.shape)) < p
        return {"mask": p > threshold, "probability": p, "uncertainty": draws.var(axis=0), "area": (p > 0.5).mean()}

    return segment


def evaluate(run):
    test = [run.splits.test[i] for i in range(len(run.splits.test))]
    metrics = {}
    for name in ("logistic", "constant"):
        params = run.params[name] if name == "logistic" else {"net": {**run.params[name]["net"], "scale": 0.0}}
        right = [((probability(params, run.facts, e["image"]) > 0.5) == (e["mask"] > 0)).mean() for e in test]
        metrics[name] = {"accuracy": float(np.mean(right)), "error": float(1 - np.mean(right))}
    canvas = Canvas(figsize=(7, 2.4))
    for axes, e in zip(canvas.subplots(1, 4), test, strict=False):
        axes.imshow(e["image"][..., 0], cmap="gray")
    describe = {"accuracy": Metric("Accuracy", "higher", "share of pixels that are right")}
    headline = f"Accuracy {metrics['logistic']['accuracy']:.3f} <on test images> & more"
    figures = {"examples": Figure(canvas, "Test images, <as they come>.")}
    timings = {"logistic <toy>": {"ms an image": 0.125}}
    return Evaluation(metrics, figures, headline, describe, timings=timings, chosen={"threshold": 0.5})


def sample(run, n):
    draws = np.asarray(jax.random.bernoulli(run.key, 0.3, (n, run.config.side, run.config.side)))
    canvas = Canvas(figsize=(3, 3))
    canvas.subplots().imshow(draws[0])
    figures = {"samples": Figure(canvas, "One sample.")}
    return Evaluation({"samples": n}, figures, f"{n} samples", arrays={"masks": draws})


EXPERIMENT = Experiment(
    name="toy",
    summary="Bright pixels by logistic regression",
    data="made up",
    presets={
        "smoke": ToyConfig(steps=20, batch_size=4, checkpoint_every=8, log_every=2, learning_rate=0.1),
        "small": ToyConfig(steps=300, batch_size=4, learning_rate=0.1),
        "full": ToyConfig(steps=100_000, batch_size=4, learning_rate=0.01, log_every=100),
    },
    load=load_data,
    measure=measure,
    facts=Brightest,
    stages=(stage("constant", False), stage("logistic", True)),
    evaluate=evaluate,
    sample=sample,
    apply=apply,
    baseline="constant",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
