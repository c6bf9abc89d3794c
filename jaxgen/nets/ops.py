"""The one door for heavy operations: convolution, dense layer, group norm and attention.

Each operation has the same meaning everywhere and two forms: one that XLA runs well on CPU, one for accelerators. The
form is picked when a function is traced, from `jax.default_backend()`; networks read as if there were only one.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxgen.nets.canonical_convolution import canonical_convolution
from jaxgen.nets.chunked_attention import chunked_attention, rows_of
from jaxgen.types import Array

Padding = tuple[int, int] | Sequence[tuple[int, int]] | None

_forced_form: list[str] = []


@contextlib.contextmanager
def form(name: str) -> Iterator[None]:
    """Trace the operations in one form, ``"cpu"`` or ``"accelerator"``, whatever the backend: tests hold them equal.

    Raises:
        ValueError: if `name` is neither.
    """
    if name not in ("cpu", "accelerator"):
        raise ValueError(f"form must be 'cpu' or 'accelerator', got {name!r}")
    _forced_form.append(name)
    try:
        yield
    finally:
        _forced_form.pop()


def _on_cpu() -> bool:
    return (_forced_form[-1] if _forced_form else jax.default_backend()) == "cpu"


def dense(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """Affine map of the last axis, ``x @ kernel + bias``, in the dtype of the kernel.

    Args:
        x: ``[..., c_in]``.
        kernel: ``[c_in, c_out]``.
        bias: ``[c_out]`` or None.

    Returns:
        ``[..., c_out]``.
    """
    x = x.astype(kernel.dtype)
    if _on_cpu():
        # One matrix, for the sake of the gradient: of more axes XLA makes a transposed copy for the kernel's, and
        # computes the element-wise chain before this layer once more inside of it.
        y = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])
    else:
        y = x @ kernel
    return y if bias is None else y + bias


def convolution(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    stride: int = 1,
    padding: Padding = None,
    groups: int = 1,
) -> Array:
    """Convolution with zero padding that keeps the size (divided by `stride`), for any spatial rank.

    It is computed in the dtype of the kernel: whoever casts the parameters casts the network, whatever it is given.

    Args:
        x: ``[b, *spatial, c_in]``.
        kernel: ``[*window, c_in / groups, c_out]``.
        bias: ``[c_out]`` or None.
        stride: the same for every spatial axis.
        padding: zeros before and after each spatial axis, one pair for all axes or one pair per axis; None pads an odd
            window of width k by (k - 1) / 2 on either side.
        groups: the channels are cut into this number of groups, each convolved by itself.

    Returns:
        ``[b, *spatial / stride, c_out]``.
    """
    window = kernel.shape[:-2]
    if all(k == 1 for k in window) and stride == 1 and padding is None and groups == 1:
        return dense(x, kernel.reshape(kernel.shape[-2:]), bias)
    x = x.astype(kernel.dtype)
    if groups > 1 and _on_cpu():
        # The gradient of XLA's own convolution in groups takes 20 to 45 times as long on CPU.
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        y = jnp.concatenate([convolution(*part, None, stride, padding) for part in parts], -1)
    elif len(window) == 3 and _on_cpu():
        y = _convolution_3d_by_2d(x, kernel, stride, padding)
    else:
        y = _convolution(x, kernel, stride, padding, groups)
    return y if bias is None else y + bias


def _pads(window: tuple[int, ...], padding: Padding) -> list[tuple[int, int]]:
    if padding is None:
        return [((k - 1) // 2, (k - 1) // 2) for k in window]
    pairs = [pair for pair in padding if isinstance(pair, tuple)]
    return pairs or [cast(tuple[int, int], padding)] * len(window)


def _convolution(x: Array, kernel: Array, stride: int, padding: Padding, groups: int) -> Array:
    spatial = "DHW"[3 - (x.ndim - 2) :]
    layout = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    pads = _pads(kernel.shape[:-2], padding)
    if _on_cpu():
        return canonical_convolution(x, kernel, (stride,) * len(spatial), pads)
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * len(spatial), pads, dimension_numbers=layout, feature_group_count=groups
    )


def _convolution_3d_by_2d(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    # XLA's own 3-D convolution is 4 to 5 times slower on CPU than one 2-D convolution over depth-shifted copies.
    b, _, *plane, _ = x.shape
    k = kernel.shape[0]
    pads = _pads(kernel.shape[:-2], padding)
    padded = jnp.pad(x, ((0, 0), pads[0], (0, 0), (0, 0), (0, 0)))
    out_depth = (padded.shape[1] - k) // stride + 1
    shifted = [padded[:, i : i + (out_depth - 1) * stride + 1 : stride] for i in range(k)]
    stacked = jnp.concatenate(shifted, axis=-1).reshape(b * out_depth, *plane, -1)
    flat_kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    y = _convolution(stacked, flat_kernel, stride, pads[1:], groups=1)
    return y.reshape(b, out_depth, *y.shape[1:])


def group_norm(x: Array, scale: Array, shift: Array, groups: int, epsilon: float = 1e-5) -> Array:
    """Group normalisation with an affine map, statistics in float32 (Wu & He 2018, arXiv 1803.08494, eq. 1 to 3).

    The moments of a group are combined from those of its channels on the small ``[b, c]`` array, so the image is read
    once and written once.

    Args:
        x: ``[b, *spatial, c]``.
        scale: ``[c]``, or ``[b, c]`` for adaptive normalisation.
        shift: of the shape of `scale`.
        groups: a divisor of c.
        epsilon: added to the variance.

    Returns:
        An array of the shape and dtype of `x`.
    """
    b, c = x.shape[0], x.shape[-1]
    space = tuple(range(1, x.ndim - 1))
    x32 = x.astype(jnp.float32)
    mean = jnp.mean(x32, space)
    square = jnp.mean(jnp.square(x32), space)

    def over_group(moment: Array) -> Array:
        grouped = jnp.mean(moment.reshape(b, groups, c // groups), -1, keepdims=True)
        return jnp.broadcast_to(grouped, (b, groups, c // groups)).reshape(b, c)

    mean, square = over_group(mean), over_group(square)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    factor = scale.astype(jnp.float32) * jax.lax.rsqrt(variance + epsilon)
    offset = shift.astype(jnp.float32) - mean * factor
    broad = (b,) + (1,) * len(space) + (c,)
    return (x32 * factor.reshape(broad) + offset.reshape(broad)).astype(x.dtype)


def layer_norm(x: Array, scale: Array | None = None, shift: Array | None = None, epsilon: float = 1e-6) -> Array:
    """Layer normalisation of the last axis, statistics in float32 (Ba et al. 2016, arXiv 1607.06450, eq. 3).

    Args:
        x: ``[b, ..., c]``.
        scale: what the normalised values are multiplied with, ``[c]`` or anything that broadcasts against `x`; None
            is 1.
        shift: what is added then; None is 0.
        epsilon: added to the variance.

    Returns:
        An array of the shape and dtype of `x`.
    """
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, -1, keepdims=True)
    y = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)
    y = y if scale is None else y * scale.astype(jnp.float32)
    return (y if shift is None else y + shift.astype(jnp.float32)).astype(x.dtype)


def attention(query: Array, key: Array, value: Array, *, causal: bool = False) -> Array:
    """Scaled dot-product attention, ``softmax(q k' / sqrt(width)) v`` (Vaswani et al. 2017, arXiv 1706.03762, eq. 1).

    Args:
        query: ``[b, n, heads, width]``.
        key: ``[b, m, heads, width]``.
        value: ``[b, m, heads, width]``.
        causal: whether a position attends to itself and those before it only.

    Returns:
        ``[b, n, heads, width]``.
    """
    if not _on_cpu():
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal)
    rows = 0 if causal else rows_of(query.shape[1], key.shape[1])
    if rows:
        return chunked_attention(query, key, value, rows)
    logits = (jnp.einsum("bnhd,bmhd->bhnm", query, key) / math.sqrt(query.shape[-1])).astype(jnp.float32)
    if causal:
        logits = jnp.where(jnp.tri(query.shape[1], key.shape[1], dtype=bool), logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, value)


def block_end(x: Array) -> Array:
    """Mark the end of a transformer block: on CPU nothing is fused, or computed twice, across it.

    Without it XLA recomputes the norm and the modulation of the next block inside several of its consumers.
    """
    return jax.lax.optimization_barrier(x) if _on_cpu() else x


def recomputed(f: Callable[..., Any], fixed: int = 0) -> Callable[..., Any]:
    """The function, whose gradient keeps its arguments alone and computes all else anew in the backward pass.

    On accelerators it is `jax.checkpoint`. XLA on CPU starts what that computes anew long before it is needed, and
    saves nothing; here the arguments are made to depend on the cotangent. There it has no forward-mode derivative.

    Args:
        f: takes and returns trees of arrays.
        fixed: the first arguments, such as parameters, that stay out of this dependence, which copies the others.

    Returns:
        A function like `f`.

    Reference:
        Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174.

    Example:
        >>> float(jax.grad(recomputed(lambda x: x**3))(2.0))
        12.0
    """
    if not _on_cpu():
        return jax.checkpoint(f)

    @jax.custom_vjp
    def kept(*args: Any) -> Any:
        return f(*args)

    def forward(*args: Any) -> tuple[Any, Any]:
        return f(*args), args

    def backward(args: Any, cotangent: Any) -> Any:
        late = (*args[:fixed], *_dependent(args[fixed:], cotangent))
        return jax.vjp(f, *late)[1](cotangent)

    kept.defvjp(forward, backward)
    return kept


def _dependent(tree: Any, cotangent: Any) -> Any:
    """The same values, unless the first of the cotangent is infinite, which the compiler cannot know."""
    first = next(leaf for leaf in jax.tree.leaves(cotangent) if jnp.issubdtype(leaf.dtype, jnp.inexact))
    infinite = jnp.isinf(first.ravel()[0])

    def tie(x: Array) -> Array:
        return jnp.where(infinite, jnp.nan, x).astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x

    return jax.tree.map(tie, tree)
