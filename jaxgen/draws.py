"""Random draws that do not depend on how a batch is split over devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Key


def _per_example(draw: Callable[..., Array], key: Key, shape: tuple[int, ...]) -> Array:
    if key.ndim == 0:
        return draw(key, shape)
    if key.shape != shape[:1]:
        raise ValueError(f"keys of shape {key.shape} cannot draw an array of shape {shape}: one key an example")
    return jax.vmap(lambda k: draw(k, shape[1:]))(key)


def normal(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Standard normal numbers.

    Args:
        key: one typed PRNG key, or keys of shape ``[b]`` with ``b == shape[0]``; then example i is drawn from
            ``key[i]`` alone, whatever the rest of the batch is.
        shape: the shape of the result.
        dtype: its dtype.

    Returns:
        An array of `shape`.

    Raises:
        ValueError: if `key` holds several keys but not one per example.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> whole, half = normal(keys, (4, 3)), normal(keys[2:], (2, 3))
        >>> bool((whole[2:] == half).all())
        True
    """
    return _per_example(lambda k, s: jax.random.normal(k, s, dtype), key, shape)


def uniform(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Uniform numbers in [0, 1); the arguments are those of `normal`.

    Example:
        >>> import jax
        >>> uniform(jax.random.key(0), (2,)).shape
        (2,)
    """
    return _per_example(lambda k, s: jax.random.uniform(k, s, dtype), key, shape)


def split(key: Key, n: int) -> Array:
    """Split a key, or each key of a batch of keys, into `n`: shape ``[n]`` or ``[n, b]``.

    Example:
        >>> import jax
        >>> split(jax.random.split(jax.random.key(0), 4), 3).shape
        (3, 4)
    """
    if key.ndim == 0:
        return jax.random.split(key, n)
    return jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, n))(key), 0, 1)


def bernoulli(key: Key, probability: float, shape: tuple[int, ...]) -> Array:
    """Booleans that are true with the given probability; the other arguments are those of `normal`.

    Example:
        >>> import jax
        >>> bernoulli(jax.random.key(0), 1.0, (2,)).tolist()
        [True, True]
    """
    return uniform(key, shape) < probability


def fold_in(key: Key, data: int | Array) -> Key:
    """Derive a key, or each key of a batch of keys, from a number.

    Example:
        >>> import jax
        >>> fold_in(jax.random.split(jax.random.key(0), 4), 7).shape
        (4,)
    """
    return jax.random.fold_in(key, data) if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))(key, data)
