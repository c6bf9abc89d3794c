"""The spatial transformer: images moved by displacements in voxels, in two and three dimensions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array


def voxel_grid(spatial: tuple[int, ...]) -> np.ndarray:
    """The place of every voxel, float32 ``[*spatial, r]``.

    Example:
        >>> voxel_grid((2, 2)).tolist()
        [[[0.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]
    """
    axes = (np.arange(n, dtype=np.float32) for n in spatial)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def interpolate(image: Array, place: Array, *, order: int = 1) -> Array:
    """The values of images at places between their voxels; beyond the border, those at the nearest place of it.

    Args:
        image: ``[b, *spatial, c]``, of any dtype.
        place: ``[b, *any, r]`` in voxels, one number per spatial axis; 0 is the centre of the first voxel.
        order: 1 interpolates linearly, whole numbers as float32; 0 takes the nearest voxel and keeps the dtype.

    Returns:
        ``[b, *any, c]``. With order 1 it can be differentiated in both arguments.

    Raises:
        ValueError: if `order` is neither, or the axes do not agree.

    Example:
        >>> x = jnp.array([0.0, 10.0, 30.0]).reshape(1, 3, 1)
        >>> interpolate(x, jnp.array([0.25, 1.5, 9.0]).reshape(1, 3, 1)).ravel().tolist()
        [2.5, 20.0, 30.0]
    """
    b, *spatial, c = image.shape
    if order not in (0, 1) or place.shape[-1] != len(spatial) or place.shape[0] != b:
        raise ValueError(
            f"interpolate takes order 0 or 1 and places [b, ..., {len(spatial)}], got {order}, {place.shape}"
        )
    last = np.asarray(spatial, np.float32) - 1
    strides = [int(np.prod(spatial[i + 1 :])) for i in range(len(spatial))]
    flat, place = image.reshape(b, -1, c), jnp.clip(place, 0, last)
    if order == 1 and not jnp.issubdtype(flat.dtype, jnp.inexact):
        flat = flat.astype(jnp.float32)  # unsigned numbers have no differences

    def at(voxel: Array) -> Array:
        index = sum(voxel[..., i] * stride for i, stride in enumerate(strides))
        return jax.vmap(lambda x, i: x.at[i].get(mode="clip"))(flat, index)

    if order == 0:
        return at(jnp.floor(place + 0.5).astype(jnp.int32))
    lower = jnp.floor(place)
    share = place - lower
    corner = lower.astype(jnp.int32)
    corners = [
        at(jnp.minimum(corner + np.asarray(steps, np.int32), last.astype(np.int32)))
        for steps in itertools.product((0, 1), repeat=len(spatial))
    ]
    for axis in reversed(range(len(spatial))):  # `a + s (b - a)` is exact where a = b, and at s = 0
        s = share[..., axis, None]
        corners = [a + s * (b - a) for a, b in zip(corners[::2], corners[1::2], strict=True)]
    return corners[0]


def warp(image: Array, flow: Array, *, order: int = 1) -> Array:
    """Move images by displacements, ``y(p) = image(p + flow(p))``.

    Args:
        image: ``[b, *spatial, c]``.
        flow: ``[b, *spatial, r]`` in voxels; p is a voxel of the result, so a positive number brings values
            from further along the axis.
        order: 1 for images, 0 for labels (`interpolate`).

    Returns:
        ``[b, *spatial, c]``; of a flow of zeros the image itself, bit for bit.

    Raises:
        ValueError: if the shapes do not fit.

    Reference:
        Jaderberg et al. 2015, "Spatial transformer networks", arXiv 1506.02025, section 3.3.

    Example:
        >>> x = jnp.arange(4.0).reshape(1, 4, 1)
        >>> warp(x, jnp.full((1, 4, 1), 0.5)).ravel().tolist()
        [0.5, 1.5, 2.5, 3.0]
    """
    if flow.shape != (*image.shape[:-1], image.ndim - 2):
        raise ValueError(f"images {image.shape} need a flow {(*image.shape[:-1], image.ndim - 2)}, got {flow.shape}")
    return interpolate(image, jnp.asarray(voxel_grid(flow.shape[1:-1])) + flow, order=order)
