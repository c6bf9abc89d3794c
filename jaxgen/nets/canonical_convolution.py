"""Convolution whose derivatives are convolutions of the same, canonical layout.

XLA on CPU has a fast convolution for one layout alone (``[b, *spatial, c]``, kernels ``[*window, c_in, c_out]``). It
brings others to that layout, but in the outermost computation only: inside of a loop the gradients that JAX derives,
whose axes are permuted, take many times as long (`python -m benchmarks.loops`). So would a train step in a
`jax.lax.scan`, guidance by a gradient inside of a sampler, or a flow solved by steps. Here the permutations are written
out.
"""

import functools
from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxgen.nets.winograd import winograd_convolution, winograd_kernel_gradient
from jaxgen.types import Array

_Pads = tuple[tuple[int, int], ...]

LARGE = 10**9
"""Floating-point operations from which on Winograd's form is worth the seconds that it takes to compile."""
WIDE, WIDER = 32, 96 * 128
"""Least channels, of input and of output, of a kernel's gradient in that form; least product of the two otherwise."""

_primitive = Primitive("canonical_convolution")


def canonical_convolution(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]]) -> Array:
    """Convolution, differentiable in both directions and any number of times.

    Args:
        x: ``[b, *spatial, c_in]``.
        kernel: ``[*window, c_in, c_out]``, of the same dtype.
        strides: one a spatial axis.
        padding: zeros before and after each spatial axis.

    Returns:
        ``[b, *smaller, c_out]``.

    Example:
        >>> canonical_convolution(jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)), (1,), ((1, 1),)).ravel().tolist()
        [2.0, 3.0, 3.0, 2.0]
    """
    ones = (1,) * len(strides)
    return _bind(x, kernel, tuple(strides), tuple(padding), ones, ones)


def _bind(x: Array, kernel: Array, strides: Any, padding: _Pads, x_dilation: Any, kernel_dilation: Any) -> Array:
    axes = range(len(strides))
    options = {"strides": strides, "padding": padding, "x_dilation": x_dilation, "kernel_dilation": kernel_dilation}
    if any(s > 1 for s in strides) or prod(kernel.shape[:-2]) <= prod(x.shape[1:-1]):
        return _primitive.bind(x, kernel, **options)
    # A kernel larger than the image, as in derivatives of the gradient of a strided convolution (R1 penalties): the
    # image would be spread with zeros under it, which is slow. The two change places,
    # ``out[m] = sum_p x[p] kernel[p - m]``, and the result comes turned round.
    pads = []
    for i in axes:
        image, window = _spread(x.shape[1 + i], x_dilation[i]), _spread(kernel.shape[i], kernel_dilation[i])
        last = sum(padding[i]) + image - window
        pads.append((last - padding[i][0], image - window + padding[i][0]))
    options |= {"padding": tuple(pads), "x_dilation": kernel_dilation, "kernel_dilation": x_dilation}
    found = _primitive.bind(jnp.moveaxis(kernel, -1, 0), jnp.moveaxis(x, 0, -1), **options)
    return jnp.flip(jnp.swapaxes(found, 0, -1), tuple(1 + i for i in axes))


def _plain(x: Array, kernel: Array, *, strides: Any, padding: _Pads, x_dilation: Any, kernel_dilation: Any) -> Array:
    spatial = "DHW"[3 - len(strides) :]
    layout = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, x_dilation, kernel_dilation, dimension_numbers=layout
    )


def _fast(x: Array, kernel: Array, **options: Any) -> Array:
    """The same on CPU; what is large and 3 x 3 in Winograd's form (`python -m benchmarks.convolutions`)."""
    usual = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "x_dilation": (1, 1), "kernel_dilation": (1, 1)}
    work = 18 * x.size * kernel.shape[-1]
    if options != usual or x.dtype != jnp.float32 or work < LARGE:
        return _plain(x, kernel, **options)
    if kernel.shape[:2] == x.shape[1:3] and min(x.shape[0], kernel.shape[-1]) >= WIDE:
        # A gradient in a kernel: batch and channels are exchanged, see `_to_kernel`.
        found = winograd_kernel_gradient(jnp.swapaxes(x, 0, -1), jnp.moveaxis(kernel, 2, 0))
        return jnp.moveaxis(found, 2, 0)
    if kernel.shape[:2] == (3, 3) and prod(kernel.shape[2:]) >= WIDER and prod(x.shape[1:3]) >= 1024:
        return winograd_convolution(x, kernel)
    return _plain(x, kernel, **options)


def _spread(n: int, dilation: int) -> int:
    """The length of n numbers with ``dilation - 1`` gaps between them."""
    return (n - 1) * dilation + 1


def _to_x(
    cotangent: Array, x: Any, kernel: Array, *, strides: Any, padding: _Pads, x_dilation: Any, kernel_dilation: Any
) -> Array:
    """The cotangent of x: that of the result, spread by the strides, with the kernel turned round."""
    axes = range(len(strides))
    pads = []
    for i in axes:
        window = _spread(kernel.shape[i], kernel_dilation[i])
        before = window - 1 - padding[i][0]
        wide = _spread(x.aval.shape[1 + i], x_dilation[i]), _spread(cotangent.shape[1 + i], strides[i])
        pads.append((before, wide[0] + window - 1 - wide[1] - before))
    turned = jnp.swapaxes(jnp.flip(kernel, tuple(axes)), -1, -2)
    return _bind(cotangent, turned, x_dilation, tuple(pads), strides, kernel_dilation)


def _to_kernel(
    cotangent: Array, x: Array, kernel: Any, *, strides: Any, padding: _Pads, x_dilation: Any, kernel_dilation: Any
) -> Array:
    """The cotangent of the kernel: x convolved with that of the result, batch and channels exchanged."""
    axes = range(len(strides))
    pads = []
    for i in axes:
        window = _spread(kernel.aval.shape[i], kernel_dilation[i])
        wide = _spread(x.shape[1 + i], x_dilation[i]), _spread(cotangent.shape[1 + i], strides[i])
        pads.append((padding[i][0], wide[1] + window - 1 - wide[0] - padding[i][0]))
    by_channel, by_place = jnp.swapaxes(x, 0, -1), jnp.moveaxis(cotangent, 0, -2)
    found = _bind(by_channel, by_place, kernel_dilation, tuple(pads), x_dilation, strides)
    return jnp.moveaxis(found, 0, -2)


def _batched(arguments: Any, dimensions: Any, **options: Any) -> Any:
    x, kernel = arguments
    at, kernel_at = dimensions
    if kernel_at is not None:
        return jax.vmap(lambda x, kernel: _plain(x, kernel, **options), dimensions)(x, kernel), 0
    x = jnp.moveaxis(x, at, 0)
    y = _primitive.bind(x.reshape(-1, *x.shape[2:]), kernel, **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0


def _shape(x: Any, kernel: Any, **options: Any) -> Any:
    made = jax.eval_shape(
        functools.partial(_plain, **options), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, kernel))
    )
    return x.update(shape=made.shape, dtype=made.dtype, weak_type=False)


_primitive.def_impl(jax.jit(_primitive.bind, static_argnames=("strides", "padding", "x_dilation", "kernel_dilation")))
_primitive.def_abstract_eval(_shape)
ad.defbilinear(_primitive, _to_x, _to_kernel)
batching.primitive_batchers[_primitive] = _batched
mlir.register_lowering(_primitive, mlir.lower_fun(_plain, multiple_results=False))
mlir.register_lowering(_primitive, mlir.lower_fun(_fast, multiple_results=False), platform="cpu")
