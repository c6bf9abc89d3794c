"""Features of each pixel: what a frozen diffusion model makes of the image with noise, or a Gaussian pyramid of it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.types import Array, Key, Net, Params

Features = Callable[[Params, Array], Array]
"""``features(params, image [b, *spatial, c]) -> [b, *spatial, times, d]``, with the parameters of a frozen network."""

BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def enlarged(x: Array, sides: Sequence[int]) -> Array:
    """``[b, *spatial, d]`` brought to other sides, linearly along each axis.

    Example:
        >>> enlarged(jnp.array([[[0.0], [1.0]]]), (4,))[0, :, 0].tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    return jax.image.resize(x, (x.shape[0], *sides, x.shape[-1]), "linear")


def diffusion_features(net: Net, path: Path, times: Sequence[float], blocks: Sequence[int], key: Key) -> Features:
    """What blocks of a denoising U-Net's decoder say of each pixel, with noise of several levels mixed in.

    The noise is one and the same for all images and times, so that features differ where images do.

    Args:
        net: a `jaxgen.nets.unet` with times.
        path: how noise was mixed in when it was trained.
        times: of the path.
        blocks: of the decoder, see ``taken`` of the network.
        key: of the noise.

    Returns:
        `Features`; d is the sum of the blocks' widths.

    Reference:
        Baranchuk et al. 2022, "Label-efficient semantic segmentation with diffusion models", arXiv 2112.03126,
        section 3.2.

    Example:
        >>> from jaxgen.nets import unet
        >>> from jaxgen.paths import cosine
        >>> net, image = unet(1, channels=(8, 16), blocks=1), jnp.zeros((2, 8, 8, 1))
        >>> params = jax.jit(net.init)(jax.random.key(0), image, 0.0)
        >>> jax.jit(diffusion_features(net, cosine(), (0.1, 0.2, 0.3), (1, 2), jax.random.key(1)))(params, image).shape
        (2, 8, 8, 3, 24)
    """

    def features(params: Params, image: Array) -> Array:
        noise = jax.random.normal(key, image.shape[1:])

        def at(t: Array) -> Array:
            found = net.apply(params, path.alpha(t) * image + path.sigma(t) * noise, t, taken=blocks)
            return jnp.concatenate([enlarged(h, image.shape[1:-1]) for h in found], axis=-1)

        return jnp.moveaxis(jax.lax.map(at, jnp.asarray(times, jnp.float32)), 0, -2)

    return features


def pyramid_features(levels: int) -> Features:
    """The pixel itself, and the levels of a Gaussian pyramid there: what features of a network must be better than.

    Args:
        levels: how many, the image itself among them.

    Returns:
        `Features` of one time, without parameters; d is ``levels c``.

    Reference:
        Burt and Adelson 1983, "The Laplacian pyramid as a compact image code", eq. 1.

    Example:
        >>> pyramid_features(3)({}, jnp.ones((1, 8, 8, 2)))[0, 0, 0].round(3).tolist()
        [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    def features(params: Params, image: Array) -> Array:
        del params
        found = [image]
        for _ in range(levels - 1):
            found.append(_halved(found[-1]))
        return jnp.concatenate([enlarged(h, image.shape[1:-1]) for h in found], axis=-1)[..., None, :]

    return features


def _halved(x: Array) -> Array:
    """Every other pixel along each axis, after a binomial filter."""
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        padded = jnp.pad(x, [(2, 2) if i == axis else (0, 0) for i in range(x.ndim)], mode="edge")
        parts = [jax.lax.slice_in_dim(padded, k, k + n, stride=2, axis=axis) for k in range(len(BINOMIAL))]
        x = sum((w * part for w, part in zip(BINOMIAL[1:], parts[1:], strict=True)), BINOMIAL[0] * parts[0])
    return x
