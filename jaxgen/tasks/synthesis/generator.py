"""The generator: diffusion that is told findings and group, trained on labelled images and on those without labels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import figures
from jaxgen.data import ArraySource, Subset
from jaxgen.experiment import Evaluation, Run, StageSpec
from jaxgen.families import Attributes, attribute_diffusion_model
from jaxgen.metrics.sample_sets import cut
from jaxgen.samplers import Sampling, grids
from jaxgen.samplers.catalogue import SAMPLERS
from jaxgen.tasks import diffusion, images
from jaxgen.tasks.networks import network
from jaxgen.tasks.synthesis.sets import Known, known, labelled, told
from jaxgen.types import Array, Key, Model, Params


def make_model(run: Run) -> Model:
    """The diffusion model of images that is told findings and group."""
    config, facts, path = run.config, run.facts, diffusion.make_path(run.config)
    parts = (len(facts.classes), *((len(facts.groups),) if facts.groups else ()))
    grid = grids.uniform(path, config.sampler_steps)
    return attribute_diffusion_model(
        network(run, vector_layers=2),
        images.image_shape(run),
        Sampling(path, SAMPLERS[config.sampler].step(path), grid, config.prediction),
        Attributes(parts, config.drop_part),
        weight=diffusion.loss_weight(config, path),
    )


def _source(run: Run, one: Known) -> dict[str, np.ndarray]:
    return {"image": one.image, "told": told(run, one.findings, one.group)}


def alone(run: Run) -> ArraySource:
    """The labelled images alone."""
    return ArraySource(_source(run, known(run, Subset(run.splits.train, labelled(run)), np.uint8)))


def with_pool(run: Run) -> ArraySource:
    """The labelled images, repeated until they are a half, and all others, whose findings are hidden.

    The group of an image, the hospital or the camera, stays known.
    """
    few = labelled(run)
    rest = np.setdiff1d(np.arange(len(run.splits.train)), few)
    if not len(rest):
        return alone(run)
    pool = known(run, Subset(run.splits.train, rest), np.uint8)
    hidden = _source(run, pool._replace(findings=np.zeros_like(pool.findings)))
    ours = alone(run).arrays
    again = np.resize(np.arange(len(few)), max(len(few), len(rest)))
    return ArraySource({name: np.concatenate([ours[name][again], hidden[name]]) for name in hidden})


STAGES: tuple[StageSpec, ...] = (
    images.stage("few", make_model, wanted=lambda config: getattr(config, "few", False))._replace(examples=alone),
    images.stage("generator", make_model),
)
"""A generator of the labelled images alone, where it is wanted, and the generator."""


SAMPLE_FLAGS = {"guidance": "guidance", "sampler": "sampler", "steps": "sampler_steps"}
"""What ``jaxgen sample`` may change."""


def drawing(run: Run, stage: str = "generator") -> Callable[..., np.ndarray]:
    """Draw images.

    Returns:
        ``draw(key, told [n, k], guidance=None) -> [n, h, w, c]`` in [-1, 1]; the scale is that of the configuration
        unless given.
    """
    model = make_model(run)

    @jax.jit
    def some(params: Params, scale: Array, keys: Key, asked: Array) -> Array:
        return cut(model.sample(params, keys, len(keys), asked, scale))

    def draw(key: Key, asked: np.ndarray, guidance: float | None = None) -> np.ndarray:
        scale = jnp.float32(run.config.guidance if guidance is None else guidance)
        chunk: Any = partial(some, run.params[stage], scale)
        return images.draw_in_chunks(run, chunk, key, len(asked), asked)

    return draw


def sample(run: Run, n: int) -> Evaluation:
    """What ``jaxgen sample`` draws: findings and groups as in the training images."""
    one = known(run, Subset(run.splits.train, labelled(run)))
    chosen = np.asarray(jax.random.randint(jax.random.fold_in(run.key, 1), (n,), 0, len(one.image)))
    drawn = drawing(run)(run.key, told(run, one.findings[chosen], one.group[chosen]))
    arrays = {"images": drawn, "findings": one.findings[chosen], "finding_names": np.array(run.facts.classes)}
    if run.facts.groups:
        arrays["group"] = np.array(run.facts.groups)[one.group[chosen]]
    shown = {"samples": figures.grid(drawn[:64], "Images drawn, with findings as in the training images.")}
    return Evaluation({"images": n}, shown, f"{n} images", arrays=arrays, images=("images",))
