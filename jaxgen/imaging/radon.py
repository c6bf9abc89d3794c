"""The parallel-beam Radon transform, differentiable and safe under `jax.jit`, with its exact adjoint."""

from collections.abc import Callable

from jax.typing import ArrayLike

from jaxgen.imaging.operators import LinearOperator
from jaxgen.imaging.projection import Geometry, projection_operator
from jaxgen.types import Array


def radon_operator(
    size: int, angles: ArrayLike, detectors: int | None = None, *, spacing: float = 1.0
) -> LinearOperator:
    """Integrals of an image along parallel lines, ``p(a, u) = int f(u (cos a, -sin a) + t (sin a, cos a)) dt``.

    x runs to the right and y down from the middle of the image: at angle 0 columns are added up. Angles turn as in
    scikit-image, whose middle of an image of even size is half a pixel further right and down. A volume is a batch of
    slices; see `slice_by_slice`.

    Args:
        size: side of the images in pixels.
        angles: ``[views]``, radians.
        detectors: how many rays a view; None for as many as see the whole image.
        spacing: between two rays, in pixels.

    Returns:
        ``forward(x [b, size, size, 1]) -> [b, views, detectors]``, integrals in pixels, and the adjoint. Both have
        derivatives in reverse mode, of any order.

    Raises:
        ValueError: if the numbers make no sense; when called, if an array has another shape or is not real and
            floating.

    Reference:
        Joseph 1982, "An improved algorithm for reprojecting rays through pixel images".

    Example:
        >>> import jax.numpy as jnp
        >>> operator = radon_operator(4, jnp.array([0.0, jnp.pi / 2]), 4)
        >>> image = jnp.ones((1, 4, 4, 1)) * jnp.arange(4.0)[:, None, None]
        >>> [round(float(p)) for p in operator.forward(image)[0, 1]]
        [12, 8, 4, 0]
    """
    return projection_operator(Geometry(0.0, spacing), size, angles, detectors)


def slice_by_slice(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function of batches ``[b, ...]`` as one of stacks of slices ``[b, d, ...]``, all slices in one call.

    Example:
        >>> import jax.numpy as jnp
        >>> operator = radon_operator(8, jnp.zeros(3))
        >>> slice_by_slice(operator.forward)(jnp.ones((2, 5, 8, 8, 1))).shape
        (2, 5, 3, 12)
    """

    def of_stack(x: Array) -> Array:
        y = function(x.reshape(-1, *x.shape[2:]))
        return y.reshape(*x.shape[:2], *y.shape[1:])

    return of_stack
