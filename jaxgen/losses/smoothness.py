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

    Differences span three voxels: ``u[i+1] - 2 u[i] + u[i-1]`` along one axis, a quarter of that of the four corners
    along two; the outermost voxels are left out.

    Args:
        flow: displacements ``[b, *spatial, r]`` in voxels, three voxels or more along each axis.

    Returns:
        Float32 ``[b]``; 0 for every affine map.

    Raises:
        ValueError: if an axis is shorter than three voxels.

    Reference:
        Rueckert et al. 1999, "Nonrigid registration using free-form deformations", eq. 8.

    Example:
        >>> x = jnp.arange(6.0) ** 2 / 2
        >>> bending_energy(jnp.stack([x] * 6)[None, ..., None] * jnp.array([1.0, 1.0])).tolist()
        [1.0]
    """
    if min(flow.shape[1:-1]) < 3:
        raise ValueError(f"bending_energy needs three voxels or more along each axis, got {flow.shape[1:-1]}")
    flow = flow.astype(jnp.float32)
    axes = range(1, flow.ndim - 1)
    total = jnp.zeros(len(flow))
    for i, j in itertools.combinations_with_replacement(axes, 2):
        second = _second(flow, i, j)
        total = total + (1 if i == j else 2) * jnp.mean(jnp.square(second), axis=tuple(range(1, flow.ndim)))
    return total


def _second(flow: Array, i: int, j: int) -> Array:
    """The second derivative along axes i and j, a voxel cut off at either end of all axes."""

    def at(**steps: int) -> Array:
        """The field moved by these steps along the first and the second axis."""
        inner = [slice(None), *[slice(1, -1)] * (flow.ndim - 2), slice(None)]
        for axis, step in ((i, steps["first"]), (j, steps.get("second", 0))):
            if step:
                inner[axis] = slice(2, None) if step > 0 else slice(None, -2)
        return flow[tuple(inner)]

    if i == j:
        return at(first=1) - 2 * at(first=0) + at(first=-1)
    corners = ((a * b) * at(first=a, second=b) for a in (1, -1) for b in (1, -1))
    return sum(corners, jnp.zeros(())) / 4
