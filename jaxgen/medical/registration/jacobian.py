"""Jacobian determinants of displacement fields, and where fields fold."""

import jax.numpy as jnp

from jaxgen.types import Array


def jacobian_determinant(flow: Array) -> Array:
    """How a field scales volumes, ``det(I + du / dp)``, at every voxel.

    Derivatives are central differences, one-sided at the border.

    Args:
        flow: ``[b, *spatial, r]`` in voxels, r = 2 or 3.

    Returns:
        Float32 ``[b, *spatial]``: 1 for a translation or a rotation, 0 or less where the field folds.

    Raises:
        ValueError: if there are neither two nor three axes.

    Example:
        >>> jacobian_determinant(jnp.zeros((1, 4, 4, 2))).mean().item()
        1.0
    """
    rank = flow.shape[-1]
    if rank not in (2, 3) or flow.ndim != rank + 2:
        raise ValueError(f"jacobian_determinant takes fields [b, *spatial, r] of 2 or 3 axes, got {flow.shape}")
    flow = flow.astype(jnp.float32)
    slopes = [jnp.asarray(jnp.gradient(flow, axis=axis)) for axis in range(1, rank + 1)]
    m = [[slopes[j][..., i] + (i == j) for j in range(rank)] for i in range(rank)]
    if rank == 2:
        return m[0][0] * m[1][1] - m[0][1] * m[1][0]
    minors = [m[1][(k + 1) % 3] * m[2][(k + 2) % 3] - m[1][(k + 2) % 3] * m[2][(k + 1) % 3] for k in range(3)]
    return m[0][0] * minors[0] + m[0][1] * minors[1] + m[0][2] * minors[2]


def folded_share(flow: Array, foreground: Array | None = None) -> Array:
    """The share of voxels at which a field folds: a Jacobian determinant of 0 or less, or one that is not a number.

    Args:
        flow: ``[b, *spatial, r]`` in voxels.
        foreground: ``[b, *spatial]``, counted where nonzero; None counts all.

    Returns:
        Float32 ``[b]`` in [0, 1]; 0 where there is no foreground.

    Example:
        >>> flip = -2.0 * jnp.stack([jnp.arange(8.0)] * 8)[None, ..., None] * jnp.array([0.0, 1.0])
        >>> folded_share(flip).tolist(), folded_share(0 * flip).tolist()
        ([1.0], [0.0])
    """
    folded = ~(jacobian_determinant(flow) > 0)
    counted = jnp.ones_like(folded) if foreground is None else foreground != 0
    axes = tuple(range(1, folded.ndim))
    total = jnp.sum(counted, axis=axes).astype(jnp.float32)
    return jnp.sum(folded & counted, axis=axes) / jnp.maximum(total, 1)
