"""The work that is measured: the stages of ``flow_sdf`` and ``ddpm``, preset ``small``, as a run trains them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.generation import ddpm
from experiments.segmentation import flow_sdf
from jaxgen.experiment import Run
from jaxgen.tasks.images import ImageFacts
from jaxgen.tasks.segmentation.data import SegmentationFacts
from jaxgen.train import Stage, init_state, make_train_step
from jaxgen.train.state import run_once
from jaxgen.types import Batch

STAGES = ("unet", "flow_sdf")
FACTS = SegmentationFacts(image_channels=1, raters=1)


def small(*, quick: bool) -> flow_sdf.FlowSDFConfig:
    """The preset; smaller tiles and ensembles if `quick`."""
    preset = flow_sdf.EXPERIMENT.presets["small"]
    return dataclasses.replace(preset, size=32, members=2, ode_steps=2) if quick else preset


def make_stage(config: flow_sdf.FlowSDFConfig, name: str) -> Stage:
    """A stage of the experiment."""
    (spec,) = (spec for spec in flow_sdf.EXPERIMENT.stages if spec.name == name)
    return spec.build(Run(config, FACTS))


def make_batch(config: flow_sdf.FlowSDFConfig, count: int, seed: int = 0) -> Batch:
    """Images and maps in the shape and range of prepared ones; their values do not matter for time."""
    rng = np.random.default_rng(seed)
    shape = (count, config.size, config.size, 1)
    image, distance = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)
    return {"image": jnp.asarray(image, jnp.float32), "distance": jnp.asarray(distance, jnp.float32)}


def stir(tree: Any, seed: int = 1) -> Any:
    """Parameters with noise added: what starts at zero would hide a mistake and make arithmetic cheap."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return structure.unflatten([x + 0.02 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves])


class Trainer(NamedTuple):
    """A compiled train step and its first state; the state it is called with is given up."""

    step: Any
    state: Any
    batch: Batch


def trainer(config: flow_sdf.FlowSDFConfig, name: str, *, prepare: bool = False, donate: bool = True) -> Trainer:
    """The train step of a stage, with or without augmentation."""
    return _trainer(make_stage(config, name), make_batch(config, config.batch_size), config.ema_decay, prepare, donate)


def diffusion_trainer(*, quick: bool) -> Trainer:
    """The train step of ``ddpm --preset small``, or of its smoke preset if `quick`."""
    config = ddpm.EXPERIMENT.presets["smoke" if quick else "small"]
    facts = ImageFacts(value_range=((0.0,), (1.0,)), image_channels=1)
    stage = ddpm.EXPERIMENT.stages[-1].build(Run(config, facts))
    shape = (config.batch_size, config.size, config.size, 1)
    image = np.random.default_rng(0).uniform(-1, 1, shape)
    return _trainer(stage, {"image": jnp.asarray(image, jnp.float32)}, config.ema_decay, False, True)


def _trainer(stage: Stage, batch: Batch, ema_decay: float, prepare: bool, donate: bool) -> Trainer:
    step = make_train_step(
        stage.model, stage.optimizers, ema_decay=ema_decay, prepare=stage.prepare if prepare else None
    )
    init = jax.jit(
        lambda batch: init_state(stage.model, stage.optimizers, jax.random.key(0), batch), compiler_options=run_once()
    )
    state = init(batch)
    params = stir(state.params)
    state = state._replace(params=params, ema=jax.tree.map(jnp.copy, params))
    return Trainer(jax.jit(step, donate_argnums=(0,) if donate else ()), state, batch)


def count_parameters(params: Any) -> int:
    """How many numbers there are to learn."""
    return sum(x.size for x in jax.tree.leaves(params))
