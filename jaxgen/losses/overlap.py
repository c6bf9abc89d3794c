"""Losses of overlap between a segmentation and its truth, one value per example."""

import jax.numpy as jnp

from jaxgen.types import Array


def soft_dice(probability: Array, truth: Array, *, epsilon: float = 1e-5) -> Array:
    """``1 - mean_k (2 sum p y + eps) / (sum p^2 + sum y^2 + eps)`` over the classes k.

    Args:
        probability: ``[b, *spatial, k]`` in [0, 1].
        truth: the same shape, 0 or 1.
        epsilon: keeps an empty class finite.

    Returns:
        Float32 ``[b]``, 0 for equal masks, also for empty ones.

    Reference:
        Milletari et al. 2016, "V-Net: fully convolutional neural networks for volumetric medical image segmentation",
        arXiv 1606.04797, section 3.

    Example:
        >>> y = jnp.array([[[1.0], [0.0]]])
        >>> soft_dice(y, y).tolist(), round(soft_dice(0 * y + 0.5, y).item(), 3)
        ([0.0], 0.333)
    """
    p, y = probability.astype(jnp.float32), truth.astype(jnp.float32)
    axes = tuple(range(1, p.ndim - 1))
    total = jnp.sum(p * p, axes) + jnp.sum(y * y, axes)
    return 1 - jnp.mean((2 * jnp.sum(p * y, axes) + epsilon) / (total + epsilon), axis=-1)
