"""Decoding a volume tile by tile, exactly: one convolution at a time, with halos and with the norms of the whole."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.nets import ops, resampling
from jaxgen.nets.attention import SelfAttention
from jaxgen.nets.doubled_convolution import doubled_convolution
from jaxgen.nets.kl_autoencoder import TRANSPOSED, KLForm, decoder_layers, kl_decoder, norm_of
from jaxgen.types import Array, Key, Net, Params


class _Features(NamedTuple):
    """Features in the memory of the host, with their sums over space.

    Attributes:
        planes: along the first spatial axis, each ``[b, *plane, c]``; None where one is needed no more.
        total: of the values, float64 ``[b, c]``.
        square: of their squares, float64 ``[b, c]``.
    """

    planes: list[Any]
    total: np.ndarray
    square: np.ndarray


class _Norm(NamedTuple):
    """A group norm whose statistics are known, ``x factor + offset``, with SiLU behind it or not."""

    factor: Array
    offset: Array
    activation: bool


def tiled_kl_decoder(features: int, form: KLForm = KLForm(), *, rows: int = 8) -> Net:  # noqa: B008  (a tuple)
    """The decoder `jaxgen.nets.kl_decoder` in tiles: the same parameters and the same answer in bounded memory.

    Each convolution goes over tiles of whole planes along the first spatial axis, which overlap by the width of its
    kernel; the sums that the next group norm needs are collected on the way. So the device holds a few tiles, and the
    host two sets of features at most, whose planes are given up as they are used. Attention, at the coarsest
    resolution, sees all positions at once.

    Args:
        features: channels of the image.
        form: see `KLForm`; attention is for coarse levels only, since it is not cut into tiles.
        rows: planes of a tile of the result of a convolution.

    Returns:
        A `Net`. Its ``apply`` works on arrays, not within `jax.jit` and not under `jax.grad`.

    Raises:
        ValueError: if `rows` is not positive, or the form has transposed convolutions; when called within `jax.jit`.

    Example:
        >>> from jaxgen.nets.kl_autoencoder import monai_form
        >>> net = tiled_kl_decoder(1, monai_form((4,), 0, groups=2, decoder_middle="none"), rows=4)
        >>> z = jnp.ones((1, 4, 5, 2))
        >>> shapes = jax.eval_shape(net.init, jax.random.key(0), z)
        >>> net.apply(jax.tree.map(lambda s: jnp.ones(s.shape), shapes), z).shape
        (1, 4, 5, 1)
    """
    if rows < 1:
        raise ValueError(f"rows must be positive, got {rows}")
    whole, plan, norm = kl_decoder(features, form), decoder_layers(features, form), norm_of(form)
    if form.upsampling in TRANSPOSED:
        raise ValueError(f"transposed convolutions are not cut into tiles: upsampling is {form.upsampling!r}")

    def normed(params: Params, h: _Features, activation: bool) -> _Norm:
        return _known_norm(params, h, form, activation)

    def residual_block(params: Params, h: _Features) -> _Features:
        shortcut = params.get("Conv_2")
        norm = normed(params["GroupNorm_0"], h, True)
        inner, passed = _convolve(params["Conv_0"], h, rows, norm=norm, shortcut=shortcut, keep=shortcut is None)
        skip = passed if shortcut is not None else h.planes
        return _convolve(params["Conv_1"], inner, rows, norm=normed(params["GroupNorm_1"], inner, True), skip=skip)[0]

    def apply(params: Params, z: Array, *, key: Key | None = None) -> Array:
        del key
        if isinstance(z, jax.core.Tracer):
            raise ValueError("decoding in tiles works on arrays: call it outside of jax.jit, or use kl_decoder")
        h, last = _whole(z), None
        for kind, name, _, _ in plan:
            here = params.get(name)
            if kind == "residual":
                h = residual_block(here, h)
            elif kind == "attention":
                x = np.stack(h.planes, 1)
                h = _whole(jax.jit(SelfAttention(x.shape[-1], norm).apply)({"params": here}, x))
            elif kind == "upsample":
                h = _convolve(here["Conv_0"], h, rows, upsampling=form.upsampling)[0]
            elif kind == "norm":
                last = normed(here, h, form.final_activation)
            else:
                h = _convolve(here, h, rows, norm=last)[0]
        x = np.stack(h.planes, 1)
        return jnp.asarray(x).astype(jnp.promote_types(x.dtype, jnp.float32))

    return Net(whole.init, apply)


def _whole(x: Array) -> _Features:
    space = tuple(range(1, x.ndim - 1))
    wide = np.asarray(x, np.float64)
    return _Features(list(np.moveaxis(np.asarray(x), 1, 0)), wide.sum(space), np.square(wide).sum(space))


def _known_norm(params: Params, h: _Features, form: KLForm, activation: bool) -> _Norm:
    b, c = h.total.shape
    count = len(h.planes) * h.planes[0][0, ..., 0].size

    def over_group(moment: np.ndarray) -> np.ndarray:
        grouped = (moment / count).reshape(b, form.groups, -1).mean(-1)
        return np.repeat(grouped, c // form.groups, axis=1)

    mean = over_group(h.total)
    variance = np.maximum(over_group(h.square) - np.square(mean), 0.0)
    factor = np.asarray(params["scale"], np.float64) / np.sqrt(variance + form.epsilon)
    offset = np.asarray(params["shift"], np.float64) - mean * factor
    return _Norm(jnp.asarray(factor, jnp.float32), jnp.asarray(offset, jnp.float32), activation)


def _convolve(
    params: Params,
    h: _Features,
    rows: int,
    *,
    norm: _Norm | None = None,
    upsampling: str | None = None,
    skip: list[Any] | None = None,
    shortcut: Params | None = None,
    keep: bool = False,
) -> tuple[_Features, list[Any]]:
    """A convolution of the whole, tile by tile, with what comes before it (norm, doubling) and after it (a skip).

    Planes of `h`, unless it is to `keep` them, and of `skip` are given up as soon as they are used. The second result
    is the input through the 1 x 1 convolution `shortcut`.
    """
    depth, factor, halo = len(h.planes), 1 if upsampling is None else 2, params["kernel"].shape[0] // 2
    made, passed, sums = [], [], []
    step = max(1, rows // factor)
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        planes = np.arange(start - halo, stop + halo)
        there = np.arange(2 * start - halo, 2 * stop + halo) // 2 if upsampling == "linear" else planes
        answer, aside, *moments = _tile(
            params,
            # beyond the ends the last plane, which `there` turns into zeros
            np.stack([h.planes[i] for i in np.clip(planes, 0, depth - 1)], 1),
            (there >= 0) & (there < depth),
            norm and norm[:2],
            None if skip is None else np.stack(skip[start:stop], 1),
            shortcut,
            activation=norm is not None and norm.activation,
            upsampling=upsampling,
        )
        made += _planes(answer)
        passed += [] if aside is None else _planes(aside)
        sums.append([np.asarray(moment, np.float64) for moment in moments])
        if not keep:
            h.planes[max(0, start - halo) : stop - halo] = [None] * (stop - halo - max(0, start - halo))
        if skip is not None:
            skip[start:stop] = [None] * (stop - start)
    total, square = (sum(parts) for parts in zip(*sums, strict=True))
    return _Features(made, np.asarray(total), np.asarray(square)), passed


def _planes(x: Array) -> list[Any]:
    return [plane.copy() for plane in np.moveaxis(np.asarray(x), 1, 0)]


@functools.partial(jax.jit, static_argnames=("activation", "upsampling"))
def _tile(
    params: Params,
    x: Array,
    there: Array,
    norm: tuple[Array, Array] | None,
    skip: Array | None,
    shortcut: Params | None,
    *,
    activation: bool,
    upsampling: str | None,
) -> tuple[Array, Array | None, Array, Array]:
    rank = x.ndim - 2
    halo = params["kernel"].shape[0] // 2
    passed = None
    if shortcut is not None:
        passed = ops.convolution(x[:, halo:-halo], shortcut["kernel"], shortcut["bias"])
    if norm is not None:
        factor, offset = (a.reshape(a.shape[0], *(1,) * rank, a.shape[1]) for a in norm)
        x = (x.astype(jnp.float32) * factor + offset).astype(x.dtype)
    x = jax.nn.silu(x) if activation else x
    x = resampling.double(x)[:, halo:-halo] if upsampling == "linear" else x
    x = jnp.where(there.reshape(-1, *(1,) * rank), x, 0)
    if upsampling == "nearest":
        y = doubled_convolution(x, params["kernel"], params["bias"], padded=True)
    else:
        pads = ((0, 0), *((halo, halo),) * (rank - 1))
        y = ops.convolution(x, params["kernel"], params["bias"], padding=pads)
    y = y if skip is None else y + skip
    space, wide = tuple(range(1, y.ndim - 1)), y.astype(jnp.float32)
    return y, passed, jnp.sum(wide, space), jnp.sum(jnp.square(wide), space)
