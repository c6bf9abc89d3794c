"""The residual-in-residual dense encoder that SegDiff and FlowSDF read their image with."""

from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params


def _leaky(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


class _DenseBlock(nn.Module):
    width: int
    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        seen = [x]
        for _ in range(4):
            seen.append(_leaky(layers.Conv(self.growth)(jnp.concatenate(seen, axis=-1))))
        return x + 0.2 * layers.Conv(self.width)(jnp.concatenate(seen, axis=-1))


class _ResidualDense(nn.Module):
    width: int
    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x
        for _ in range(3):
            h = _DenseBlock(self.width, self.growth)(h)
        return x + 0.2 * h


class _RRDB(nn.Module):
    out_channels: int
    width: int
    blocks: int
    growth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first = layers.Conv(self.width)(x)

        def body(block: nn.Module, h: Array, _: None) -> tuple[Array, None]:
            return block(h), None

        # Equal blocks, scanned: one is compiled, not `blocks`.
        stack = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.blocks)
        h, _ = stack(_ResidualDense(self.width, self.growth), first, None)
        h = first + layers.Conv(self.width)(h)
        h = _leaky(layers.Conv(self.width)(h))
        return layers.Conv(self.out_channels)(h)


def rrdb_encoder(out_channels: int, *, width: int = 64, blocks: int = 12, growth: int = 32) -> Net:
    """Encoder of residual-in-residual dense blocks at full resolution; ``apply(params, x)`` keeps the spatial shape.

    A convolution to `width` channels, `blocks` residual groups of three dense blocks of five convolutions (growth
    `growth`, residual scale 0.2), a trunk convolution with a long skip, and two more convolutions.

    Args:
        out_channels: channels of the result, those of the U-Net's first level where it is added to its features.
        width: channels of the trunk.
        blocks: number of residual groups.
        growth: channels that each convolution of a dense block adds.

    Returns:
        A `Net` from ``[b, *spatial, c]`` to ``[b, *spatial, out_channels]``.

    Reference:
        Wang et al. 2018, "ESRGAN", arXiv 1809.00219, section 3.1; as image encoder Amit et al. 2021, "SegDiff",
        arXiv 2112.00390.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = rrdb_encoder(8, width=4, blocks=2, growth=2)
        >>> x = jnp.zeros((1, 8, 8, 3))
        >>> params = jax.jit(net.init)(jax.random.key(0), x)
        >>> jax.jit(net.apply)(params, x).shape
        (1, 8, 8, 8)
    """
    module = _RRDB(out_channels, width, blocks, growth)

    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))
