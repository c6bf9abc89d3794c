"""Masked multilayer perceptrons, whose outputs depend on the inputs before them alone."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import layers, ops
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params


class _MaskedDense(nn.Module):
    mask: np.ndarray
    kernel_init: nn.initializers.Initializer = layers.default_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, self.mask.shape)
        bias = self.param("bias", nn.initializers.zeros, (self.mask.shape[1],))
        return ops.dense(x, kernel * self.mask.astype(kernel.dtype), bias)


class _MaskedMLP(nn.Module):
    features: int
    parameters: int
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Array, condition: Array | None) -> Array:
        d, known = self.features, 0 if condition is None else condition.shape[-1]
        # A degree counts how many numbers a unit may see; what sees none but the condition needs units of degree 0.
        lowest = 1 if condition is None else 0
        degrees = np.concatenate([np.arange(1, d + 1), np.zeros(known, int)])
        h = x if condition is None else jnp.concatenate([x, condition.astype(x.dtype)], axis=-1)
        for width in self.widths:
            inner = lowest + np.arange(width) % max(1, d - lowest)
            h = nn.silu(_MaskedDense(degrees[:, None] <= inner)(h))
            degrees = inner
        outer = np.tile(np.arange(1, d + 1), self.parameters)
        return _MaskedDense(degrees[:, None] < outer, nn.initializers.zeros)(h)


def masked_mlp(features: int, parameters: int, *, widths: Sequence[int] = (64, 64)) -> Net:
    """Perceptron that answers for number i of a vector from the numbers before it: a conditioner of autoregressions.

    ``apply(params, x, condition=None)`` maps `x` ``[b, features]`` and a `condition` ``[b, e]``, which all answers may
    depend on, to ``[b, parameters * features]``, the first parameter of every number first. The last layer starts at
    zero. What is None at `init` must be None at `apply`.

    Args:
        features: numbers in a vector.
        parameters: answers a number.
        widths: of the hidden layers, at least one.

    Returns:
        A `Net`.

    Reference:
        Germain, Gregor, Murray & Larochelle 2015, "MADE: masked autoencoder for distribution estimation", eq. 8 and 9.

    Example:
        >>> import jax
        >>> net, x = masked_mlp(3, 2, widths=(8,)), jnp.ones((1, 3))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (1, 6)
    """
    module = _MaskedMLP(features, parameters, tuple(widths))

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        return module.init(key, x, condition)["params"]

    def apply(params: Params, x: Array, condition: Array | None = None, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x, condition))

    return float32_answer(Net(init, apply))
