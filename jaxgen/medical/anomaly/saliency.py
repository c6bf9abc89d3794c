"""Saliency: where an image would have to change for a classifier to change its mind."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxgen.types import Array


def saliency(log_odds: Callable[[Array], Array], x: Array, channels: Sequence[int] | None = None) -> Array:
    """The gradient of a classifier, ``mean_c |d log_odds(x) / d x|``.

    Args:
        log_odds: ``images [b, *spatial, c] -> [b]``, of illness against health, each of its own image.
        x: images ``[b, *spatial, c]``.
        channels: those that the mean is over; None for all.

    Returns:
        ``[b, *spatial]``.

    Reference:
        Simonyan et al. 2014, "Deep inside convolutional networks: visualising image classification models and saliency
        maps", arXiv 1312.6034, section 3.

    Example:
        >>> saliency(lambda x: (x**2).sum((1, 2)), jnp.array([[[1.0, -3.0]]])).tolist()
        [[4.0]]
    """
    slope = jnp.abs(jax.grad(lambda x: jnp.sum(log_odds(x)))(x))
    return (slope if channels is None else slope[..., jnp.array(channels)]).mean(-1)
