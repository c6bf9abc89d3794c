"""What a training step needs in memory: by the account of its compiled program, or estimated from its trace."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jaxgen.live_memory import peak_bytes
from jaxgen.train.stage import Stage
from jaxgen.train.state import TrainState, init_state
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


class StepMemory(NamedTuple):
    """Bytes that a training step holds on one device.

    Attributes:
        state: parameters, their average, the optimizer's state.
        batch: the examples, as the feed hands them over.
        temporary: activations, gradients and all else that is computed on the way, where most of it is held.
    """

    state: float
    batch: float
    temporary: float

    @property
    def total(self) -> float:
        """All together."""
        return self.state + self.batch + self.temporary


def estimated_memory(
    stage: Stage, state: TrainState, batch: Mapping[str, Any], *, precision: str = "float32"
) -> StepMemory:
    """`StepMemory` of a step, estimated from its trace in seconds: nothing is compiled (`jaxgen.live_memory`).

    The objectives of a game are added up, for a compiler computes them side by side where it can.

    Args:
        stage: the stage.
        state: its state, or the shapes.
        batch: one batch as the feed hands it over, or the shapes.
        precision: as of `jaxgen.train.make_train_step`.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from jaxgen.types import Model, Objective
        >>> loss = lambda params, key, batch: ((batch["image"] @ params["net"]) ** 2, {})
        >>> model = Model(lambda key, batch: {"net": jnp.ones(3)}, (Objective("net", loss),), lambda *_: None)
        >>> stage, batch = Stage("line", model, {"net": optax.sgd(0.1)}, 1), {"image": jnp.ones((4, 3))}
        >>> found = estimated_memory(stage, init_state(model, stage.optimizers, jax.random.key(0), batch), batch)
        >>> found.state, found.batch, found.temporary > 0
        (24.0, 48.0, True)
    """
    temporary = 0.0
    for objective in stage.model.objectives:
        step = make_train_step(
            stage.model._replace(objectives=(objective,)),
            stage.optimizers,
            ema_decay=0.99,
            prepare=stage.prepare,
            precision=precision,
        )
        temporary += peak_bytes(step, state, batch)
    arrays = (state.params, state.ema, state.opt_state)
    return StepMemory(_nbytes(arrays), _nbytes(dict(batch)), temporary)


def _nbytes(tree: Any) -> float:
    return float(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))
