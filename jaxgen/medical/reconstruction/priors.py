"""Denoisers made fit for images that the network was not trained on: of other sizes, and complex ones."""

import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.types import Array, Denoise


def any_size(denoise: Denoise, multiple: int) -> Denoise:
    """A denoiser of images of any size: they are padded by reflection at their far ends, and cut back.

    Args:
        denoise: of images ``[b, h, w, c]`` whose height and width are multiples of `multiple`.
        multiple: in pixels.

    Returns:
        The denoiser.

    Example:
        >>> any_size(lambda x, t: x + x.shape[1], 4)(jnp.zeros((1, 6, 5, 1)), 0.5).max().item()
        8.0
    """

    def padded(x: Array, t: Array) -> Array:
        height, width = x.shape[1:3]
        widths = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
        return denoise(jnp.pad(x, widths, mode="reflect"), t)[:, :height, :width]

    return padded


def nearly_real(denoise: Denoise, path: Path, deviation: float) -> Denoise:
    """A denoiser of complex images whose imaginary part is small: it has a Gaussian for prior.

    ``alpha s^2 / (alpha^2 s^2 + sigma^2) x_t`` is its clean prediction, s the standard deviation.

    Args:
        denoise: of the real part, ``[b, h, w, 1]``.
        path: the path that it was trained on.
        deviation: standard deviation of the imaginary part.

    Returns:
        A denoiser of ``[b, h, w, 2]``.

    Example:
        >>> from jaxgen.paths import rectified
        >>> both = nearly_real(lambda x, t: 0 * x, rectified(), 1.0)
        >>> both(jnp.ones((1, 1, 1, 2)), jnp.array(0.5)).ravel().tolist()
        [0.0, 1.0]
    """

    def complex_denoise(x: Array, t: Array) -> Array:
        real, alpha, variance = denoise(x[..., :1], t), path.alpha(t), deviation**2
        return jnp.concatenate([real, alpha * variance / (alpha**2 * variance + path.sigma(t) ** 2) * x[..., 1:]], -1)

    return complex_denoise
