"""Layers across the slices of a volume, for networks of 2-D images: what a network of slices becomes one of volumes by.

In such a network the batch axis holds volumes, slice after slice: ``[n * slices, h, w, c]``.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.nets import ops
from jaxgen.types import Array, Key, Net, Params

WIDTH = 3
"""Neighbouring slices that a layer sees."""


class VolumetricLayer(nn.Module):
    """``h + conv(h)``, a convolution of `WIDTH` slices at each pixel, zero at first: the identity."""

    slices: int

    @nn.compact
    def __call__(self, h: Array) -> Array:
        """Map ``[n * slices, *plane, c]`` to the same shape."""
        c = h.shape[-1]
        kernel = self.param("kernel", nn.initializers.zeros, (WIDTH, c, c))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        columns = h.reshape(-1, self.slices, math.prod(h.shape[1:-1]), c)
        return h + ops.convolution(columns, kernel[:, None], bias).reshape(h.shape)


def split_volumetric(params: Params) -> tuple[Params, Params]:
    """The parameters of a network with volumetric layers: those of the network of slices, and those of these layers.

    ``planar | volumetric`` joins them again.

    Example:
        >>> split_volumetric({"Conv_0": 1, "VolumetricLayer_0": 2})
        ({'Conv_0': 1}, {'VolumetricLayer_0': 2})
    """
    new = {name for name in params if name.startswith(VolumetricLayer.__name__)}
    return {k: v for k, v in params.items() if k not in new}, {k: v for k, v in params.items() if k in new}


def of_volumes(make: Callable[[int], Net]) -> Net:
    """A network of slices, such as `jaxgen.nets.unet` with ``UNetVariant(slices=d)``, as one of volumes of any depth.

    Args:
        make: ``make(d)``, the network for volumes of d slices; its parameters are those for any other depth.

    Returns:
        A `Net`: ``apply(params, x [n, d, h, w, c], t=None, key=None) -> [n, d, h, w, c']``, all slices of a volume at
        its time ``t [n]``.

    Example:
        >>> import jax
        >>> from jaxgen.nets import UNetVariant, unet
        >>> net = of_volumes(lambda d: unet(1, channels=(8,), blocks=1, variant=UNetVariant(slices=d)))
        >>> params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 4, 8, 8, 1)), jnp.zeros(1))
        >>> net.apply(params, jnp.zeros((2, 3, 8, 8, 1)), jnp.zeros(2)).shape
        (2, 3, 8, 8, 1)
    """

    def flat(x: Array, t: Array | None) -> tuple[Net, Array, Array | None]:
        n, d = x.shape[:2]
        times = None if t is None else jnp.repeat(jnp.broadcast_to(t, (n,)), d)
        return make(d), x.reshape(n * d, *x.shape[2:]), times

    def init(key: Key, x: Array, t: Array | None = None) -> Params:
        net, slices, times = flat(x, t)
        return net.init(key, slices, times)

    def apply(params: Params, x: Array, t: Array | None = None, *, key: Key | None = None) -> Array:
        net, slices, times = flat(x, t)
        if key is not None and key.ndim:
            key = draws.split(key, x.shape[1]).T.reshape(-1)
        answer = net.apply(params, slices, times, key=key)
        return answer.reshape(*x.shape[:2], *answer.shape[1:])

    return Net(init, apply)
