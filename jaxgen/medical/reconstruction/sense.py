"""CG-SENSE: least squares with a Tikhonov term, by conjugate gradients."""

from jaxgen.imaging.operators import LinearOperator, pseudo_inverse
from jaxgen.types import Array


def cg_sense(operator: LinearOperator, y: Array, weight: float | Array = 0.0, *, iterations: int = 30) -> Array:
    """The image of least ``|A x - y|^2 + weight |x|^2``.

    For coils (`jaxgen.imaging.mri.mri_operator` with sensitivities) this is CG-SENSE. For a single coil it can add
    nothing to the zero-filled image but shrink it: missing samples stay 0.

    Args:
        operator: A.
        y: the measurements ``[b, ...]``.
        weight: of the Tikhonov term.
        iterations: of conjugate gradients. Few of them dampen noise as the weight does.

    Returns:
        x ``[b, *spatial, c]``.

    Reference:
        Pruessmann et al. 2001, "Advances in sensitivity encoding with arbitrary k-space trajectories".

    Example:
        >>> import jax.numpy as jnp
        >>> everything = LinearOperator(lambda x: x, lambda y: y)
        >>> cg_sense(everything, jnp.ones((1, 2, 2, 1)), 1.0).ravel().tolist()
        [0.5, 0.5, 0.5, 0.5]
    """
    return pseudo_inverse(operator, iterations=iterations, damping=weight)(y)
