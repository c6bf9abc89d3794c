"""Multilayer perceptrons."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.nets.embedding import sinusoidal
from jaxgen.types import Array, Key, Net, Params


class _MLP(nn.Module):
    out_features: int
    widths: Sequence[int]
    time_features: int
    time_scale: float

    @nn.compact
    def __call__(self, x: Array, t: Array | None, condition: Array | None) -> Array:
        inputs = [x]
        if t is not None:
            t = jnp.broadcast_to(jnp.asarray(t, jnp.float32), x.shape[:1])
            inputs.append(sinusoidal(t, self.time_features, scale=self.time_scale).astype(x.dtype))
        if condition is not None:
            inputs.append(condition.astype(x.dtype))
        h = jnp.concatenate(inputs, axis=-1)
        for width in self.widths:
            h = nn.silu(layers.Dense(width)(h))
        return layers.Dense(self.out_features)(h)


def mlp(
    out_features: int, *, widths: Sequence[int] = (128, 128, 128), time_features: int = 32, time_scale: float = 1000.0
) -> Net:
    """Multilayer perceptron with SiLU between its layers, for vectors and point sets.

    ``apply(params, x, t=None, condition=None)`` maps `x` ``[b, d]``, a time `t` ``[b]`` or scalar and a `condition`
    ``[b, e]``, concatenated, to ``[b, out_features]``. What is None at `init` must be None at `apply`.

    Args:
        out_features: width of the result.
        widths: of the hidden layers.
        time_features: number of sinusoidal features of `t`, even.
        time_scale: their highest frequency. A solver that takes long steps, or a loss that holds the rate in time, asks
            for a small one: a velocity learnt at a few times alone is anything between them at 1000.

    Returns:
        A `Net`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = mlp(2, widths=(16,))
        >>> x, t = jnp.zeros((5, 2)), jnp.zeros((5,))
        >>> net.apply(net.init(jax.random.key(0), x, t), x, t).shape
        (5, 2)
    """
    module = _MLP(out_features, tuple(widths), time_features, time_scale)

    def init(key: Key, x: Array, t: Array | None = None, condition: Array | None = None) -> Params:
        return module.init(key, x, t, condition)["params"]

    def apply(
        params: Params, x: Array, t: Array | None = None, condition: Array | None = None, *, key: Key | None = None
    ) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x, t, condition))

    return float32_answer(Net(init, apply))
