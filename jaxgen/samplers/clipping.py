"""Denoisers whose answers are held to the range of the data: Denoise -> Denoise."""

import jax.numpy as jnp

from jaxgen.types import Array, Denoise


def clip(denoise: Denoise, low: Array | float = -1.0, high: Array | float = 1.0) -> Denoise:
    """Clip x0 to a range: ``min(max(x0, low), high)``.

    Args:
        denoise: the denoiser.
        low: the smallest value of the data, a number or anything that broadcasts against x0.
        high: the largest.

    Returns:
        A denoiser.

    Reference:
        Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", whose code does so.

    Example:
        >>> clip(lambda x, t: 3 * x)(jnp.array([-2.0, 0.25, 1.0]), 0.5).tolist()
        [-1.0, 0.75, 1.0]
    """
    return lambda x, t: jnp.clip(denoise(x, t), low, high)


def dynamic_threshold(
    denoise: Denoise, quantile: float = 0.995, maximum: float = float("inf"), *, channelwise: bool = False
) -> Denoise:
    """Clip each x0 to a range of its own and bring that back to [-1, 1]: ``clip(x0, -m, m) / m``.

    m is the quantile of ``|x0|`` over an example's values, but at least 1 and at most `maximum`. Guidance of large
    scale drives values out of range; plain clipping then saturates them, this does not.

    Args:
        denoise: the denoiser; its data lie in [-1, 1].
        quantile: in [0, 1].
        maximum: the largest m; 1 makes it plain clipping.
        channelwise: whether each channel ``[b, *spatial]`` has an m of its own, as images of several contrasts need.

    Returns:
        A denoiser.

    Reference:
        Saharia et al. 2022, "Photorealistic text-to-image diffusion models with deep language understanding", section
        2.3; channel by channel: Sanchez et al. 2022, "What is healthy? Generative counterfactual diffusion for lesion
        localization" (dynamic normalisation).

    Example:
        >>> dynamic_threshold(lambda x, t: x, quantile=1.0)(jnp.array([[-4.0, 2.0], [0.5, 0.1]]), 0.5)[0].tolist()
        [-1.0, 0.5]
    """

    def denoise_within(x: Array, t: Array) -> Array:
        x0 = denoise(x, t)
        axes = tuple(range(1, x0.ndim - 1 if channelwise else x0.ndim))
        size = jnp.abs(x0).astype(jnp.promote_types(x0.dtype, jnp.float32))
        m = jnp.clip(jnp.quantile(size, quantile, axis=axes, keepdims=True), 1, maximum)
        return (jnp.clip(x0, -m, m) / m).astype(x0.dtype)

    return denoise_within
