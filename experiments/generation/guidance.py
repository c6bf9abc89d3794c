"""Class-conditional diffusion, steered by classifier-free guidance and by the gradient of a noisy classifier.

    jaxgen run guidance                                  # phantom brains of four classes, computed
    jaxgen run guidance --data brain_tumor_mri.npz       # labelled images: an npz, a folder of classes

A sweep over the scale shows what guidance buys (images that a classifier trained on real images recognises) and what it
costs (diversity). Ho & Salimans 2022, arXiv 2207.12598; Dhariwal & Nichol 2021, arXiv 2105.05233.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen import guidance as steering
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Metric, StageSpec
from jaxgen.families import classifier_model
from jaxgen.nets import classifier
from jaxgen.samplers import clip, grids, sample
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import before
from jaxgen.tasks import figures as pictures
from jaxgen.tasks.best import highest
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old import sample_quality as judging
from jaxgen.train import Stage

Scales = tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceConfig(denoisers.DenoiserConfig, images.JudgedConfig):
    """The configuration of `guidance`."""

    drop_label: float = option(0.15, "share of labels that training leaves out", ge=0, le=1, group="method")
    scales: Scales = option((1.0, 2.0, 4.0), "scales of classifier-free guidance; 1 is none", ge=0, group="method")
    classifier_scales: Scales = option(
        (0.0, 1.0, 3.0, 8.0),
        "scales of classifier guidance, of the unconditional model",
        ge=0,
        group="method",
    )
    rescale: float = option(0.0, "give back so much of the unguided images' contrast", ge=0, le=1, group="method")
    interval: tuple[float, float] = option(
        (0.0, 1.0), "classifier-free guidance between these times, 0 data and 1 noise", ge=0, le=1, group="method"
    )
    classifier_interval: tuple[float, float] = option(
        (0.0, 0.9), "classifier guidance between these; near 1 it magnifies errors", ge=0, le=1, group="method"
    )
    classifier_steps: int = option(800, "training steps of the noisy classifier", ge=1, group="training")
    classifier_channels: images.Widths = option((32, 64, 96), "its widths", ge=4, group="network")

    sampler: str = option("dpm_solver_2m", "how images are drawn", choices=SAMPLERS, group="sampling")
    sampler_steps: int = option(20, "steps from noise to image", ge=1, le=10_000, group="sampling")


def _classes(constants: Mapping[str, Any]) -> int:
    return len(constants["classes"])


def _noisy_network(config: GuidanceConfig, constants: Mapping[str, Any]):
    return classifier(_classes(constants), channels=config.classifier_channels, blocks=1, patch=config.patch)


def _build_classifier(config: GuidanceConfig, constants, trained) -> Stage:
    model = classifier_model(_noisy_network(config, constants), path=denoisers.make_path(config))
    steps = config.classifier_steps
    return Stage("classifier", model, images.optimizers(config, steps), steps, images.prepare_images(config))


def _build(config: GuidanceConfig, constants, trained) -> Stage:
    model = denoisers.make_model(
        config,
        constants,
        SAMPLERS[config.sampler].step,
        config.sampler_steps,
        classes=_classes(constants),
        drop_label=config.drop_label,
    )
    return Stage("ddpm", model, images.optimizers(config), config.steps, images.prepare_images(config))


class _Sampler:
    """Draws images of given classes by either guidance; every scale is an argument, so each is compiled once."""

    def __init__(self, config: GuidanceConfig, constants, trained):
        self._chunk, self._trained = config.chunk, trained
        path, classes = denoisers.make_path(config), _classes(constants)
        step, grid = SAMPLERS[config.sampler].step(path), grids.uniform(path, config.sampler_steps)
        shape = (config.size, config.size, constants["channels"])
        noisy = _noisy_network(config, constants)
        interval = None if config.interval == (0.0, 1.0) else config.interval

        def model(params, label):
            return denoisers.denoise_with(config, constants, params, label, classes=classes)

        def run(denoise, keys):
            noise_keys, step_keys = draws.split(keys, 2)
            start = denoisers.starting_noise(path, noise_keys, (len(keys), *shape))
            return sample(step, clip(denoise), step_keys, start, grid)

        @jax.jit
        def classifier_free(params, scale, keys, label):
            null = jnp.full_like(label, classes)
            guided = steering.classifier_free_batched(
                lambda x, t, label: model(params["ddpm"]["net"], label)(x, t),
                label,
                null,
                scale,
                rescale=config.rescale,
                interval=interval,
            )
            return run(guided, keys)

        @jax.jit
        def by_classifier(params, scale, keys, label):
            def log_prob(x, t):
                logits = noisy.apply(params["classifier"]["net"], x, t)
                return jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], axis=-1)[:, 0]

            unconditional = model(params["ddpm"]["net"], jnp.full_like(label, classes))
            guided = steering.classifier(unconditional, log_prob, path, scale, interval=config.classifier_interval)
            return run(guided, keys)

        self._draw = {"classifier-free": classifier_free, "classifier": by_classifier}

    def __call__(self, method: str, scale: float, key, label: np.ndarray) -> np.ndarray:
        keys = jax.random.split(key, len(label))
        draw = self._draw[method]
        return images.in_chunks(
            lambda k, y: draw(self._trained, jnp.float32(scale), k, y), len(label), self._chunk, keys, label
        )


def _score(real: judging.Real, judge: images.Judge, drawn: np.ndarray, label: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": judging.accuracy(judge, drawn, label),
        "diversity": images.within_classes(judge.features(drawn), label) or 0.0,
        **judging.score(real, judge, drawn),
    }


DESCRIBE = {
    "accuracy": Metric("Asked class", "higher", "share that the judge takes for the asked class"),
    "diversity": Metric("Diversity", "higher", "mean distance of two images of a class, in the judge's features"),
    **judging.DESCRIBE,
}
LABELS = {"classifier-free": "guided by dropped labels", "classifier": "guided by a classifier"}


def _evaluate(config: GuidanceConfig, constants, trained, splits, key) -> Evaluation:
    judge = images.Judge(config, constants, trained)
    real = judging.Real(config, constants, splits, judge)
    draw = _Sampler(config, constants, trained)
    label = np.arange(real.count) % _classes(constants)
    sweep = {"classifier-free": config.scales, "classifier": config.classifier_scales}
    metrics: dict[str, Any] = {}
    drawn: dict[str, np.ndarray] = {}
    curve: dict[str, tuple[list[float], list[float]]] = {}
    for method, scales in sweep.items():
        for scale in scales:
            name = f"{method} {scale:g}"
            drawn[name] = draw(method, scale, key, label)
            metrics[name] = _score(real, judge, drawn[name], label)
        rows = [metrics[f"{method} {scale:g}"] for scale in scales]
        curve[LABELS[method]] = ([row["diversity"] for row in rows], [row["accuracy"] for row in rows])
    assert real.label is not None  # data without labels were refused
    metrics["held-out images"] = _score(real, judge, real.held_out, real.label)
    metrics["images"] = real.count

    first = f"classifier-free {config.scales[0]:g}"
    best = highest({name: metrics[name]["accuracy"] for name in drawn if name.startswith("classifier-free")})
    by_class = {constants["classes"][k]: drawn[first][label == k][:8] for k in range(min(_classes(constants), 8))}
    by_scale = {name: x[: 2 * _classes(constants)][:12] for name, x in drawn.items()}
    curve["held-out images"] = ([metrics["held-out images"]["diversity"]], [metrics["held-out images"]["accuracy"]])
    figures = {
        "classes": pictures.rows(by_class, f"Images of each class, {first} (no guidance where that is 1)."),
        "scales": pictures.rows(by_scale, "The same noise and classes under growing guidance."),
        "curve": pictures.curves(
            curve,
            "Fidelity against diversity as the scale grows (numbers at the points).",
            x="diversity: mean distance within a class",
            y="fidelity: share taken for the asked class",
            notes={LABELS[m]: [f"{s:g}" for s in scales] for m, scales in sweep.items()},
        ),
        "neighbours": judging.neighbours(real, drawn[first][:8]),
    }
    before, after, truth = (metrics[name] for name in (first, best, "held-out images"))
    headline = (
        f"A classifier trained on real images takes {before['accuracy']:.0%} of unguided images for the asked class, "
        f"{after['accuracy']:.0%} with {best}, and {truth['accuracy']:.0%} of held-out real ones; their diversity is "
        f"{before['diversity']:.3g}, {after['diversity']:.3g} and {truth['diversity']:.3g}."
    )
    return Evaluation(metrics, figures, headline, DESCRIBE)


def _sample(config: GuidanceConfig, constants, trained, splits, key, n, label=None) -> Evaluation:
    label = np.arange(n) % _classes(constants) if label is None else label
    scale = config.scales[min(1, len(config.scales) - 1)]
    drawn = _Sampler(config, constants, trained)("classifier-free", scale, key, label)
    names = ", ".join(constants["classes"][k] for k in dict.fromkeys(label.tolist()))
    caption = f"Images of the classes {names} in turn, classifier-free guidance {scale:g}."
    return judging.sampled(drawn, caption, label, constants["classes"])


SMALL = GuidanceConfig(
    steps=2000,
    batch_size=16,
    learning_rate=1e-3,
    warmup_steps=100,
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
    channels=(8, 12),
    attention=(1,),
    classifier_channels=(8,),
    classifier_steps=6,
    scales=(1.0, 2.0),
    classifier_scales=(1.0,),
    samples=16,
    chunk=16,
    sampler_steps=3,
    judge_steps=6,
    judge_channels=(8,),
    checkpoint_every=3,
    log_every=1,
)
FULL = GuidanceConfig(
    data="",
    path="cosine",
    prediction="noise",
    size=64,
    channels=(192, 384, 576, 768),
    blocks=3,
    attention=(1, 2, 3),
    head_width=64,
    dropout=0.1,
    residual_resampling=True,
    patch=1,
    classifier_channels=(128, 256, 384, 512),
    classifier_steps=300_000,
    scales=(1.0, 1.1, 1.3, 1.5, 2.0, 4.0),
    classifier_scales=(0.0, 0.5, 1.0, 2.0, 4.0, 10.0),
    sampler="ddpm",
    sampler_steps=250,
    steps=540_000,
    batch_size=2048,
    learning_rate=3e-4,
    warmup_steps=0,
    schedule="constant",
    optimizer="adamw",
    ema_decay=0.9999,
    samples=10_000,
    judge_steps=10_000,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="guidance",
    summary="Class-conditional diffusion: both guidances, and what a growing scale buys and costs",
    data="phantom brains of four classes, computed; or your labelled images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=lambda config: images.load_images(config, labels=True),
    measure=images.measure_images,
    stages=(images.JUDGE, StageSpec("classifier", _build_classifier), StageSpec("ddpm", _build)),
    evaluate=_evaluate,
    sample=_sample,
    sample_flags={"label": None, "guidance": "scales", "sampler": "sampler", "steps": "sampler_steps"},
    baseline=f"classifier-free {SMALL.scales[0]:g}",
    examples=images.example_images,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
