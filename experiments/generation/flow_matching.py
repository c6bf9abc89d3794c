"""Flow matching of images, and what makes it fast: couplings, reflow and MeanFlow, from one evaluation to fifty.

    jaxgen run flow_matching                                          # phantom brains, computed
    jaxgen run flow_matching --data DATA --method reflow              # your images; compared with 2-rectified flow
    jaxgen run flow_matching --coupling optimal_transport --sampler heun --sampler-steps 20

Lipman et al. 2023, arXiv 2210.02747; couplings of Tong et al. 2024, arXiv 2302.00482; reflow of Liu et al. 2023, arXiv
2209.03003; MeanFlow of Geng et al. 2025, arXiv 2505.13447. The likelihood is exact up to the trace's random probes.
"""

import dataclasses
from typing import Literal

import jax
import numpy as np

from jaxgen import published
from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.experiment import Evaluation, Run
from jaxgen.families import mean_flow_model, reflow_model
from jaxgen.figures.samples import frechet_by_steps
from jaxgen.metrics.sample_sets import joined
from jaxgen.nets import interval
from jaxgen.samplers import euler, grids, heun
from jaxgen.samplers.few_steps import equal_steps
from jaxgen.tasks import features, flow_matching, generation, images, likelihood, networks
from jaxgen.tasks.flow_matching import PATH
from jaxgen.types import Key, Model

FEW = (1, 2, 4, 10)
"""Evaluations at which the few-step model and Euler's method are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowMatchingConfig(flow_matching.FlowMatchingConfig, features.FeatureConfig):
    method: Literal["mean_flow", "reflow"] = option("mean_flow", "how the few-step model is trained", group="method")
    few_steps: int = option(800, "its training steps", ge=1, group="method")
    teacher_steps: int = option(5, "Heun steps that draw an image to learn from (reflow)", ge=1, group="method")

    @property
    def few(self) -> str:
        """The few-step model's name in tables."""
        return self.method.replace("_", " ")


def few_step_model(run: Run) -> Model:
    """MeanFlow, or a flow trained on the images that the first one draws from each noise."""
    net, one, shape = networks.network(run), grids.uniform(PATH, 1), images.image_shape(run)
    if run.config.method == "mean_flow":
        return mean_flow_model(interval(net), PATH, shape, one, coupling=flow_matching.make_coupling(run))
    many, teacher = grids.uniform(PATH, run.config.teacher_steps), run.params["flow"]["net"]
    return reflow_model(net, PATH, shape, euler(PATH), one, teacher, heun(PATH), many)


def draw(run: Run, key: Key, n: int) -> np.ndarray:
    model, params = flow_matching.make_model(run), run.params["flow"]
    return images.draw_in_chunks(run, jax.jit(lambda keys: model.sample(params, keys, len(keys))), key, n)


def draw_all(run: Run, key: Key, n: int) -> dict[str, np.ndarray]:
    """By the solver of the configuration, then in a few steps of Euler's method and of the few-step model."""
    net, mean_flow = networks.network(run), run.config.method == "mean_flow"
    shape, chunk = images.image_shape(run), run.config.chunk
    by_euler = equal_steps(net, shape, chunk)
    by_few = equal_steps(interval(net), shape, chunk, mean_flow=True) if mean_flow else by_euler
    sets = {"flow matching": draw(run, key, n)}
    for steps in FEW:
        sets[f"Euler, {steps}"] = by_euler(run.params["flow"]["net"], key, n, steps)
        sets[f"{run.config.few}, {steps}"] = by_few(run.params["few_steps"]["net"], key, n, steps)
    return sets


def evaluate(run: Run) -> Evaluation:
    draw_key, bits_key, straight_key = jax.random.split(run.key, 3)
    data_key, probe_key, fit_key = jax.random.split(bits_key, 3)
    compared = generation.Comparison(run, lambda n: draw_all(run, draw_key, n))
    densities = {"flow matching": (flow_matching.log_density(run), probe_key)}
    bits = likelihood.compared_bits(run, run.params["flow"], densities, data_key, fit_key)
    few = run.config.few
    stages = {"flow matching": "flow"} | ({f"{few}, 1": "few_steps"} if few == "reflow" else {})
    straight = flow_matching.departures_from_straight(run, networks.network(run), stages, straight_key)
    one = {name: compared.metrics[f"{name}, 1"]["frechet"] for name in ("Euler", few)}
    headline = (
        f"{compared.headline('flow matching')} With one evaluation {one['Euler']:.3g} by Euler, {one[few]:.3g} by "
        f"{few}. {likelihood.sentence(bits, 'flow matching')}"
    )
    return compared.evaluation(
        metrics=joined(bits, straight),
        figures={"few_steps": frechet_by_steps(compared.metrics, ("Euler", few), FEW)},
        headline=headline,
        describe={**likelihood.DESCRIBE, **flow_matching.DESCRIBE},
    )


EXPERIMENT = generation.experiment(
    name="flow_matching",
    summary="Flow matching of images from one evaluation to fifty, with reflow or MeanFlow, and its likelihood",
    data="phantom brains, computed; or your images",
    config=FlowMatchingConfig,
    presets={
        "small": {"steps": 1500},
        "smoke": {"few_steps": 4, "channels": (8,), "attention": None, "teacher_steps": 2, "likelihood_images": 3}
        | {"tolerance": 0.1, "feature_steps": 4}
        | {"steps": 4, "checkpoint_every": 4},
        "full": published.DHARIWAL_64
        | {"dropout": 0.1, "few_steps": 200_000}
        | {"steps": 500_000, "batch_size": 2048, "learning_rate": 1e-4, "warmup_steps": 10_000},
    },
    defaults=likelihood.FLOW_DEFAULTS,
    stages=(
        images.stage("flow", flow_matching.make_model, prepare=likelihood.prepare_dequantised),
        images.stage("few_steps", few_step_model, steps="few_steps", prepare=likelihood.prepare_dequantised),
    ),
    evaluate=evaluate,
    draw=draw,
    caption="Images drawn by flow matching.",
    sample_flags={"sampler": "sampler", "steps": "sampler_steps"},
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
