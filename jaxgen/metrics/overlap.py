"""Overlap of two masks: Dice and intersection over union, for each example or pooled over all. Safe under `jax.jit`."""

import jax.numpy as jnp

from jaxgen.types import Array


def _counts(prediction: Array, target: Array, pooled: bool) -> tuple[Array, Array]:
    """Pixels in both masks, and the sum of the two masks' pixels; NaN where a mask holds NaN or infinity."""
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    unknown = [~jnp.isfinite(x) for x in (prediction, target) if jnp.issubdtype(x.dtype, jnp.inexact)]
    prediction, target = prediction != 0, target != 0
    if prediction.shape != target.shape:
        raise ValueError(f"masks differ in shape: {prediction.shape} and {target.shape}")
    axes = tuple(range(1, prediction.ndim))
    both = jnp.sum(prediction & target, axis=axes)  # integers: exact for any one image
    sizes = jnp.sum(prediction, axis=axes) + jnp.sum(target, axis=axes)
    both, sizes = both.astype(jnp.float32), sizes.astype(jnp.float32)
    for x in unknown:
        sizes = jnp.where(jnp.any(x, axis=axes), jnp.nan, sizes)
    return (jnp.sum(both), jnp.sum(sizes)) if pooled else (both, sizes)


def _ratio(top: Array, bottom: Array) -> Array:
    return jnp.where(bottom == 0, 1.0, top / jnp.maximum(bottom, 1))


def dice(prediction: Array, target: Array, *, pooled: bool = False) -> Array:
    """Dice coefficient, the F1 score of the foreground: ``2 |A and B| / (|A| + |B|)``.

    Two empty masks agree, so their Dice is 1; one empty mask against one that is not gives 0.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same shape.
        pooled: count the pixels of the whole batch together (the "micro" mean) and return one number.

    Returns:
        float32 ``[b]`` in [0, 1], or a scalar if pooled; NaN where a mask holds NaN or infinity.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        Dice, "Measures of the Amount of Ecologic Association Between Species", 1945.

    Example:
        >>> import jax.numpy as jnp
        >>> dice(jnp.array([[1, 1, 0, 0], [0, 0, 0, 0]]), jnp.array([[0, 1, 1, 0], [0, 0, 0, 0]])).tolist()
        [0.5, 1.0]
    """
    both, sizes = _counts(prediction, target, pooled)
    return _ratio(2 * both, sizes)


def iou(prediction: Array, target: Array, *, pooled: bool = False) -> Array:
    """Intersection over union, the Jaccard index: ``|A and B| / |A or B|``; 1 for two empty masks.

    Args:
        prediction: ``[b, *spatial]``, foreground where nonzero.
        target: the same shape.
        pooled: count the pixels of the whole batch together and return one number.

    Returns:
        float32 ``[b]`` in [0, 1], or a scalar if pooled; NaN where a mask holds NaN or infinity.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> round(iou(jnp.array([[1, 1, 0, 0]]), jnp.array([[0, 1, 1, 0]])).item(), 4)
        0.3333
    """
    both, sizes = _counts(prediction, target, pooled)
    return _ratio(both, sizes - both)
