"""What a training step needs in memory, by the account of its compiled program."""

from collections.abc import Mapping
from typing import Any

import jax

from jaxgen.train.stage import Stage
from jaxgen.train.state import init_state
from jaxgen.train.step import make_train_step


def step_memory(stage: Stage, batch: Mapping[str, Any], *, precision: str = "float32") -> float:
    """Bytes that a compiled training step holds at once: the state, the batch, what is computed on the way.

    Nothing is run, and no array of these sizes is made.

    Args:
        stage: the stage; its ``prepare`` is left out.
        batch: arrays as the loss gets them, or `jax.ShapeDtypeStruct` of these shapes.
        precision: as of `jaxgen.train.make_train_step`.

    Returns:
        Arguments, results and temporaries, less the results that take the place of arguments; NaN where the compiler
        gives no account.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from jaxgen.types import Model, Objective
        >>> loss = lambda params, key, batch: ((batch["image"] @ params["net"]) ** 2, {})
        >>> model = Model(lambda key, batch: {"net": jnp.ones(3)}, (Objective("net", loss),), lambda *_: None)
        >>> stage = Stage("line", model, {"net": optax.sgd(0.1)}, 1)
        >>> few, many = (step_memory(stage, {"image": jax.ShapeDtypeStruct((n, 3), jnp.float32)}) for n in (4, 400))
        >>> many - few >= 396 * 3 * 4
        True
    """
    state = jax.eval_shape(lambda batch: init_state(stage.model, stage.optimizers, jax.random.key(0), batch), batch)
    step = make_train_step(stage.model, stage.optimizers, ema_decay=0.99, precision=precision)
    held = jax.jit(step, donate_argnums=0).lower(state, batch).compile().memory_analysis()
    if held is None:
        return float("nan")
    taken = held.argument_size_in_bytes + held.output_size_in_bytes + held.temp_size_in_bytes
    return float(taken - held.alias_size_in_bytes)
