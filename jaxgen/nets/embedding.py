"""Embeddings of time."""

import math

import jax.numpy as jnp

from jaxgen.types import Array


def sinusoidal(t: Array, width: int, *, scale: float = 1000.0, max_period: float = 10000.0) -> Array:
    """Sinusoidal features of a time, ``[cos(w_i s t), sin(w_i s t)]`` with ``w_i = max_period^(-i / (width / 2))``.

    A time in [0, 1] is multiplied by `scale` first: unscaled, most of the frequencies would hardly move.

    Args:
        t: ``[b]``.
        width: number of features, even.
        scale: multiplies `t`.
        max_period: the longest period, in units of scaled time.

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
    frequencies = jnp.exp(-math.log(max_period) * jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
    angles = scale * jnp.asarray(t, jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
