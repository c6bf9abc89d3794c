"""Errors of displacement fields: against a known field, and at landmarks."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxgen.medical.registration.transformer import interpolate
from jaxgen.types import Array


def endpoint_error(flow: Array, truth: Array, foreground: Array | None = None) -> Array:
    """The mean distance of displacements from the true ones, ``mean |u(p) - v(p)|``.

    Args:
        flow: ``[b, *spatial, r]`` in voxels.
        truth: the same shape.
        foreground: ``[b, *spatial]``, counted where nonzero; None counts all.

    Returns:
        Float32 ``[b]`` in voxels; 0 where there is no foreground.

    Example:
        >>> endpoint_error(jnp.zeros((1, 4, 4, 2)), jnp.full((1, 4, 4, 2), 1.0) * jnp.array([3.0, 4.0])).tolist()
        [5.0]
    """
    distance = jnp.linalg.norm((flow - truth).astype(jnp.float32), axis=-1)
    counted = jnp.ones_like(distance) if foreground is None else (foreground != 0).astype(jnp.float32)
    axes = tuple(range(1, distance.ndim))
    return jnp.sum(distance * counted, axis=axes) / jnp.maximum(jnp.sum(counted, axis=axes), 1)


def landmark_error(flow: Array, fixed: Array, moving: Array, *, spacing: Sequence[float] | None = None) -> Array:
    """The target registration error: how far landmarks of the fixed image land from those of the moving image.

    ``|p_fixed + u(p_fixed) - p_moving|`` with u between voxels by linear interpolation.

    Args:
        flow: ``[b, *spatial, r]`` in voxels, that brings the moving image to the fixed one (`warp`).
        fixed: ``[b, n, r]`` in voxels.
        moving: the same shape.
        spacing: millimetres of a voxel along each axis; None leaves voxels.

    Returns:
        ``[b, n]``, one distance per landmark.

    Example:
        >>> points = jnp.array([[[1.0, 1.0], [2.0, 2.5]]])
        >>> landmark_error(jnp.full((1, 4, 4, 2), 0.5), points, points + 0.5).tolist()
        [[0.0, 0.0]]
    """
    away = fixed + interpolate(flow, fixed) - moving
    return jnp.linalg.norm(away * jnp.asarray(spacing or (1.0,) * away.shape[-1]), axis=-1)
