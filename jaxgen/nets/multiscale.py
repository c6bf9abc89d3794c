"""A critic that answers with its features at every scale."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.fixup import SLOPE, he_init
from jaxgen.types import Array, Key, Net, Params


class _Multiscale(nn.Module):
    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, ...]:
        found = [x]
        for width in self.channels:
            h = layers.Conv(width, width=4, stride=2, padding=(1, 1), kernel_init=he_init())(found[-1])
            found.append(nn.leaky_relu(h, SLOPE))
        return tuple(h.astype(jnp.float32) for h in found)


def multiscale_critic(channels: Sequence[int] = (32, 64, 128)) -> Net:
    """Strided convolutions, each of which halves the resolution, and their features as the answer.

    Args:
        channels: width of each level.

    Returns:
        A `Net` whose ``apply(params, x [b, *spatial, c])`` is a tuple of float32 arrays, the input first.

    Reference:
        Xue et al. 2018, "SegAN: adversarial network with multi-scale L1 loss for medical image segmentation", arXiv
        1706.01805, section 2.2, without its branches of wide kernels.

    Example:
        >>> import jax
        >>> net, x = multiscale_critic((4, 8)), jnp.zeros((2, 8, 8, 1))
        >>> [h.shape for h in net.apply(jax.jit(net.init)(jax.random.key(0), x), x)]
        [(2, 8, 8, 1), (2, 4, 4, 4), (2, 2, 2, 8)]
    """
    module = _Multiscale(tuple(channels))

    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x))

    return Net(init, apply)
