"""The small networks inside the layers of a flow; they start at zero, so that a layer starts as the identity."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params


class _Conditioner(nn.Module):
    out_channels: int
    width: int

    @nn.compact
    def __call__(self, x: Array, condition: Array | None) -> Array:
        if condition is not None and condition.ndim == x.ndim:
            x, condition = jnp.concatenate([x, condition.astype(x.dtype)], axis=-1), None
        h = layers.Conv(self.width)(x)
        if condition is not None:
            shift = layers.Dense(self.width)(condition)
            h = h + shift.reshape(shift.shape[0], *((1,) * (x.ndim - 2)), self.width)
        h = layers.Conv(self.width, width=1)(nn.silu(h))
        return layers.Conv(self.out_channels, kernel_init=nn.initializers.zeros)(nn.silu(h))


class _DenseConditioner(nn.Module):
    out_features: int
    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: Array, condition: Array | None) -> Array:
        h = x if condition is None else jnp.concatenate([x, condition.astype(x.dtype)], axis=-1)
        for width in self.widths:
            h = nn.silu(layers.Dense(width)(h))
        return layers.Dense(self.out_features, kernel_init=nn.initializers.zeros)(h)


def dense_conditioner(out_features: int, *, widths: Sequence[int] = (64, 64)) -> Net:
    """Multilayer perceptron with SiLU between its layers, whose last layer starts at zero.

    ``apply(params, x, condition=None)`` maps `x` ``[b, d]`` and a `condition` ``[b, e]``, concatenated, to
    ``[b, out_features]``. What is None at `init` must be None at `apply`.

    Args:
        out_features: width of the result.
        widths: of the hidden layers.

    Returns:
        A `Net`.

    Example:
        >>> import jax
        >>> net, x = dense_conditioner(3, widths=(8,)), jnp.ones((1, 2))
        >>> net.apply(net.init(jax.random.key(0), x), x).tolist()
        [[0.0, 0.0, 0.0]]
    """
    return _net(_DenseConditioner(out_features, tuple(widths)))


def conditioner(out_channels: int, *, width: int = 64) -> Net:
    """Three convolutions, of 3, 1 and 3 pixels, with SiLU between them; its spatial rank is that of its input.

    ``apply(params, x, condition=None)`` maps `x` ``[b, *spatial, c]`` to ``[b, *spatial, out_channels]``. A `condition`
    ``[b, e]`` is added to the hidden channels, one ``[b, *spatial, e]`` is concatenated with x. The last layer starts
    at zero, so that a coupling starts as the identity. What is None at `init` must be None at `apply`.

    Args:
        out_channels: channels of the result.
        width: hidden channels.

    Returns:
        A `Net`.

    Reference:
        Kingma & Dhariwal 2018, "Glow", arXiv 1807.03039, section 3.3 and table 1, for the form of the network.

    Example:
        >>> import jax
        >>> net, x = conditioner(4, width=8), jnp.ones((1, 6, 6, 2))
        >>> net.apply(net.init(jax.random.key(0), x), x).shape
        (1, 6, 6, 4)
    """
    return _net(_Conditioner(out_channels, width))


def _net(module: nn.Module) -> Net:
    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        return module.init(key, x, condition)["params"]

    def apply(params: Params, x: Array, condition: Array | None = None, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x, condition))

    return float32_answer(Net(init, apply))
