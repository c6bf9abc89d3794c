"""Embeddings of time, noise level and label."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.nets import layers
from jaxgen.types import Array


def sinusoidal(
    t: Array,
    width: int,
    *,
    scale: float = 1000.0,
    max_period: float = 10000.0,
    shift: float = 0.0,
    sine_first: bool = False,
) -> Array:
    """Sinusoidal features of a time, ``[cos(w_i s t), sin(w_i s t)]`` with ``w_i = max_period^(-i / (width / 2))``.

    A time in [0, 1] is multiplied by `scale` first: unscaled, most of the frequencies would hardly move.

    Args:
        t: ``[b]``.
        width: number of features, even.
        scale: multiplies `t`.
        max_period: the longest period, in units of scaled time.
        shift: taken off ``width / 2`` in the exponent; with 1 the lowest frequency is ``1 / max_period`` itself.
        sine_first: whether the sines come before the cosines.

    Returns:
        ``[b, width]`` in float32.

    Raises:
        ValueError: if `width` is odd.

    Reference:
        Vaswani et al. 2017, arXiv 1706.03762, section 3.5; as time embedding Ho et al. 2020, arXiv 2006.11239.

    Example:
        >>> sinusoidal(jnp.zeros((3,)), 8).shape
        (3, 8)
    """
    if width % 2:
        raise ValueError(f"width must be even, got {width}")
    rates = jnp.arange(width // 2, dtype=jnp.float32) / (width // 2 - shift)
    angles = scale * jnp.asarray(t, jnp.float32)[:, None] * jnp.exp(-math.log(max_period) * rates)
    pair = (jnp.sin(angles), jnp.cos(angles)) if sine_first else (jnp.cos(angles), jnp.sin(angles))
    return jnp.concatenate(pair, axis=-1)


class GaussianFourier(nn.Module):
    """Random Fourier features of a noise level, ``[sin(2 pi w log t), cos(2 pi w log t)]``, w drawn once and kept.

    The frequencies stand among the parameters, to be saved with them, but no gradient reaches them.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", arXiv 2011.13456, appendix C.
    """

    scale: float = 16.0

    @nn.compact
    def __call__(self, t: Array, width: int) -> Array:
        """Map positive levels ``[b]`` to ``[b, 2 width]`` in float32."""
        weight = jax.lax.stop_gradient(self.param("weight", nn.initializers.normal(self.scale), (width,)))
        angles = 2 * jnp.pi * jnp.log(t)[:, None] * weight.astype(jnp.float32)
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def embed_time(
    t: Array, x: Array, features: int, width: int, kind: Callable[[Array, int], Array] = sinusoidal
) -> Array:
    """Time embedding of the module that calls it: features of a time, then two dense layers with SiLU between.

    Args:
        t: ``[b]`` or a scalar.
        x: the input ``[b, ...]`` whose batch and dtype the embedding follows.
        features: number of features, even.
        width: of the result.
        kind: ``kind(t, features)``, such as `sinusoidal` or a `GaussianFourier` module.

    Returns:
        ``[b, width]``.

    Reference:
        Ho et al. 2020, arXiv 2006.11239, appendix B.
    """
    t = jnp.broadcast_to(jnp.asarray(t, jnp.float32), x.shape[:1])
    return two_layers(kind(t, features).astype(x.dtype), width)


def two_layers(x: Array, width: int) -> Array:
    """Two dense layers of the module that calls it, with SiLU between: ``[b, k]`` to ``[b, width]``."""
    return layers.Dense(width)(nn.silu(layers.Dense(width)(x)))


class LabelEmbedding(nn.Module):
    """A table of ``classes + 1`` vectors; the last is that of the null label of classifier-free guidance.

    Reference:
        Ho & Salimans 2022, arXiv 2207.12598, section 3.
    """

    classes: int
    features: int

    @nn.compact
    def __call__(self, label: Array | None, b: int) -> Array:
        """Map integers ``[b]`` or a scalar to ``[b, features]``; None is the null label, one out of range gives NaN."""
        table = self.param("table", nn.initializers.normal(0.02), (self.classes + 1, self.features))
        label = jnp.broadcast_to(jnp.asarray(self.classes if label is None else label), (b,))
        return jnp.take(table, jnp.where(label < 0, self.classes + 1, label), axis=0, mode="fill", fill_value=jnp.nan)


class ClassEmbedding(nn.Module):
    """A table of `classes` vectors, for networks that always know the class."""

    classes: int
    features: int
    kernel_init: Callable = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self, label: Array) -> Array:
        """Map integers ``[b]`` to ``[b, features]``; one out of range gives NaN."""
        table = self.param("kernel", self.kernel_init, (self.classes, self.features))
        return jnp.take(table, jnp.where(label < 0, self.classes, label), axis=0, mode="fill", fill_value=jnp.nan)
