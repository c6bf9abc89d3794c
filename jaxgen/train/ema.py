"""Running averages of parameters."""

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Params


def decay_at(step: Array, decay: float) -> Array:
    """The decay in use at a step: small at first, so that the initial weights are soon forgotten.

    ``min(decay, (1 + step) / (10 + step))``

    Args:
        step: updates made so far, a scalar.
        decay: the decay in the long run, in [0, 1).

    Returns:
        A float32 scalar.

    Example:
        >>> [round(float(decay_at(step, 0.999)), 3) for step in (0, 90, 100_000)]
        [0.1, 0.91, 0.999]
    """
    step = jnp.asarray(step, jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


def update_ema(ema: Params, params: Params, step: Array, decay: float) -> Params:
    """Move an exponential moving average towards the parameters.

    ``ema <- ema + (1 - decay_at(step)) (params - ema)``; leaves that are not floating point are copied.

    Args:
        ema: the average so far, a tree like `params`.
        params: the parameters after the update.
        step: updates made before this one, a scalar.
        decay: the decay in the long run, in [0, 1).

    Returns:
        The new average.

    Example:
        >>> update_ema({"w": jnp.zeros(2)}, {"w": jnp.ones(2)}, jnp.int32(0), 0.999)["w"].tolist()
        [0.8999999761581421, 0.8999999761581421]
    """
    rate = 1 - decay_at(step, decay)

    def move(average: Array, value: Array) -> Array:
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return average + (rate * (value - average)).astype(average.dtype)

    return jax.tree.map(move, ema, params)
