"""A training step of a preset, by shape alone."""

import jax
import jax.numpy as jnp


def check_training_step(stage, raw, image, precision):
    """A batch ``raw`` is prepared to images of the shape, whose loss is one float32 number an example."""
    keys = jax.random.split(jax.random.key(0), 2)
    batch = jax.eval_shape(stage.prepare, keys, raw)
    assert batch["image"].shape == image
    params = jax.eval_shape(stage.model.init, jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(precision)), params)
    (objective,) = stage.model.objectives
    loss, _ = jax.eval_shape(objective.loss, params, keys, batch)
    assert loss.shape == (2,)
    assert loss.dtype == jnp.float32
