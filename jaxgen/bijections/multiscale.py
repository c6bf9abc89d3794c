"""Several scales: after each one half of the channels is done with, so deeper layers work on fewer numbers."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxgen.bijections.bijection import Bijection, lift, no_change
from jaxgen.bijections.squeeze import squeeze, squeezed_shape
from jaxgen.types import Array, Key, Params


def multiscale(shape: Sequence[int], levels: Sequence[Bijection]) -> Bijection:
    """Squeeze, transform, factor out the second half of the channels, and go on with the first half.

    The result is one vector: the halves that were factored out, the finest scale first, then what the last level left.
    End a level with a half `coupling` to let what goes on predict the distribution of what is factored out.

    Args:
        shape: of one example, ``(*spatial, c)``; every spatial axis a multiple of ``2^len(levels)``.
        levels: a bijection for each scale, which must keep the shape of what it maps: that of the level squeezed,
            ``level_shapes(shape, len(levels))``.

    Returns:
        A `Bijection` from ``[b, *shape]`` to ``[b, prod(shape)]``.

    Raises:
        ValueError: if an axis cannot be halved as often.

    Reference:
        Dinh, Sohl-Dickstein & Bengio 2017, "Density estimation using Real NVP", section 3.6.

    Example:
        >>> from jaxgen.bijections import actnorm
        >>> bijection, x = multiscale((4, 4, 1), [actnorm(), actnorm()]), jnp.zeros((2, 4, 4, 1))
        >>> bijection.forward(bijection.init(jax.random.key(0), x), x)[0].shape
        (2, 16)
    """
    shapes = level_shapes(shape, len(levels))
    fold = squeeze()
    sizes = [math.prod(s) // (2 if i < len(shapes) - 1 else 1) for i, s in enumerate(shapes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]

    def init(key: Key, x: Array, condition: Array | None = None) -> Params:
        params, x = {}, lift(x)
        for i, level in enumerate(levels):
            x, _ = fold.forward({}, x)
            params[str(i)] = level.init(jax.random.fold_in(key, i), x, condition)
            if i < len(levels) - 1:
                y, _ = level.forward(params[str(i)], x, condition)
                x = y[..., : y.shape[-1] // 2]
        return params

    def forward(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        x, total, done = lift(x), no_change(x), []
        for i, level in enumerate(levels):
            x, log_det = level.forward(params[str(i)], fold.forward({}, x)[0], condition)
            total = total + log_det
            if i < len(levels) - 1:
                x, out = jnp.split(x, 2, axis=-1)
                done.append(out.reshape(x.shape[0], -1))
        return jnp.concatenate([*done, x.reshape(x.shape[0], -1)], axis=-1), total

    def inverse(params: Params, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        y, total = lift(y), no_change(y)
        *done, last = jnp.split(y, ends[:-1], axis=-1)
        x = last.reshape(-1, *shapes[-1])
        for i in reversed(range(len(levels))):
            if i < len(levels) - 1:
                x = jnp.concatenate([x, done[i].reshape(x.shape)], axis=-1)
            x, log_det = levels[i].inverse(params[str(i)], x, condition)
            total = total + log_det
            x, _ = fold.inverse({}, x)
        return x, total

    return Bijection(init, forward, inverse)


def level_shapes(shape: Sequence[int], levels: int) -> list[tuple[int, ...]]:
    """The shapes ``(*spatial, c)`` that the levels of `multiscale` work on.

    Raises:
        ValueError: if an axis cannot be halved as often.

    Example:
        >>> level_shapes((32, 32, 1), 3)
        [(16, 16, 4), (8, 8, 8), (4, 4, 16)]
    """
    *spatial, _ = shape
    if not spatial or levels < 1 or any(n % 2**levels for n in spatial):
        raise ValueError(f"{tuple(shape)} cannot be halved {levels} times along every spatial axis")
    result, current = [], tuple(shape)
    for _ in range(levels):
        current = squeezed_shape(current)
        result.append(current)
        current = (*current[:-1], current[-1] // 2)
    return result
