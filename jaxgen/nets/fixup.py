"""A residual block that needs no normalisation, for generators and critics."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.types import Array

SLOPE = 0.2
"""Of the leaky ReLU below zero."""


def he_init(scale: float = 1.0) -> Callable[..., Array]:
    """Fan-in initialisation that keeps the variance through a leaky ReLU (He et al. 2015), times `scale`."""
    return nn.initializers.variance_scaling(2 / (1 + SLOPE**2) * scale**2, "fan_in", "truncated_normal")


class FixupBlock(nn.Module):
    """``x + conv1(act(conv3(act(conv1(x)))))``, wider inside, the middle convolution in groups, the last from zero.

    The first two kernels are scaled down with the `depth` of the whole network, so that its output keeps its variance
    without any normalisation. With an embedding, as of a class, the branch starts with a group norm whose scale and
    shift it gives.

    Reference:
        Zhang et al. 2019, "Fixup initialization", arXiv 1901.09321; the block is that of Huang et al. 2024, arXiv
        2501.05441, section 4.
    """

    depth: int
    expansion: int = 2
    group_width: int = 16

    @nn.compact
    def __call__(self, x: Array, embedding: Array | None = None) -> Array:
        """Map ``[b, *spatial, c]``, with an `embedding` ``[b, e]``, to the same shape."""
        c = x.shape[-1]
        wide = self.expansion * c
        groups = layers.group_count(wide, wide, self.group_width)
        init = he_init(self.depth**-0.25)  # depth^(-1 / (2 m - 2)) for the m = 3 convolutions of a branch
        h = x
        if embedding is not None:
            scale, shift = jnp.split(layers.Dense(2 * c, kernel_init=nn.initializers.zeros)(embedding), 2, axis=-1)
            h = layers.GroupNorm(affine=False)(h, scale, shift)
        h = nn.leaky_relu(layers.Conv(wide, width=1, kernel_init=init)(h), SLOPE)
        h = nn.leaky_relu(layers.Conv(wide, kernel_init=init, groups=groups)(h), SLOPE)
        return x + layers.Conv(c, width=1, kernel_init=nn.initializers.zeros)(h)
