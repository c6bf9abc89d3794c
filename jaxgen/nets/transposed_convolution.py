"""Transposed convolution, as a plain one that makes all phases of its result at once."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.imaging.folding import depth_to_space
from jaxgen.nets import layers, ops
from jaxgen.types import Array


def transposed_convolution(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: int, padding: int = 0, output_padding: int = 0
) -> Array:
    """Transposed convolution, ``y[o] = sum_i x[i] kernel[o - stride i + padding]``, for any spatial rank.

    No zeros are put between the pixels of `x`: the ``stride^rank`` phases of y are channels of one convolution with
    the kernel's every stride-th tap, and are then unfolded into space.

    Args:
        x: ``[b, *spatial, c_in]``.
        kernel: ``[*window, c_in, c_out]``, its window of one width k along each axis.
        bias: ``[c_out]`` or None.
        stride: by how much the size grows.
        padding: pixels cut off each end of the result.
        output_padding: pixels added to the far end of the result.

    Returns:
        ``[b, *((n - 1) stride - 2 padding + k + output_padding for n in spatial), c_out]``.

    Example:
        >>> transposed_convolution(jnp.ones((1, 3, 1)), jnp.ones((2, 1, 1)), stride=2).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    *window, c_in, c_out = kernel.shape
    rank, k = len(window), window[0]
    taps = -(-k // stride)
    whole = jnp.pad(kernel, [(0, taps * stride - k)] * rank + [(0, 0), (0, 0)])
    split = whole.reshape(*(m for _ in window for m in (taps, stride)), c_in, c_out)
    order = (*range(0, 2 * rank, 2), 2 * rank, *range(1, 2 * rank, 2), 2 * rank + 1)
    phases = split.transpose(order).reshape(*(taps,) * rank, c_in, stride**rank * c_out)
    y = ops.convolution(x, jnp.flip(phases, tuple(range(rank))), padding=(taps - 1, taps - 1))
    y = depth_to_space(y, stride)
    for axis, n in enumerate(x.shape[1:-1], 1):
        size = (n - 1) * stride - 2 * padding + k + output_padding
        lacking = max(0, padding + size - y.shape[axis])
        y = jnp.pad(y, [(0, lacking if i == axis else 0) for i in range(y.ndim)])
        y = y[(slice(None),) * axis + (slice(padding, padding + size),)]
    return y if bias is None else y + bias


class TransposedConv(nn.Module):
    """A layer of `transposed_convolution`."""

    features: int
    stride: int = 2
    width: int = 4
    padding: int = 1
    output_padding: int = 0
    kernel_init: Callable = layers.default_init

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[b, *spatial, c]`` to ``[b, *larger, features]``."""
        window = (self.width,) * (x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*window, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        more = {"stride": self.stride, "padding": self.padding, "output_padding": self.output_padding}
        return transposed_convolution(x, kernel, bias, **more)
