"""Whole numbers made continuous, so that a density model can be a model of them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.bijections import Bijection, affine, chain, coupling, masks
from jaxgen.losses import gaussian
from jaxgen.nets import conditioner
from jaxgen.types import Array, Key, Params


class Dequantiser(NamedTuple):
    """Noise that fills the gaps between the values of data that has `bins` of them.

    Data is x in [-1, 1] with values ``-1 + 2 k / (bins - 1)``; what comes out is ``y = -1 + 2 (k + u) / bins`` with u
    in [0, 1). With q(y | x) the density of that, the mean of ``log p(y) - log q(y | x)`` is a lower bound of the
    log-probability of x under a density model p.

    Attributes:
        init: ``init(key, x [b, *spatial, c]) -> params``.
        draw: ``draw(params, key, x) -> (y, log q(y | x) [b])``; `key` is one key, or ``[b]``.
        restore: ``restore(y) -> x``, the value that was filled out.
    """

    init: Callable[[Key, Array], Params]
    draw: Callable[[Params, Key, Array], tuple[Array, Array]]
    restore: Callable[[Array], Array]


def uniform_dequantiser(bins: int = 256) -> Dequantiser:
    """Uniform noise u: q is constant.

    Args:
        bins: how many values the data has.

    Returns:
        A `Dequantiser` without parameters.

    Reference:
        Theis, van den Oord & Bethge 2016, "A note on the evaluation of generative models", section 3.1.

    Example:
        >>> dequantiser = uniform_dequantiser(4)
        >>> x = jnp.linspace(-1, 1, 4)[None]
        >>> y, log_q = dequantiser.draw({}, jax.random.key(0), x)
        >>> bool(jnp.allclose(dequantiser.restore(y), x)), round(float(log_q[0]), 4), round(4 * math.log(4 / 2), 4)
        (True, 2.7726, 2.7726)
    """

    def draw(params: Params, key: Key, x: Array) -> tuple[Array, Array]:
        log_q = jnp.full(x.shape[0], x[0].size * math.log(bins / 2), jnp.float32)
        return _fill(x, draws.uniform(key, x.shape), bins), log_q

    return Dequantiser(lambda key, x: {}, draw, lambda y: _restore(y, bins))


def variational_dequantiser(bijection: Bijection, bins: int = 256) -> Dequantiser:
    """Learned noise: ``u = sigmoid(f(e; x))`` with e standard normal and f a flow that sees the data.

    Args:
        bijection: f, of the shape of the data; its condition is the data itself, so its conditioners must take an
            image, as `jaxgen.nets.conditioner` does.
        bins: how many values the data has.

    Returns:
        A `Dequantiser`.

    Reference:
        Ho, Chen, Srinivas, Duan & Abbeel 2019, "Flow++", arXiv 1902.00275, section 3.1, eq. 9 to 13.

    Example:
        >>> from jaxgen.bijections import affine, elementwise
        >>> dequantiser, x = variational_dequantiser(elementwise(affine())), jnp.zeros((1, 2, 2, 1))
        >>> y, log_q = dequantiser.draw(dequantiser.init(jax.random.key(0), x), jax.random.key(1), x)
        >>> y.shape, log_q.shape
        ((1, 2, 2, 1), (1,))
    """

    def init(key: Key, x: Array) -> Params:
        init_key, noise_key = jax.random.split(key)
        return bijection.init(init_key, jax.random.normal(noise_key, x.shape), x)

    def draw(params: Params, key: Key, x: Array) -> tuple[Array, Array]:
        noise = draws.normal(key, x.shape)
        v, log_det = bijection.forward(params, noise, x)
        axes = tuple(range(1, v.ndim))
        log_slope = jnp.sum(-jax.nn.softplus(v) - jax.nn.softplus(-v), axes)
        log_u = -gaussian(jnp.zeros_like(noise), noise) - log_det - log_slope
        return _fill(x, jax.nn.sigmoid(v), bins), log_u + x[0].size * math.log(bins / 2)

    return Dequantiser(init, draw, lambda y: _restore(y, bins))


def checkerboard_dequantiser(shape: Sequence[int], *, layers: int = 4, width: int = 32, bins: int = 256) -> Dequantiser:
    """Learned noise of images: `variational_dequantiser` with affine couplings of alternating checkerboards.

    Args:
        shape: of one image, ``(*spatial, c)``.
        layers: the number of couplings.
        width: hidden channels of their conditioners.
        bins: how many values the data has.

    Returns:
        A `Dequantiser`.

    Example:
        >>> dequantiser, x = checkerboard_dequantiser((4, 4, 1), width=4), jnp.zeros((1, 4, 4, 1))
        >>> dequantiser.draw(dequantiser.init(jax.random.key(0), x), jax.random.key(1), x)[0].shape
        (1, 4, 4, 1)
    """
    *side, channels = shape
    net = conditioner(2 * channels, width=width)
    couplings = [coupling(net, affine(), mask=masks.checkerboard(side, flip=bool(i % 2))) for i in range(layers)]
    return variational_dequantiser(chain(*couplings), bins)


def _fill(x: Array, u: Array, bins: int) -> Array:
    whole = jnp.round((x.astype(jnp.float32) + 1) * (bins - 1) / 2)
    return -1 + 2 * (whole + u) / bins


def _restore(y: Array, bins: int) -> Array:
    whole = jnp.clip(jnp.floor((y + 1) * bins / 2), 0, bins - 1)
    return -1 + 2 * whole / (bins - 1)


def averaged_log_prob(
    log_prob: Callable[..., Array], draws: int, *, labelled: bool = False
) -> Callable[[Params, Key, Array, Array], Array]:
    """The log-likelihood of images as bytes by a model with a dequantiser of its own, averaged over its noise.

    Args:
        log_prob: ``log_prob(params, keys [b], x [b, *spatial, c], cond) -> [b]``, nats, of bytes scaled to [-1, 1].
        draws: draws of the noise per image.
        labelled: whether the model is told the class of an image.

    Returns:
        ``log_prob(params, keys [b], bytes [b, *spatial, c], label [b]) -> [b]``, nats.
    """

    def mean(params: Params, keys: Key, whole: Array, label: Array) -> Array:
        x, cond = whole.astype(jnp.float32) / 127.5 - 1, label if labelled else None

        def add(i: Array, total: Array) -> Array:
            return total + log_prob(params, jax.vmap(jax.random.fold_in, (0, None))(keys, i), x, cond)

        return jax.lax.fori_loop(0, draws, add, jnp.zeros(len(x))) / draws

    return mean
