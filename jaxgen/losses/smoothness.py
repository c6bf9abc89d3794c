"""How smooth a displacement field is: diffusion energy and bending energy, one value per field."""

import itertools

import jax.numpy as jnp

from jaxgen.types import Array


def diffusion_energy(flow: Array) -> Array:
    """The squared gradient of a field, ``mean_i mean |u(p + e_i) - u(p)|^2``, averaged over axes i and components.

    Args:
        flow: displacements ``[b, *spatial, r]`` in voxels.

    Returns:
        Float32 ``[b]``; 0 for a translation.

    Reference:
        Balakrishnan et al. 2019, "VoxelMorph", arXiv 1809.05231, eq. 8.

    Example:
        >>> flow = jnp.stack([3.0 * jnp.arange(4.0)] * 4)[None, ..., None] * jnp.array([1.0, 0.0])
        >>> diffusion_energy(flow).tolist()
        [2.25]
    """
    flow = flow.astype(jnp.float32)
    axes = range(1, flow.ndim - 1)
    each = [jnp.mean(jnp.square(jnp.diff(flow, axis=axis)), axis=tuple(range(1, flow.ndim))) for axis in axes]
    return jnp.mean(jnp.stack(each), axis=0)


def bending_energy(flow: Array) -> Array:
    """The squared second derivatives of a field, ``mean sum_ij (d_i d_j u)^2``, averaged over components.

    Derivatives are central differences, each over two voxels; voxels within two of the border are left out.

    Args:
        flow: displacements ``[b, *spatial, r]`` in voxels, five voxels or more along each axis.

    Returns:
        Float32 ``[b]``; 0 for every affine map.

    Raises:
        ValueError: if an axis is shorter than five voxels.

    Reference:
        Rueckert et al. 1999, "Nonrigid registration using free-form deformations", eq. 8.

    Example:
        >>> x = jnp.arange(6.0) ** 2 / 2
        >>> bending_energy(jnp.stack([x] * 6)[None, ..., None] * jnp.array([1.0, 1.0])).tolist()
        [1.0]
    """
    if min(flow.shape[1:-1]) < 5:
        raise ValueError(f"bending_energy needs five voxels or more along each axis, got {flow.shape[1:-1]}")
    flow = flow.astype(jnp.float32)
    axes = range(1, flow.ndim - 1)
    total = jnp.zeros(len(flow))
    for i, j in itertools.combinations_with_replacement(axes, 2):
        second = _central(_central(flow, i), j)
        total = total + (1 if i == j else 2) * jnp.mean(jnp.square(second), axis=tuple(range(1, flow.ndim)))
    return total


def _central(flow: Array, axis: int) -> Array:
    """The central difference along one axis, a voxel cut off at either end of all."""
    inner = [slice(None)] + [slice(1, -1)] * (flow.ndim - 2) + [slice(None)]
    after, before = list(inner), list(inner)
    after[axis], before[axis] = slice(2, None), slice(None, -2)
    return (flow[tuple(after)] - flow[tuple(before)]) / 2
