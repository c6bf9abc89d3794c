"""Continuous normalizing flows of images by maximum likelihood, compared in bits per dimension.

    jaxgen run cnf_images                                             # phantom brains at 28 pixels, computed
    jaxgen run cnf_images --data DATA                                 # your images, at 28 pixels
    jaxgen run cnf_images --training-solver dopri5 --solver-steps 2   # 12 evaluations per step instead of 8

One velocity is trained twice: by maximum likelihood, with Hutchinson's trace and the regularisation of RNODE, and by
flow matching, whose steps evaluate the network as often in all. Glow has about as many parameters, and as many steps as
flow matching. What is equal are parameters and evaluations; one of the CNF also takes a trace, and so costs more.

Grathwohl et al. 2019, "FFJORD", arXiv 1810.01367; Finlay et al. 2020, "How to train your neural ODE", arXiv 2002.02798.
"""

import dataclasses

import jax
import numpy as np

from jaxgen.app.cli import run_module
from jaxgen.config import option
from jaxgen.errors import UserError
from jaxgen.experiment import Evaluation, Metric, Run
from jaxgen.families import Costs, cnf_model, flow_model, glow
from jaxgen.metrics.sample_sets import joined
from jaxgen.tasks import features, flow_matching, generation, images, likelihood, networks
from jaxgen.types import Array, Key, Model, Params

EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "dopri5": 6}
"""Evaluations of the velocity that a step of a solver takes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNFImagesConfig(flow_matching.FlowMatchingConfig, features.FeatureConfig):
    training_solver: str = option("midpoint", "solver while training the CNF", choices=EVALUATIONS, group="method")
    solver_steps: int = option(4, "its steps", ge=1, le=1000, group="method")
    kinetic: float = option(0.01, "weight of the kinetic energy (RNODE)", ge=0, group="method")
    jacobian: float = option(0.01, "weight of the Jacobian's norm (RNODE)", ge=0, group="method")
    levels: int = option(2, "scales of Glow; each halves the resolution", ge=1, le=8, group="network")
    couplings: int = option(8, "its couplings per scale", ge=1, le=128, group="network")
    width: int = option(62, "hidden channels of its conditioners", ge=4, group="network")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2**self.levels:
            raise UserError(f"--size must be a multiple of {2**self.levels} with these --levels, got {self.size}")

    @property
    def equal_steps(self) -> int:
        """Steps that evaluate a network once, as many as the evaluations that train the CNF."""
        return self.steps * self.solver_steps * EVALUATIONS[self.training_solver]


def cnf(run: Run) -> Model:
    config, costs = run.config, Costs(run.config.kinetic, run.config.jacobian)
    training = {"solver": config.training_solver, "steps": config.solver_steps, "trace": "hutchinson"}
    return cnf_model(networks.network(run), images.image_shape(run), costs=costs, **training)


def make_glow(run: Run) -> Model:
    config, shape = run.config, images.image_shape(run)
    return flow_model(glow(shape, levels=config.levels, steps=config.couplings, width=config.width), shape)


MODELS = {"cnf": cnf, "flow matching": flow_matching.make_model, "glow": make_glow}
STAGES = {name: name.replace(" ", "_") for name in MODELS}


def draw(run: Run, key: Key, n: int, name: str = "cnf") -> np.ndarray:
    settings = run.config.solver if name == "cnf" else {}
    return generation.drawing(run, STAGES[name], MODELS[name](run))(key, n, **settings)


def density(run: Run, name: str) -> likelihood.Density:
    log_prob, settings = MODELS[name](run).log_prob, {} if name == "glow" else run.config.solver
    assert log_prob is not None

    def of_images(params: Params, keys: Key, x: Array) -> Array:
        return log_prob(params[STAGES[name]], keys, x, **settings)

    return of_images


def evaluate(run: Run) -> Evaluation:
    draw_key, data_key, probe_key, fit_key = jax.random.split(run.key, 4)
    compared = generation.Comparison(run, lambda n: {name: draw(run, draw_key, n, name) for name in MODELS})
    densities = {name: (density(run, name), jax.random.fold_in(probe_key, i)) for i, name in enumerate(MODELS)}
    bits = likelihood.compared_bits(run, run.params, densities, data_key, fit_key)
    sizes = {name: {"parameters": _count(run.params[stage])} for name, stage in STAGES.items()}
    evaluated = {name: {"training_evaluations": run.config.equal_steps} for name in MODELS}
    return compared.evaluation(
        caption="Images drawn by the CNF.",
        metrics=joined(bits, sizes, evaluated),
        headline=f"{likelihood.sentence(bits, 'cnf')} {compared.headline('cnf')}",
        describe={**likelihood.DESCRIBE, **DESCRIBE},
    )


def _count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


DESCRIBE = {
    "parameters": Metric("Parameters", "", "that were trained"),
    "training_evaluations": Metric("Training evaluations", "", "of the network in training, per place in a batch"),
}
EXPERIMENT = generation.experiment(
    name="cnf_images",
    summary="Continuous normalizing flows of images by likelihood, compared with flow matching, Glow and a Gaussian",
    data="phantom brains at 28 pixels, computed; or your images",
    config=CNFImagesConfig,
    presets={
        "small": {"data": "brain_phantom/28", "size": 28, "channels": (16, 32), "attention": None}
        | {"samples": 128, "feature_steps": 300}
        | {"steps": 600},
        "smoke": {"channels": (8,), "levels": 1, "couplings": 2, "width": 8, "likelihood_images": 3}
        | {"solver_steps": 1, "tolerance": 0.1}
        | {"steps": 4, "checkpoint_every": 4},
        "full": {"size": 32, "channels": (64, 128, 128), "blocks": 2, "attention": None, "patch": 1}
        | {"levels": 3, "couplings": 16, "width": 292}
        | {"training_solver": "dopri5", "solver_steps": 4}
        | {"steps": 100_000, "batch_size": 200, "learning_rate": 1e-3, "precision": "float32"},
    },
    defaults=likelihood.FLOW_DEFAULTS,
    stages=(
        images.stage("cnf", cnf, prepare=likelihood.prepare_dequantised),
        images.stage(
            "flow_matching", MODELS["flow matching"], steps="equal_steps", prepare=likelihood.prepare_dequantised
        ),
        images.stage("glow", make_glow, steps="equal_steps", prepare=likelihood.prepare_dequantised),
    ),
    evaluate=evaluate,
    draw=draw,
    caption="Images drawn by the CNF.",
)

if __name__ == "__main__":
    raise SystemExit(run_module(EXPERIMENT))
