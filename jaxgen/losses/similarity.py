"""How alike two images are: local correlation and mutual information, one value per pair."""

import jax.numpy as jnp
import numpy as np

from jaxgen.types import Array


def lncc(a: Array, b: Array, *, window: int = 9, epsilon: float = 1e-5, zeros: bool = False) -> Array:
    """Squared local correlation, ``mean_p cov_p(a, b)^2 / (max(var_p(a), eps) max(var_p(b), eps))``.

    Sums over a box around each pixel p; variances are sums, not means, so `epsilon` is the energy below which a window
    counts as flat. A loss is ``-lncc`` or ``1 - lncc``.

    Args:
        a: ``[b, *spatial, c]``, with values of about [0, 1].
        b: the same shape.
        window: side of the box in pixels, odd.
        epsilon: the least variance.
        zeros: windows at the border reach into zeros, as published; otherwise they are cut there, and the value
            does not change with brightness.

    Returns:
        Float32 ``[b]`` in [0, 1]: 1 where one image is an affine function of the other in every window.

    Raises:
        ValueError: if the shapes differ or `window` is even.

    Reference:
        Avants et al. 2008, "Symmetric diffeomorphic image registration with cross-correlation", eq. 5; Balakrishnan et
        al. 2019, "VoxelMorph", arXiv 1809.05231, eq. 6.

    Example:
        >>> import jax
        >>> x = jax.random.uniform(jax.random.key(0), (1, 16, 16, 1))
        >>> lncc(x, 0.3 - 0.2 * x).round(3).tolist()
        [1.0]
    """
    if a.shape != b.shape or window % 2 == 0:
        raise ValueError(f"lncc needs images of one shape and an odd window, got {a.shape}, {b.shape} and {window}")
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    axes = tuple(range(1, a.ndim - 1))
    if not zeros:  # what the windows do not see, and what keeps their sums small
        a, b = (x - jnp.mean(x, axis=axes, keepdims=True) for x in (a, b))
    count = np.ones(a.shape[1:-1], np.float32)
    for axis, n in enumerate(count.shape):
        inside = np.full(n, float(window)) if zeros else _band(n, window).sum(0)
        count = count * inside.reshape([-1 if i == axis else 1 for i in range(count.ndim)])
    sums = [box_sum(x, window) for x in (a, b, a * a, b * b, a * b)]
    share = 1 / count.astype(np.float32)[..., None]
    cross = sums[4] - sums[0] * sums[1] * share
    first, second = (jnp.maximum(sums[2 + i] - sums[i] ** 2 * share, epsilon) for i in range(2))
    return jnp.mean(cross**2 / (first * second), axis=tuple(range(1, a.ndim)))


def box_sum(x: Array, window: int) -> Array:
    """The sum over a box around each pixel, zeros beyond the border.

    Args:
        x: ``[b, *spatial, c]``.
        window: side of the box, odd.

    Returns:
        The same shape.

    Example:
        >>> box_sum(jnp.ones((1, 4, 1)), 3).ravel().tolist()
        [2.0, 3.0, 3.0, 2.0]
    """
    for axis in range(1, x.ndim - 1):
        band = jnp.asarray(_band(x.shape[axis], window), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(x, band, axes=(axis, 0), precision="highest"), -1, axis)
    return x


def _band(n: int, window: int) -> np.ndarray:
    """A matrix ``[n, n]`` with ones near the diagonal: its product is one fast call, forwards and backwards."""
    place = np.arange(n)
    return (np.abs(place[:, None] - place) <= window // 2).astype(np.float32)


def mutual_information(a: Array, b: Array, *, bins: int = 32) -> Array:
    """Mutual information of the values of two images, ``sum p(i, j) log(p(i, j) / (p(i) p(j)))``, in nats.

    The histogram is soft: a value between the centres of two bins counts to both, by its distance from them, so that
    there are gradients; values on the centres are counted exactly. A loss is its negative.

    Args:
        a: ``[b, *spatial, c]``, values in [0, 1]; what lies outside is cut off.
        b: the same shape.
        bins: their centres are ``linspace(0, 1, bins)``.

    Returns:
        Float32 ``[b]``, from 0 to ``log(bins)``.

    Raises:
        ValueError: if the shapes differ or there are fewer than 2 bins.

    Reference:
        Wells et al. 1996, "Multi-modal volume registration by maximization of mutual information"; Mattes et al. 2003
        for soft histograms, here of linear B-splines.

    Example:
        >>> x = jnp.array([0.0, 1.0, 0.0, 1.0]).reshape(1, 2, 2, 1)
        >>> round(mutual_information(x, 1 - x).item(), 4), mutual_information(x, 0 * x).item()
        (0.6931, 0.0)
    """
    if a.shape != b.shape or bins < 2:
        raise ValueError(f"mutual_information needs images of one shape and 2 bins, got {a.shape}, {b.shape}, {bins}")

    def weights(x: Array) -> Array:
        place = jnp.clip(x.astype(jnp.float32).reshape(len(x), -1, 1), 0, 1) * (bins - 1)
        return jnp.maximum(1 - jnp.abs(place - jnp.arange(bins)), 0)

    first, second = weights(a), weights(b)
    joint = jnp.einsum("bni,bnj->bij", first, second, precision="highest") / first.shape[1]
    apart = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    filled = joint > 0
    ratio = jnp.where(filled, joint, 1) / jnp.where(filled, apart, 1)  # a gradient of log 0 is NaN even where unused
    return jnp.sum(joint * jnp.log(ratio), axis=(1, 2))
