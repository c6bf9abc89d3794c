"""Attention a few queries at a time, so that their logits stay in the cache of a core."""

import math

import jax
import jax.numpy as jnp

from jaxgen.types import Array

ROWS = 64
"""Most queries that are answered together."""
LEAST = 2**18
"""Logits of a head, below which they are in the cache anyway."""


def rows_of(queries: int, keys: int) -> int:
    """How many queries to answer together; 0 for all, where there are few logits or no divisor of their number fits.

    Example:
        >>> rows_of(1024, 1024), rows_of(1024, 77), rows_of(900, 900), rows_of(1021, 1021)
        (64, 0, 60, 0)
    """
    if queries * keys < LEAST:
        return 0
    return next((rows for rows in range(ROWS, ROWS // 4 - 1, -1) if queries % rows == 0), 0)


def chunked_attention(query: Array, key: Array, value: Array, rows: int) -> Array:
    """``softmax(q k' / sqrt(width)) v`` of `rows` queries at a time; weights are computed again for the gradient.

    Args:
        query: ``[b, n, heads, width]``, n a multiple of `rows`.
        key: ``[b, m, heads, width]``.
        value: ``[b, m, heads, width]``.
        rows: queries that are answered together.

    Returns:
        ``[b, n, heads, width]``.

    Reference:
        Rabe & Staats 2021, "Self-attention does not need O(n^2) memory", arXiv 2112.05682, section 3.

    Example:
        >>> x = jnp.ones((1, 4, 2, 8))
        >>> chunked_attention(x, x, x, 2).shape
        (1, 4, 2, 8)
    """
    b, n, heads, width = query.shape

    @jax.checkpoint
    def answer(chunk: Array) -> Array:
        logits = (jnp.einsum("brhd,bmhd->bhrm", chunk, key) / math.sqrt(width)).astype(jnp.float32)
        weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
        total = jnp.moveaxis(weights.sum(-1), 1, 2)[..., None]
        return (jnp.einsum("bhrm,bmhd->brhd", weights.astype(value.dtype), value) / total).astype(value.dtype)

    chunks = jnp.moveaxis(query.reshape(b, n // rows, rows, heads, width), 1, 0)
    return jnp.moveaxis(jax.lax.map(answer, chunks), 0, 1).reshape(b, n, heads, value.shape[-1])
