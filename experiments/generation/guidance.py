"""Class-conditional diffusion, steered by classifier-free guidance and by the gradient of a noisy classifier.

    jaxgen run guidance                                  # phantom brains of four classes, computed
    jaxgen run guidance --data brain_tumor_mri.npz       # labelled images: an npz, a folder of classes

A sweep over the scale shows what guidance buys (images that a classifier trained on real images recognises) and what it
costs (diversity). Ho & Salimans 2022, arXiv 2207.12598; Dhariwal & Nichol 2021, arXiv 2105.05233.
"""

import dataclasses

import numpy as np

from jaxgen import figures, headings, published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run
from jaxgen.figures.samples import fidelity_against_diversity
from jaxgen.metrics.best import highest
from jaxgen.tasks import features, generation, guided, images

Scales = tuple[float, ...]
WAYS = {"classifier-free": guided.classifier_free, "classifier": guided.by_classifier}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuidanceConfig(guided.GuidedConfig, features.FeatureConfig):
    scales: Scales = option((1.0, 2.0, 4.0), "scales of classifier-free guidance; 1 is none", ge=0, group="method")
    classifier_scales: Scales = option(
        (0.0, 1.0, 3.0, 8.0), "scales of classifier guidance, of the unconditional model", ge=0, group="method"
    )


def evaluate(run: Run) -> Evaluation:
    config, classes = run.config, run.facts.classes
    scales = {"classifier-free": config.scales, "classifier": config.classifier_scales}

    def sweep(n: int) -> dict[str, np.ndarray]:
        drawn: dict[str, np.ndarray] = {}
        for way, guidance in WAYS.items():
            draw = guided.drawing(run, guidance)
            drawn |= {f"{way} {scale:g}": draw(run.key, np.arange(n) % len(classes), scale) for scale in scales[way]}
        return drawn

    compared = generation.Comparison(run, sweep, gaussian=False)
    asked, first = np.arange(compared.real.count) % len(classes), f"classifier-free {config.scales[0]:g}"
    metrics = compared.of_classes(asked)
    best = highest({name: row["accuracy"] for name, row in metrics.items() if name.startswith("classifier-free")})
    before, after, truth = (metrics[name] for name in (first, best, "held-out images"))
    headline = (
        f"A classifier trained on real images takes {before['accuracy']:.0%} of unguided images for the asked class, "
        f"{after['accuracy']:.0%} with {best}, and {truth['accuracy']:.0%} of held-out real ones; their diversity is "
        f"{before['diversity']:.3g}, {after['diversity']:.3g} and {truth['diversity']:.3g}."
    )
    by_class = {name: compared.sets[first][asked == k][:8] for k, name in enumerate(classes[:8])}
    by_scale = {name: x[: 2 * len(classes)][:12] for name, x in compared.sets.items() if name != "held-out images"}
    shown = {
        "samples": figures.rows(by_class, f"Images of each class, {first} (no guidance where that is 1)."),
        "compared": figures.rows(by_scale, "The same noise and classes under growing guidance."),
        "curve": fidelity_against_diversity(metrics, scales),
    }
    return compared.evaluation(metrics=metrics, figures=shown, headline=headline, describe=headings.OF_CLASSES)


def sample(run: Run, n: int, label: np.ndarray | None = None) -> Evaluation:
    label = np.arange(n) % len(run.facts.classes) if label is None else label
    scale = run.config.scales[min(1, len(run.config.scales) - 1)]
    drawn = guided.drawing(run, guided.classifier_free)(run.key, label, scale)
    names = ", ".join(run.facts.classes[k] for k in dict.fromkeys(label.tolist()))
    caption = f"Images of the classes {names} in turn, classifier-free guidance {scale:g}."
    return generation.sampled(drawn, caption, label, run.facts.classes)


EXPERIMENT = generation.experiment(
    name="guidance",
    summary="Class-conditional diffusion: both guidances, and what a growing scale buys and costs",
    data="phantom brains of four classes, computed; or your labelled images",
    config=GuidanceConfig,
    presets={
        "small": {"samples": 128},
        "smoke": {"classifier_channels": (8,), "classifier_steps": 6, "scales": (1.0, 2.0)}
        | {"classifier_scales": (1.0,)},
        "full": published.DHARIWAL_64
        | {"path": "cosine", "prediction": "noise", "dropout": 0.1, "sampler": "ddpm", "sampler_steps": 250}
        | {"classifier_channels": (128, 256, 384, 512), "classifier_steps": 300_000}
        | {"scales": (1.0, 1.1, 1.3, 1.5, 2.0, 4.0), "classifier_scales": (0.0, 0.5, 1.0, 2.0, 4.0, 10.0)}
        | {"steps": 540_000, "batch_size": 2048, "learning_rate": 3e-4, "warmup_steps": 0, "schedule": "constant"},
    },
    load=images.load_labelled,
    stages=guided.STAGES,
    evaluate=evaluate,
    sample=sample,
    sample_flags={"label": None, "guidance": "scales", "sampler": "sampler", "steps": "sampler_steps"},
    baseline="classifier-free 1",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
