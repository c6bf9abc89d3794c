"""A distance of images by what a network sees in them."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxgen.losses.likelihood import _float
from jaxgen.types import Array

Features = Callable[[Array], Sequence[Array]]


def perceptual_distance(
    features: Features, x: Array, reference: Array, *, weights: Sequence[Array] | None = None, epsilon: float = 1e-10
) -> Array:
    """Distance of images in the features of a network, in the form of LPIPS.

    At each layer the vector of channels is scaled to length 1 at every position; the squared differences are weighted
    and added up over channels, averaged over positions, and added up over layers:
    ``sum_l mean_p sum_c w_lc (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2``.

    Args:
        features: ``images [b, *spatial, c] -> (layer [b, *spatial_l, c_l], ...)``: any network, trained or not.
        x: ``[b, *spatial, c]``.
        reference: of the same shape.
        weights: ``[c_l]`` for each layer; None weighs every channel with ``1 / c_l``, so that a layer of unrelated
            images counts alike whatever its width.
        epsilon: added to the length.

    Returns:
        Float32 ``[b]``, 0 for equal images. It is LPIPS itself only with that paper's network and weights.

    Raises:
        ValueError: if there are not as many weights as layers.

    Reference:
        Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1.

    Example:
        >>> layers = lambda x: (x, x[:, ::2])
        >>> x = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
        >>> perceptual_distance(layers, x, 3 * x).tolist(), perceptual_distance(layers, x, x[..., ::-1]).tolist()
        ([0.0], [2.0])
    """
    pairs = list(zip(features(x), features(reference), strict=True))
    if weights is None:
        weights = [jnp.full(a.shape[-1:], 1 / a.shape[-1], jnp.float32) for a, _ in pairs]
    if len(weights) != len(pairs):
        raise ValueError(f"{len(weights)} weights for {len(pairs)} layers")

    def unit(a: Array) -> Array:
        a = _float(a)
        # The length's gradient at zero features would be infinite without the inner constant.
        return a / (jnp.sqrt(jnp.sum(a**2, -1, keepdims=True) + epsilon**2) + epsilon)

    total = jnp.zeros(x.shape[:1], jnp.float32)
    for (a, b), weight in zip(pairs, weights, strict=True):
        difference = jnp.sum(weight * (unit(a) - unit(b)) ** 2, -1)
        total += jnp.mean(difference, tuple(range(1, difference.ndim)))
    return total
