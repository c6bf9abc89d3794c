"""What a training run carries from step to step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgen.types import Array, Batch, Key, Model, Params


class TrainState(NamedTuple):
    """The state of a training run; all of it, so that a run continues from it bit for bit.

    Attributes:
        step: updates made so far, an int32 scalar.
        params: the parameters, a dict of groups.
        ema: the running average of all groups.
        opt_state: the optimizers' states, a dict by group.
        key: the typed key from which the key of every step is folded.
    """

    step: Array
    params: Params
    ema: Params
    opt_state: dict[str, Any]
    key: Key


def run_once() -> dict[str, int] | None:
    """Options of `jax.jit` for a program that runs once: on CPU, optimising it takes longest.

    Example:
        >>> float(jax.jit(lambda x: x + 1, compiler_options=run_once())(1.0))
        2.0
    """
    return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def init_state(
    model: Model, optimizers: Mapping[str, optax.GradientTransformation], key: Key, batch: Batch
) -> TrainState:
    """The state before the first step.

    Args:
        model: the model.
        optimizers: one for each group that an objective of the model trains.
        key: a typed PRNG key.
        batch: one batch as the losses get it, already prepared; models may initialise from its values.

    Returns:
        The state; its average starts as a copy of the parameters.

    Raises:
        ValueError: if a group that an objective trains has no parameters or no optimizer, or an optimizer no group.

    Example:
        >>> model = Model(lambda key, batch: {"net": jnp.zeros(2)}, (), lambda params, key, n: jnp.zeros((n, 2)))
        >>> state = init_state(model, {"net": optax.sgd(0.1)}, jax.random.key(0), {})
        >>> int(state.step), state.params["net"].shape
        (0, (2,))
    """
    init_key, train_key = jax.random.split(key)
    params = model.init(init_key, batch)
    for objective in model.objectives:
        for what, groups in (("parameters", params), ("optimizer", optimizers)):
            for name in objective.groups:
                if name not in groups:
                    raise ValueError(f"an objective trains {name!r}, which has no {what}: {sorted(groups)}")
    for group in optimizers:
        if group not in params:
            raise ValueError(f"an optimizer is given for {group!r}, which has no parameters: {sorted(params)}")
    opt_state = {group: optimizer.init(params[group]) for group, optimizer in optimizers.items()}
    return TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), opt_state, train_key)
