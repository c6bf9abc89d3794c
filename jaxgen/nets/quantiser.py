"""A codebook: the nearest of its entries for each vector, and how many of them are in use."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.types import Array, Key


class Quantised(NamedTuple):
    """What `quantise` finds.

    Attributes:
        codes: the nearest entry of the codebook for each vector, ``[b, *spatial, c]``.
        number: its number, int32 ``[b, *spatial]``.
    """

    codes: Array
    number: Array


def init_codebook(key: Key, encoded: Array, count: int) -> Array:
    """A codebook of vectors that an encoder gave, with a little noise: each entry starts where there is data.

    Args:
        key: a PRNG key.
        encoded: ``[b, *spatial, c]``.
        count: entries.

    Returns:
        ``[count, c]``.

    Example:
        >>> init_codebook(jax.random.key(0), jnp.ones((2, 4, 4, 3)), 8).shape
        (8, 3)
    """
    vectors = encoded.reshape(-1, encoded.shape[-1])
    pick_key, noise_key = jax.random.split(key)
    chosen = vectors[jax.random.choice(pick_key, len(vectors), (count,), replace=len(vectors) < count)]
    spread = jnp.std(vectors) + 1e-3
    return chosen + 0.01 * spread * jax.random.normal(noise_key, chosen.shape, chosen.dtype)


def quantise(codebook: Array, encoded: Array) -> Quantised:
    """The entry of a codebook nearest to each vector.

    Args:
        codebook: ``[count, c]``.
        encoded: ``[b, *spatial, c]``.

    Returns:
        The codes, through which gradients reach the codebook, and their numbers. Gradients for the encoder take
        `jaxgen.losses.straight_through`.

    Reference:
        van den Oord et al. 2017, "Neural discrete representation learning", eq. 1 and 2.

    Example:
        >>> found = quantise(jnp.array([[0.0], [1.0]]), jnp.array([[0.8], [-3.0]]))
        >>> found.codes.ravel().tolist(), found.number.tolist()
        ([1.0, 0.0], [1, 0])
    """
    flat, book = (a.astype(jnp.float32) for a in (encoded, codebook))
    # |e|^2 is the same for every entry, so the nearest maximises e . c - |c|^2 / 2.
    likeness = flat @ book.T - 0.5 * jnp.sum(book**2, -1)
    index = jnp.argmax(likeness, -1).astype(jnp.int32)
    return Quantised(codebook[index], index)


def perplexity(index: Array, count: int) -> Array:
    """How many entries a batch uses, as a number: the exponential of the entropy of their frequencies.

    Args:
        index: numbers of entries, any shape.
        count: entries of the codebook.

    Returns:
        Float32 scalar from 1 (one entry serves all) to `count` (all are used alike).

    Example:
        >>> round(float(perplexity(jnp.array([0, 1, 2, 2]), 8)), 3)
        2.828
    """
    share = jnp.bincount(index.ravel(), length=count) / index.size
    return jnp.exp(jnp.sum(jax.scipy.special.entr(share)))
