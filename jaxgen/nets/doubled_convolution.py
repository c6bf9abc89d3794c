"""The convolution after a doubling of the resolution by repetition, with fewer multiplications."""

import itertools

import jax.numpy as jnp
from jax import lax

from jaxgen.nets import ops
from jaxgen.types import Array


def doubled_convolution(x: Array, kernel: Array, bias: Array | None = None, *, padded: bool = False) -> Array:
    """``convolution(repeat(x), kernel, bias)`` for a kernel of width 3, without making ``repeat(x)``.

    A pixel of the result sees two different pixels of `x` along each axis, so two of the three taps fall on one pixel
    and can be added beforehand: ``(k0, k1 + k2)`` for even places, ``(k0 + k1, k2)`` for odd ones. Each of the
    ``2^rank`` phases is then a convolution of width 2: 8 multiplications in place of 27 in 3-D, 4 in place of 9 in 2-D.

    Args:
        x: ``[b, *spatial, c_in]``.
        kernel: ``[3, ..., 3, c_in, c_out]``.
        bias: ``[c_out]`` or None.
        padded: whether `x` has one more plane at each end of its first spatial axis, the neighbours of a tile; else
            zeros stand there, as on the other axes.

    Returns:
        ``[b, *2 spatial, c_out]``, where `padded` of the planes between.

    Example:
        >>> doubled_convolution(jnp.ones((1, 2, 1)), jnp.ones((3, 1, 1))).ravel().tolist()
        [2.0, 3.0, 3.0, 2.0]
    """
    rank = x.ndim - 2
    phases = []
    for phase in itertools.product((0, 1), repeat=rank):
        part, pads = x, [(1 - r, r) for r in phase]
        if padded:
            part, pads[0] = x[:, phase[0] : x.shape[1] - 1 + phase[0]], (0, 0)
        phases.append(ops.convolution(part, _taps(kernel, phase), padding=pads))
    b, *spatial, c = phases[0].shape
    y = jnp.stack(phases, -2).reshape(b, *spatial, *(2,) * rank, c)
    order = (0, *(axis for i in range(rank) for axis in (1 + i, 1 + rank + i)), 2 * rank + 1)
    y = y.transpose(order).reshape(b, *(2 * n for n in spatial), c)
    return y if bias is None else y + bias


def _taps(kernel: Array, phase: tuple[int, ...]) -> Array:
    for axis, r in enumerate(phase):
        first, middle, last = (lax.slice_in_dim(kernel, i, i + 1, axis=axis) for i in range(3))
        kernel = jnp.concatenate([first, middle + last] if r == 0 else [first + middle, last], axis)
    return kernel
