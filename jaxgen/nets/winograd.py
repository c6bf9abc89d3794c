"""Convolution with windows of 3 x 3, and its gradient in the kernel, with fewer multiplications, for CPU.

For 2 x 2 pixels of the result a pair of channels takes 36 multiplications; by Winograd's minimal filtering it takes 16.
Tiles of 4 x 4 pixels are transformed by additions alone; between the transforms are 16 matrix products. A few images
are taken at a time, for the transformed tiles, four times as large as they are, must stay in the cache.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array

TO_TILES = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
TO_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
TO_RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
"""The matrices B', G and A' of F(2 x 2, 3 x 3)."""

TILES = 2048
"""Tiles at a time."""


def winograd_convolution(x: Array, kernel: Array) -> Array:
    """Convolution that keeps the size, with zero padding: ``A' [(G k G') * (B' d B)] A`` for each tile d of `x`.

    Args:
        x: ``[b, h, w, c_in]``, of any size.
        kernel: ``[3, 3, c_in, c_out]``.

    Returns:
        ``[b, h, w, c_out]``.

    Reference:
        Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", arXiv 1509.09308, eq. 12.

    Example:
        >>> winograd_convolution(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].astype(int).tolist()
        [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]
    """
    b, h, w, _ = x.shape
    filters = jnp.einsum("ai,ej,ijco->aeco", TO_KERNEL, TO_KERNEL, kernel).reshape(16, *kernel.shape[2:])
    made = jax.lax.map(lambda part: _convolved(part, filters), _in_parts(x))
    return made.reshape(b, *made.shape[2:])[:, :h, :w]


def winograd_kernel_gradient(x: Array, cotangent: Array) -> Array:
    """The gradient of such a convolution in its kernel: ``G' [sum (B' d B) * (A g A')] G`` over tiles d of `x`.

    The sum takes the 2 x 2 pixels g of `cotangent` that belong to a tile.

    Args:
        x: ``[b, h, w, c_in]``, what was convolved, of any size.
        cotangent: ``[b, h, w, c_out]``, of the result.

    Returns:
        ``[3, 3, c_in, c_out]``.

    Reference:
        Lavin & Gray 2016, arXiv 1509.09308: the transpose, in the kernel, of eq. 12.

    Example:
        >>> winograd_kernel_gradient(jnp.ones((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))).ravel().astype(int).tolist()
        [1, 2, 1, 2, 4, 2, 1, 2, 1]
    """
    channels = x.shape[-1], cotangent.shape[-1]

    def add(total: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        return total + jnp.stack(_correlated(*parts)), None

    none = jnp.zeros((16, *channels), x.dtype)
    total, _ = jax.lax.scan(add, none, (_in_parts(x), _in_parts(cotangent)))
    return jnp.einsum("ai,ej,aeco->ijco", TO_KERNEL, TO_KERNEL, total.reshape(4, 4, *channels))


def _in_parts(x: Array) -> Array:
    """Images with even sides, ``[parts, b / parts, h, w, c]``."""
    b, h, w, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
    tiles = x.shape[1] * x.shape[2] // 4
    size = max([n for n in range(1, b + 1) if b % n == 0 and n * tiles <= TILES], default=1)
    return x.reshape(b // size, size, *x.shape[1:])


def _convolved(x: Array, filters: Array) -> Array:
    b, h, w, c = x.shape
    products = [tile.reshape(-1, c) @ f for tile, f in zip(_tiles(x), filters, strict=True)]
    found = _transformed(TO_RESULT, [products[i : i + 4] for i in range(0, 16, 4)])
    # Two pixels beside each other, then two rows below each other.
    rows = [jnp.stack([y.reshape(b, h // 2, w // 2, -1) for y in found[i : i + 2]], 3) for i in (0, 2)]
    return jnp.stack([row.reshape(b, h // 2, w, -1) for row in rows], 2).reshape(b, h, w, -1)


def _correlated(x: Array, cotangent: Array) -> list[Array]:
    spread = _transformed(TO_RESULT.T, [[cotangent[:, i::2, j::2] for j in range(2)] for i in range(2)])
    pairs = zip(_tiles(x), spread, strict=True)
    return [d.reshape(-1, d.shape[-1]).T @ g.reshape(-1, g.shape[-1]) for d, g in pairs]


def _tiles(x: Array) -> list[Array]:
    """``B' d B`` of all tiles d, which overlap by two pixels: 16 arrays ``[b, h / 2, w / 2, c]``."""
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return _transformed(TO_TILES, [[x[:, i : i + h - 1 : 2, j : j + w - 1 : 2] for j in range(4)] for i in range(4)])


def _transformed(matrix: np.ndarray, tiles: Sequence[Sequence[Array]]) -> list[Array]:
    """``matrix tiles matrix'``, entry by entry, row by row."""
    by_row = [[_combined(row, column) for column in zip(*tiles, strict=True)] for row in matrix]
    return [_combined(row, entries) for entries in by_row for row in matrix]


def _combined(factors: np.ndarray, arrays: Sequence[Array]) -> Array:
    """The sum of arrays with factors of 0, 1 and -1."""
    signed = [x if factor > 0 else -x for factor, x in zip(factors, arrays, strict=True) if factor]
    return sum(signed[1:], signed[0])
