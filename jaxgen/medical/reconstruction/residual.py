"""What a clean image leaves unexplained of the measurements."""

import jax.numpy as jnp

from jaxgen.imaging.operators import LinearOperator, inner_product
from jaxgen.types import Array


def residual(operator: LinearOperator, y: Array, x: Array) -> Array:
    """The misfit ``y - A x``.

    Args:
        operator: A.
        y: the measurements ``[b, ...]``.
        x: the image ``[b, *spatial, c]``.

    Returns:
        An array of the shape of y.

    Raises:
        ValueError: if A x and y differ in shape, or one is complex and the other real: the difference of such arrays
            exists and means nothing.

    Example:
        >>> twice = LinearOperator(lambda x: 2 * x, lambda y: 2 * y)
        >>> residual(twice, jnp.array([[5.0]]), jnp.array([[2.0]])).tolist()
        [[1.0]]
    """
    predicted = operator.forward(x)
    if predicted.shape != y.shape or jnp.iscomplexobj(predicted) != jnp.iscomplexobj(y):
        raise ValueError(
            f"measurements y of {y.dtype} {y.shape} do not fit the operator, which gives {predicted.dtype} "
            f"{predicted.shape} of an image {x.shape}: pass y as the operator would measure it, one for each example"
        )
    return y - predicted


def relative_residual(operator: LinearOperator, y: Array, x: Array) -> Array:
    """What an image leaves unexplained, ``|y - A x| / |y|``.

    Args:
        operator: A.
        y: the measurements ``[b, ...]``.
        x: images ``[b, *spatial, c]``.

    Returns:
        ``[b]``.

    Example:
        >>> relative_residual(LinearOperator(lambda x: x, lambda y: y), jnp.array([[4.0]]), jnp.array([[3.0]])).tolist()
        [0.25]
    """
    left = residual(operator, y, x)
    return jnp.sqrt(inner_product(left, left) / inner_product(y, y))
