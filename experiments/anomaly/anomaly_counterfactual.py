"""Weakly supervised counterfactuals: labels say which images are ill, and diffusion says where.

    jaxgen run anomaly_counterfactual                           # phantom brains, half of them with a lesion
    jaxgen run anomaly_counterfactual --levels 0.3 --scales 2   # how far up, and how hard to guide
    jaxgen run anomaly_counterfactual --noise white --highest 1 --levels 0.75   # as published
    jaxgen run anomaly_counterfactual --data brain_tumor_mri_128.npz

One class-conditional network. An image is encoded into noise by DDIM and decoded as healthy: guided by a classifier of
noisy images (Wolleb et al. 2022), without a classifier from the null label with dynamic normalisation (Sanchez et al.
2022), or simply decoded under the other label (DDIB, Su et al. 2023). What has changed is the lesion. How far up to
encode and how hard to guide are chosen on artificial anomalies in healthy validation images; no mask of a lesion is
looked at. The noise is coarse unless told otherwise: white noise drowns the finest detail first, so that a lesion
outlives all the noise levels at which a label could decide. Beside: saliency (the gradient of the classifier), a
coarse-noise denoising autoencoder trained on the healthy half, principal components, z-scores and brightness.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgen import draws
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.data import ArraySource, Everything, Splits
from jaxgen.data.phantoms import LESIONS
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run, StageSpec, chosen_number
from jaxgen.families import classifier_model
from jaxgen.guidance import classifier as guided_by_classifier
from jaxgen.medical import anomaly
from jaxgen.nets import classifier
from jaxgen.samplers import clip, denoiser
from jaxgen.tasks import before
from jaxgen.tasks.anomaly import data as shared
from jaxgen.tasks.anomaly import evaluation as judging
from jaxgen.tasks.anomaly import levels
from jaxgen.tasks.old import denoisers, images
from jaxgen.tasks.old.networks import network
from jaxgen.train import Stage
from jaxgen.types import NoiseDistribution

HEALTHY, ILL, NULL = 0, 1, 2
APPLIED = "classifier-free guidance"
"""The method of `jaxgen apply`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualConfig(shared.AnomalyConfig, denoisers.DenoiserConfig):
    """The configuration of `anomaly_counterfactual`."""

    drop_label: float = option(0.3, "share of labels that training leaves out", ge=0, le=1, group="method")
    classifier_steps: int = option(800, "training steps of the noisy classifier", ge=1, group="training")
    classifier_rate: float = option(1e-3, "its learning rate", gt=0, group="training")
    classifier_batches: int = option(1, "batches whose gradients are one update of it", ge=1, group="training")
    classifier_power: float = option(
        1.0,
        "its training times go with this power of a uniform number: above 1 more of the low noise",
        gt=0,
        group="training",
    )
    classifier_channels: images.Widths = option((16, 32, 64), "its widths", ge=4, group="network")
    classifier_patch: int = option(1, "blocks of so many pixels are one for it", ge=1, le=16, group="network")
    noise: Literal["coarse", "white"] = option("coarse", "the kind of noise", group="method")
    cells: int = option(8, "nodes of the coarse noise along one side", ge=1, group="method")
    highest: float = option(0.4, "train up to this share of the way to the noise", gt=0, le=1, group="method")
    levels: tuple[float, ...] = option(
        (0.05, 0.1, 0.2),
        "encode up to this share of the way to the noise, to choose from",
        gt=0,
        le=1,
        group="sampling",
    )
    sampler_steps: int = option(50, "steps up, and as many down", ge=1, le=10_000, group="sampling")
    classifier_scales: tuple[float, ...] = option(
        (3.0, 10.0, 30.0), "of the guidance by a classifier, to choose from", ge=0, group="sampling"
    )
    scales: tuple[float, ...] = option(
        (2.0, 4.0, 8.0), "of the guidance without one, to choose from; 1 is none", ge=0, group="sampling"
    )
    tuned_on: int = option(30, "validation images with artificial anomalies to choose scales on", ge=2, group="judging")

    def __post_init__(self) -> None:
        """Check every field, and those that must fit each other."""
        super().__post_init__()
        levels.check_levels(self.levels, self.highest)
        if self.classifier_batches > self.classifier_steps:
            raise UserError(
                f"--classifier-steps {self.classifier_steps} of --classifier-batches {self.classifier_batches} a piece "
                "are not one update; lower the batches"
            )
        if self.noise == "coarse":
            levels.check_cells(self.cells, self.size)


def _labelled(config: CounterfactualConfig, n: int, part: int) -> dict[str, np.ndarray]:
    """Phantoms, of which half have a lesion, L1 or L4: every one another subject."""
    quarter, half = n // 4, n // 2
    counts = ((n - half, None), (quarter, LESIONS["L1"]), (half - quarter, LESIONS["L4"]))
    starts = (0, n - half, n - half + quarter)
    drawn = [
        shared.phantoms(config, count, part, lesion, first=start)["image"]
        for (count, lesion), start in zip(counts, starts, strict=True)
    ]
    return {"image": np.concatenate(drawn), "label": (np.arange(n) >= n - half).astype(np.int32)}


def _load(config: CounterfactualConfig) -> Splits:
    if config.data == shared.PHANTOM:
        few = max(8, config.phantoms // 10)
        parts = [shared.Drawn(_labelled(config, n, part)) for part, n in enumerate((config.phantoms, few, few))]
        return Splits(parts[0], parts[1], parts[2], name=shared.PHANTOM, origin="computed", licence="CC0-1.0")
    splits = images.open_images(config, ("image", "label"), ("mask",), config.foreground)
    if config.healthy not in splits.label_names and not isinstance(config.data, Everything):
        raise UserError(f"--healthy {config.healthy}: no such label; there are {', '.join(splits.label_names)}")
    return splits


def _prepared(config: CounterfactualConfig, constants, source) -> dict[str, np.ndarray]:
    """Images in [-1, 1] with the label 0 for healthy and 1 for ill."""
    if isinstance(source, shared.Drawn):
        return source.arrays
    arrays = images.real_images(config, constants, source)
    return arrays | {"label": (arrays["label"] != constants["healthy"]).astype(np.int32)}


def _measure(config: CounterfactualConfig, splits: Splits) -> dict[str, Any]:
    constants = shared.measure_data(config, splits)
    number = 0 if config.data == shared.PHANTOM else splits.label_names.index(config.healthy)
    return constants | {"healthy": number}


def _examples(config: CounterfactualConfig, constants, splits: Splits) -> ArraySource:
    arrays = _prepared(config, constants, splits.train)
    return ArraySource({"image": arrays["image"], "label": arrays["label"]})


def _law(config: CounterfactualConfig) -> NoiseDistribution:
    return anomaly.make_coarse_noise(config.cells) if config.noise == "coarse" else draws.normal


def _noisy_network(config: CounterfactualConfig):
    return classifier(2, channels=config.classifier_channels, blocks=1, patch=config.classifier_patch)


def _build_classifier(config: CounterfactualConfig, constants, trained) -> Stage:
    path, time = denoisers.make_path(config), denoisers.times_up_to(config.highest, config.classifier_power)
    model = classifier_model(_noisy_network(config), path=path, noise=_law(config), time=time)
    settings = dataclasses.replace(config, learning_rate=config.classifier_rate)
    optimizer = images.optimizers(settings, max(1, config.classifier_steps // config.classifier_batches))["net"]
    many = optax.MultiSteps(optimizer, config.classifier_batches).gradient_transformation()
    return Stage("classifier", model, {"net": many}, config.classifier_steps, shared.prepare(config))


def _of_healthy(spec: StageSpec) -> StageSpec:
    """A reference without labels: it learns from the healthy images of a batch alone."""

    def build(config: CounterfactualConfig, constants, trained) -> Stage:
        stage = spec.build(config, constants, trained)
        (objective,) = stage.model.objectives

        def loss(params, key, batch):
            value, info = objective.loss(params, key, batch)
            return jnp.where(batch["label"] == HEALTHY, value, 0), info

        return stage._replace(model=stage.model._replace(objectives=(objective._replace(loss=loss),)))

    return spec._replace(build=build)


def _build(config: CounterfactualConfig, constants, trained) -> Stage:
    noise, time = None if config.noise == "white" else _law(config), denoisers.times_up_to(config.highest)
    model = denoisers.make_model(config, constants, classes=2, drop_label=config.drop_label, noise=noise, time=time)
    return Stage("diffusion", model, images.optimizers(config), config.steps, shared.prepare(config))


class Setting(NamedTuple):
    """How far up to encode, and how hard to guide."""

    level: float
    scale: float


class Translator(NamedTuple):
    """A way to make images healthy.

    Attributes:
        run: ``(images, setting) -> healthy versions``; a setting is an argument of one compiled program.
        settings: to choose from.
    """

    run: Callable[[np.ndarray, Setting], np.ndarray]
    settings: tuple[Setting, ...]


def _translators(config: CounterfactualConfig, constants, trained) -> dict[str, Translator]:
    """Each method."""
    net, noisy, path = network(config, constants, classes=2), _noisy_network(config), denoisers.make_path(config)
    covariance = anomaly.coarse_covariance(config.cells) if config.noise == "coarse" else None

    def grid(level):
        return denoisers.grid_from(path, level, config.sampler_steps)

    def labelled(params, n: int):
        def denoise(x, t, label):
            predict = lambda x, t: net.apply(params["diffusion"]["net"], x, t, label=label)  # noqa: E731
            return denoiser(predict, path, config.prediction)(x, t)

        return denoise, (jnp.full((n,), number, jnp.int32) for number in (HEALTHY, ILL, NULL))

    def wolleb(params, x, setting):
        denoise, (_, _, null) = labelled(params, len(x))

        def log_prob(x, t):
            return jax.nn.log_softmax(noisy.apply(params["classifier"]["net"], x, t))[:, HEALTHY]

        plain = lambda x, t: denoise(x, t, null)  # noqa: E731
        guided = guided_by_classifier(plain, log_prob, path, setting.scale, covariance=covariance)
        # A sure classifier has steep places: unclipped, guidance runs away in one image of some dozens.
        return anomaly.translate(path, plain, clip(guided), x, grid(setting.level))

    def sanchez(params, x, setting, normalise=anomaly.dynamic_normalisation):
        denoise, (healthy, _, null) = labelled(params, len(x))
        pair = anomaly.classifier_free_pair(denoise, healthy, null, setting.scale, normalise=normalise)
        return anomaly.translate(path, *pair, x, grid(setting.level))

    @jax.jit
    def carry(params, x, source, target, level):
        denoise, _ = labelled(params, len(x))
        source, target = (jnp.full(len(x), label, jnp.int32) for label in (source, target))
        pair = (lambda x, t: denoise(x, t, source), lambda x, t: denoise(x, t, target))
        return anomaly.translate(path, *pair, x, grid(level))

    def in_chunks(run, x):
        return images.in_chunks(run, len(x), config.chunk, x)

    def guided(translate, scales: tuple[float, ...]) -> Translator:
        run = jax.jit(translate)
        settings = tuple(Setting(level, scale) for level in config.levels for scale in scales)
        return Translator(lambda x, setting: in_chunks(lambda x: run(trained, x, setting), x), settings)

    def between(source: int, target: int) -> Translator:
        """From one label to another, without guidance; both are arguments of one compiled program."""
        run = lambda x, setting: in_chunks(lambda x: carry(trained, x, source, target, setting.level), x)  # noqa: E731
        return Translator(run, tuple(Setting(level, 1.0) for level in config.levels))

    return {
        "classifier guidance": guided(wolleb, config.classifier_scales),
        APPLIED: guided(sanchez, config.scales),
        "classifier-free, clipped": guided(lambda p, x, setting: sanchez(p, x, setting, clip), config.scales),
        "bridge of labels": between(ILL, HEALTHY),
        "no guidance": between(NULL, NULL),
    }


def _saliency(config: CounterfactualConfig, trained) -> shared.Method:
    """The gradient of the log-odds of illness, on the image as it is."""
    noisy, path = _noisy_network(config), denoisers.make_path(config)

    @jax.jit
    def gradient(params, x):
        def odds(x):
            logits = noisy.apply(params, x, jnp.full(x.shape[:1], path.t_data, jnp.float32))
            return jnp.sum(logits[:, ILL] - logits[:, HEALTHY])

        return jnp.abs(jax.grad(odds)(x)).mean(-1)

    params = trained["classifier"]["net"]
    found = lambda x: images.in_chunks(lambda x: gradient(params, x), len(x), config.chunk, x)  # noqa: E731
    return shared.by_map(found, lowest=0.0)


DESCRIBE = {
    **judging.describe(),
    "level": Metric("Level", "", "encoded up to, chosen on artificial anomalies; a share of the way to the noise"),
    "scale": Metric("Scale", "", "of the guidance, chosen with the level"),
    "healthy_change": Metric("Change of healthy images", "lower", "mean absolute, in the foreground"),
}


def _evaluate(config: CounterfactualConfig, constants, trained, splits, key) -> Evaluation:
    train, validation = (_prepared(config, constants, part) for part in (splits.train, splits.validation))
    well, held = (part["image"][part["label"] == HEALTHY] for part in (train, validation))
    if config.data == shared.PHANTOM:
        sources = {"train": shared.Drawn({"image": well}), "validation": shared.Drawn({"image": held})}
        bench = judging.bench(config, constants, splits._replace(**sources))
        bench = bench._replace(
            lesions={kind: bench.lesions[kind] for kind in ("L1", "L4")},
            twins={kind: bench.twins[kind] for kind in ("L1", "L4")},
        )
    else:
        test = _prepared(config, constants, splits.test)
        bench = judging.labelled_bench(config, well, held, test["image"], test["label"] == ILL)
    methods = judging.baselines(config, bench.train)
    simple = tuple(methods)
    methods["saliency"] = _saliency(config, trained)
    methods |= shared.learned(config, constants, trained)
    few = bench.chosen_on[0][: config.tuned_on], bench.chosen_on[1][: config.tuned_on]
    chosen: dict[str, Setting] = {}
    for name, translator in _translators(config, constants, trained).items():
        tuned = judging.tuned(config, translator.run, translator.settings, few)
        methods[name], chosen[name] = tuned.method, tuned.setting
    metrics, figures = judging.table(config, bench, methods, simple)
    healthy = bench.validation[: config.tuned_on]
    within = anomaly.foreground(healthy, shared.FLOOR)
    for name, setting in chosen.items():
        metrics[name] |= {**setting._asdict(), "healthy_change": float(methods[name](healthy)[0][within].mean())}
    headline = judging.headline(metrics, APPLIED, simple)
    settings = {name: setting._asdict() for name, setting in chosen.items()}
    return Evaluation(metrics, figures, headline, DESCRIBE, chosen=settings)


def _apply(config: CounterfactualConfig, constants, trained):
    """Without a classifier, at the chosen level and scale; before there are any, at the middle ones."""
    run = _translators(config, constants, trained)[APPLIED].run
    middle = {"level": levels.middle(config.levels), "scale": levels.middle(config.scales)}
    setting = Setting(
        **{
            name: chosen_number(Run(config, None, chosen=constants.get("chosen", {})), APPLIED, name, default=x)
            for name, x in middle.items()
        }
    )
    method = shared.by_residual(config, lambda x: run(x, setting))
    return shared.applied(config, constants, lambda key, x: method(x))


SMALL = CounterfactualConfig(
    path="linear",
    prediction="x0",
    classifier_steps=8000,
    classifier_rate=3e-3,
    classifier_batches=4,
    classifier_power=3.0,
    classifier_patch=2,
    steps=1500,
    batch_size=8,
    learning_rate=1e-3,
    warmup_steps=50,
    ema_decay=0.995,
    lesions=50,
    chosen_on=50,
    sampler_steps=10,
    reference_steps=500,
    checkpoint_every=250,
    log_every=20,
)
SMOKE = dataclasses.replace(
    SMALL,
    steps=4,
    batch_size=4,
    size=16,
    channels=(8,),
    classifier_channels=(8,),
    classifier_steps=4,
    phantoms=40,
    lesions=4,
    chosen_on=4,
    tuned_on=4,
    levels=(0.2,),
    scales=(2.0, 4.0),
    classifier_scales=(10.0,),
    reference_steps=0,
    sampler_steps=2,
    chunk=1,
    checkpoint_every=2,
    log_every=1,
)
FULL = CounterfactualConfig(
    data="",
    size=64,
    path="linear",
    prediction="noise",
    channels=(64, 128, 192, 256),
    blocks=2,
    attention=(1, 2, 3),
    head_width=64,
    dropout=0.1,
    drop_label=0.35,
    classifier_channels=(32, 64, 64, 128),
    classifier_steps=20_000,
    classifier_rate=1e-4,
    noise="white",
    highest=1.0,
    levels=(0.75,),
    sampler_steps=75,
    classifier_scales=(100.0,),
    scales=(3.0,),
    reference_steps=67_200,
    steps=50_000,
    batch_size=64,
    learning_rate=1e-4,
    weight_decay=0.01,
    schedule="constant",
    ema_decay=0.9999,
    precision="bfloat16",
    checkpoint_every=5000,
    log_every=100,
)

EXPERIMENT = before.experiment(
    name="anomaly_counterfactual",
    summary="Lesions found with labels of whole images alone: what images would be were they healthy",
    data="phantom brains in T2, computed, half of them with a lesion; or labelled images",
    presets={"smoke": SMOKE, "small": SMALL, "full": FULL},
    load=_load,
    measure=_measure,
    stages=(
        *(_of_healthy(spec) for spec in shared.REFERENCES),
        StageSpec("classifier", _build_classifier),
        StageSpec("diffusion", _build),
    ),
    evaluate=_evaluate,
    apply=_apply,
    baseline="pca-128",
    examples=_examples,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
