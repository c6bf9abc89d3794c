"""Volumes and their slices: folding one into the other, thick slices, and operators of images lifted to volumes.

A volume is ``[b, x, y, z, c]``; axis 0 is x. Slices across an axis are images of the other two, in their order.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxgen.imaging.operators import LinearOperator
from jaxgen.types import Array


def slices_of(x: Array, axis: int) -> Array:
    """All slices of volumes across an axis, those of one volume after those of the one before.

    Args:
        x: ``[b, x, y, z, c]``.
        axis: 0, 1 or 2.

    Returns:
        Images ``[b n, h, w, c]``, n the number of slices.

    Example:
        >>> slices_of(jnp.zeros((2, 3, 4, 5, 1)), 1).shape
        (8, 3, 5, 1)
    """
    front = jnp.moveaxis(x, 1 + axis, 1)
    return front.reshape(-1, *front.shape[2:])


def volumes_of(slices: Array, axis: int, count: int) -> Array:
    """The volumes of slices, the inverse of `slices_of`.

    Args:
        slices: ``[b n, h, w, c]``.
        axis: that they lie across.
        count: n, the number of slices of a volume.

    Returns:
        ``[b, x, y, z, c]``.

    Example:
        >>> x = jnp.arange(24.0).reshape(1, 2, 3, 4, 1)
        >>> bool((volumes_of(slices_of(x, 2), 2, 4) == x).all())
        True
    """
    return jnp.moveaxis(slices.reshape(-1, count, *slices.shape[1:]), 1, 1 + axis)


def thick_slices(factor: int) -> LinearOperator:
    """The mean of each `factor` neighbouring slices along z: ``A A' = 1 / factor``.

    The pseudo-inverse ``factor A'`` repeats each thick slice (`interpolate_slices`).

    Args:
        factor: how many slices make a thick one.

    Returns:
        ``forward: [b, x, y, z, c] -> [b, x, y, z / factor, c]``, and its adjoint.

    Raises:
        ValueError: when it is called, if z is no multiple of the factor.

    Example:
        >>> thick_slices(2).forward(jnp.arange(4.0).reshape(1, 1, 1, 4, 1)).ravel().tolist()
        [0.5, 2.5]
    """

    def forward(x: Array) -> Array:
        b, h, w, depth, c = x.shape
        if depth % factor:
            raise ValueError(f"{depth} slices cannot be averaged {factor} at a time")
        return x.reshape(b, h, w, depth // factor, factor, c).mean(4)

    return LinearOperator(forward, lambda y: jnp.repeat(y, factor, axis=3) / factor)


def interpolate_slices(y: Array, factor: int, method: Literal["nearest", "linear", "cubic"]) -> Array:
    """Thin slices between thick ones by interpolation along z, slices taken at their middles.

    Args:
        y: ``[b, x, y, z, c]``.
        factor: how many thin slices a thick one becomes.
        method: "nearest" repeats each slice; "cubic" is Keys' cubic convolution.

    Returns:
        ``[b, x, y, factor z, c]``.

    Reference:
        Keys 1981, "Cubic convolution interpolation for digital image processing".

    Example:
        >>> y = jnp.array([0.0, 4.0]).reshape(1, 1, 1, 2, 1)
        >>> interpolate_slices(y, 2, "linear").ravel().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """
    b, h, w, depth, c = y.shape
    return jax.image.resize(y, (b, h, w, factor * depth, c), method)


def slicewise(operator: LinearOperator, depth: int) -> LinearOperator:
    """An operator of images, applied to every slice of volumes across z.

    Args:
        operator: of images ``[b z, x, y, c]``, slice by slice of one volume after the other.
        depth: z, the number of slices.

    Returns:
        ``forward: [b, x, y, z, c] -> [b, z, ...]``, its adjoint, and ``A' A`` if the operator has it.

    Example:
        >>> double = slicewise(LinearOperator(lambda x: 2 * x, lambda y: 2 * y), 4)
        >>> double.forward(jnp.ones((1, 2, 3, 4, 1))).shape
        (1, 4, 2, 3, 1)
    """

    def forward(x: Array) -> Array:
        y = operator.forward(slices_of(x, 2))
        return y.reshape(-1, depth, *y.shape[1:])

    def adjoint(y: Array) -> Array:
        return volumes_of(operator.adjoint(y.reshape(-1, *y.shape[2:])), 2, depth)

    of_slices = operator.normal
    if of_slices is None:
        return LinearOperator(forward, adjoint)
    return LinearOperator(forward, adjoint, lambda x: volumes_of(of_slices(slices_of(x, 2)), 2, depth))
