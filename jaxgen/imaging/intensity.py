"""Intensities: measuring a range on the host, mapping it to [-1, 1] and varying it on the device."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from jaxgen import draws
from jaxgen.types import Array, Key


def percentile_range(
    images: Iterable[np.ndarray], lower: float = 0.0, upper: float = 100.0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of the values of a set of images, channel by channel (NumPy, on the host).

    Args:
        images: arrays ``[*spatial, c]`` of any sizes and equal c; values that are not finite are left out.
        lower: the lower percentile, 0 to 100.
        upper: the upper percentile, 0 to 100.

    Returns:
        ``(low [c], high [c])``, float32.

    Raises:
        ValueError: if there is no image, a channel has no finite value, or the percentiles are out of order.

    Example:
        >>> import numpy as np
        >>> low, high = percentile_range([np.arange(5.0)[:, None], np.full((2, 2, 1), 9.0)])
        >>> low.tolist(), high.tolist()
        ([0.0], [9.0])
    """
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentiles must satisfy 0 <= lower < upper <= 100, got {lower} and {upper}")
    flat = [np.asarray(image).reshape(-1, np.shape(image)[-1]) for image in images]
    if not flat:
        raise ValueError("a range needs at least one image")
    values = np.concatenate(flat).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    if np.isnan(values).all(axis=0).any():
        raise ValueError("a channel has no finite value")
    low, high = np.nanpercentile(values, [lower, upper], axis=0)
    return low.astype(np.float32), high.astype(np.float32)


def to_unit_range(x: Array, low: Array | float, high: Array | float, *, clip: bool = True) -> Array:
    """Map ``[low, high]`` to ``[-1, 1]``: ``2 (x - low) / (high - low) - 1``.

    Args:
        x: ``[..., c]``, of any number type.
        low: the value that goes to -1, a number or one a channel ``[c]``.
        high: the value that goes to 1. Where it is not above `low` (a constant channel) the result is 0.
        clip: cut what falls outside [-1, 1].

    Returns:
        float32, the shape of `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> to_unit_range(jnp.array([0, 64, 128, 256, 300]), 0, 256).tolist()
        [-1.0, -0.5, 0.0, 1.0, 1.0]
    """
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    valid = high > low
    unit = 2 * (jnp.asarray(x, jnp.float32) - low) / jnp.where(valid, high - low, 1) - 1
    unit = jnp.where(valid, unit, 0)
    return jnp.clip(unit, -1, 1) if clip else unit


def from_unit_range(x: Array, low: Array | float, high: Array | float) -> Array:
    """Map [-1, 1] back to ``[low, high]``: ``low + (x + 1) (high - low) / 2``, the inverse of `to_unit_range`.

    Args:
        x: ``[..., c]``.
        low: the value of -1, a number or ``[c]``.
        high: the value of 1.

    Returns:
        float32, the shape of `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> from_unit_range(jnp.array([-1.0, 0.0, 1.0]), 0, 10).tolist()
        [0.0, 5.0, 10.0]
    """
    low, high = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    return low + (jnp.asarray(x, jnp.float32) + 1) * (high - low) / 2


def _one_each(key: Key, x: Array, amount: float, per_channel: bool) -> Array:
    """A number in [-amount, amount) for every example, or for every channel of every example."""
    shape = (x.shape[0], x.shape[-1] if per_channel else 1)
    number = amount * (2 * draws.uniform(key, shape) - 1)
    return number.reshape(shape[:1] + (1,) * (x.ndim - 2) + shape[1:])


def random_brightness(key: Key, x: Array, amount: float, *, per_channel: bool = False) -> Array:
    """Add a number uniform in ``[-amount, amount]`` to each image.

    Args:
        key: a key, or keys ``[b]``.
        x: images ``[b, *spatial, c]``.
        amount: the largest change, in the unit of `x`.
        per_channel: draw one number a channel instead of one per image.

    Returns:
        ``[b, *spatial, c]``, not clipped.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bool(jnp.abs(random_brightness(jax.random.key(0), jnp.zeros((2, 4, 4, 1)), 0.1)).max() <= 0.1)
        True
    """
    return x + _one_each(key, x, amount, per_channel)


def random_contrast(key: Key, x: Array, amount: float, *, per_channel: bool = False) -> Array:
    """Stretch each image about its mean by a factor ``exp(u)``, u uniform in ``[-amount, amount]``.

    Args:
        key: a key, or keys ``[b]``.
        x: images ``[b, *spatial, c]``; the mean is that of each channel of each image.
        amount: the largest logarithm of the factor; 0.7 doubles or halves the contrast.
        per_channel: draw one factor a channel instead of one per image.

    Returns:
        ``[b, *spatial, c]``, not clipped.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bool(jnp.allclose(random_contrast(jax.random.key(0), jnp.ones((2, 4, 4, 1)), 0.5), 1))
        True
    """
    mean = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    return mean + (x - mean) * jnp.exp(_one_each(key, x, amount, per_channel))


def random_gamma(key: Key, x: Array, amount: float, *, per_channel: bool = False) -> Array:
    """Bend the scale of each image: ``2 ((x + 1) / 2)^g - 1`` with ``g = exp(u)``, u uniform in ``[-amount, amount]``.

    Args:
        key: a key, or keys ``[b]``.
        x: images ``[b, *spatial, c]`` in [-1, 1]; what is outside is cut first.
        amount: the largest logarithm of the exponent.
        per_channel: draw one exponent a channel instead of one per image.

    Returns:
        ``[b, *spatial, c]`` in [-1, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> ends = jnp.array([-1.0, 1.0]).reshape(1, 2, 1)
        >>> random_gamma(jax.random.key(0), ends, 0.5).ravel().tolist()
        [-1.0, 1.0]
    """
    exponent = jnp.exp(_one_each(key, x, amount, per_channel))
    return 2 * ((jnp.clip(x, -1, 1) + 1) / 2) ** exponent - 1
