"""The network of VoxelMorph: a U-Net of plain convolutions that answers with a displacement for every voxel."""

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.nets.door import float32_answer
from jaxgen.types import Array, Key, Net, Params

SLOPE = 0.2


class _Deformation(nn.Module):
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    convolutions: int

    def _level(self, x: Array, width: int, stride: int = 1) -> Array:
        for i in range(self.convolutions):
            x = nn.leaky_relu(layers.Conv(width, stride=1 if i else stride)(x), SLOPE)
        return x

    @nn.compact
    def __call__(self, x: Array) -> Array:
        rank = x.ndim - 2
        skips = [self._level(x, self.encoder[0])]
        for width in self.encoder[1:]:
            skips.append(self._level(skips[-1], width, stride=2))
        h = skips.pop()
        for width, skip in zip(self.decoder, reversed(skips), strict=True):
            for axis in range(1, rank + 1):
                h = jnp.repeat(h, 2, axis=axis)
            h = h[(slice(None), *map(slice, skip.shape[1:-1]))]
            h = self._level(jnp.concatenate([skip, h], -1), width)
        return layers.Conv(rank, kernel_init=nn.initializers.normal(1e-5))(h)


def deformation_net(
    encoder: Sequence[int] = (16, 32, 32, 32), decoder: Sequence[int] = (32, 32, 16), *, convolutions: int = 1
) -> Net:
    """A U-Net from images to displacements, of strided convolutions down and repeated pixels up, without norms.

    Leaky ReLU of slope 0.2 throughout. The last convolution starts at almost zero, and with it the displacement. Axes
    of any length will do: those that are odd are cut on the way up.

    Args:
        encoder: width of each level, from the finest; each further level halves the resolution.
        decoder: width of each level on the way up, one fewer.
        convolutions: per level; 1 as VoxelMorph and DiffuseMorph in 3-D, 2 as DiffuseMorph in 2-D.

    Returns:
        A `Net` whose ``apply(params, x [b, *spatial, c])`` is float32 ``[b, *spatial, r]``, a number per axis.

    Raises:
        ValueError: if `decoder` has not one level fewer than `encoder`.

    Reference:
        Balakrishnan et al. 2019, "VoxelMorph", arXiv 1809.05231, figure 3, with one convolution at the end.

    Example:
        >>> import jax
        >>> net, x = deformation_net((4, 8), (4,)), jnp.ones((2, 7, 6, 2))
        >>> net.apply(jax.jit(net.init)(jax.random.key(0), x), x).shape
        (2, 7, 6, 2)
    """
    if len(decoder) != len(encoder) - 1:
        raise ValueError(f"the decoder needs {len(encoder) - 1} widths, one fewer than the encoder, got {len(decoder)}")
    module = _Deformation(tuple(encoder), tuple(decoder), convolutions)

    def init(key: Key, x: Array) -> Params:
        return module.init(key, x)["params"]

    def apply(params: Params, x: Array, *, key: Key | None = None) -> Array:
        del key
        return cast(Array, module.apply({"params": params}, x))

    return float32_answer(Net(init, apply))
