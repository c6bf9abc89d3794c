"""Weakly supervised counterfactuals: labels say which images are ill, and diffusion says where.

    jaxgen run anomaly_counterfactual                           # phantom brains, half of them with a lesion
    jaxgen run anomaly_counterfactual --levels 0.3 --scales 2   # how far up, and how hard to guide
    jaxgen run anomaly_counterfactual --noise white --highest 1 --levels 0.75   # as published
    jaxgen run anomaly_counterfactual --data brain_tumor_mri_128.npz

One class-conditional network. An image is encoded into noise by DDIM and decoded as healthy: guided by a classifier of
noisy images (Wolleb et al. 2022), without a classifier from the null label with dynamic normalisation (Sanchez et al.
2022), or simply decoded under the other label (DDIB, Su et al. 2023). What has changed is the lesion. The noise is
coarse: white noise drowns the finest detail first, so that a lesion outlives the levels at which a label could decide.
"""

import dataclasses
import functools
from typing import Any

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run
from jaxgen.losses.times import times_up_to
from jaxgen.medical import anomaly as translation
from jaxgen.samplers import clip
from jaxgen.tasks import anomaly, diffusion
from jaxgen.tasks.anomaly import counterfactual, labelled, noisy_classifier
from jaxgen.types import Model

OURS = "classifier-free guidance"
Scales = tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnomalyCounterfactualConfig(counterfactual.CounterfactualConfig):
    drop_label: float = option(0.3, "share of labels that training leaves out", ge=0, le=1, group="method")
    classifier_scales: Scales = option((3.0, 10.0, 30.0), "scales of classifier guidance", ge=0, group="sampling")
    scales: Scales = option((2.0, 4.0, 8.0), "scales of guidance without one; 1 is none", ge=0, group="sampling")


def model(run: Run) -> Model:
    config, time = run.config, times_up_to(run.config.highest)
    noise = translation.make_coarse_noise(config.cells) if config.noise == "coarse" else None
    return diffusion.make_model(run, classes=2, drop_label=config.drop_label, noise=noise, time=time)


def methods(run: Run) -> list[anomaly.Method]:
    config, path = run.config, diffusion.make_path(run.config)
    covariance = translation.coarse_covariance(config.cells) if config.noise == "coarse" else None
    made = functools.partial(counterfactual.counterfactual, run)

    def wolleb(nets: translation.LabelledNetworks, scale: float) -> translation.Pair:
        return translation.classifier_pair(path, nets.denoise_any, nets.log_healthy, scale, covariance=covariance)

    def sanchez(nets: translation.LabelledNetworks, scale: float, **options: Any) -> translation.Pair:
        return translation.classifier_free_pair(nets.denoise, nets.healthy, nets.null, scale, **options)

    return [
        noisy_classifier.saliency_method(run),
        made("classifier guidance", wolleb, config.classifier_scales),
        made(OURS, sanchez, config.scales),
        made("classifier-free, clipped", functools.partial(sanchez, normalise=clip), config.scales),
        made("bridge of labels", lambda nets, _: translation.label_pair(nets.denoise, nets.ill, nets.healthy)),
        made("no guidance", lambda nets, _: translation.label_pair(nets.denoise, nets.null, nets.null)),
    ]


def evaluate(run: Run) -> Evaluation:
    compared = anomaly.Comparison(run, methods(run), bench=labelled.make_bench(run), tuned_on=run.config.tuned_on)
    return counterfactual.evaluation(compared, OURS)


EXPERIMENT = anomaly.experiment(
    name="anomaly_counterfactual",
    summary="Lesions found with labels of whole images alone: what images would be were they healthy",
    data="phantom brains in T2, computed, half of them with a lesion; or labelled images",
    config=AnomalyCounterfactualConfig,
    presets={
        "smoke": {"levels": (0.2,), "scales": (2.0, 4.0), "classifier_scales": (10.0,)},
        "small": {"classifier_steps": 8000, "classifier_rate": 3e-3, "classifier_batches": 4}
        | {"classifier_power": 3.0, "classifier_patch": 2, "lesions": 50, "chosen_on": 50}
        | {"sampler_steps": 10}
        | {"steps": 1500},
        "full": {"channels": (64, 128, 192, 256), "blocks": 2, "attention": (1, 2, 3), "head_width": 64}
        | {"dropout": 0.1, "drop_label": 0.35, "classifier_channels": (32, 64, 64, 128)}
        | {"classifier_steps": 20_000, "classifier_rate": 1e-4, "noise": "white", "highest": 1.0}
        | {"levels": (0.75,), "sampler_steps": 75, "classifier_scales": (100.0,), "scales": (3.0,)}
        | {"steps": 50_000, "batch_size": 64, "weight_decay": 0.01},
    },
    stages=[noisy_classifier.STAGE, anomaly.stage("diffusion", model)],
    evaluate=evaluate,
    methods=methods,
    applied=OURS,
    **labelled.EXPERIMENT,
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
