"""Distributions of training times: uniform, logit-normal, spread evenly over a batch, uniform in log SNR, or of levels.

Each is a function ``(path, key, n) -> [n]`` for the argument `time` of a loss.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path, log_snr, time_at, time_of_log_snr
from jaxgen.types import Array, Key


def uniform_time(path: Path, key: Key, n: int) -> Array:
    """Times spread evenly over the path, ``t_noise`` included and ``t_data`` left out (where rates may be infinite).

    Args:
        path: the path.
        key: a key, or keys ``[n]``.
        n: how many.

    Returns:
        Float32 ``[n]``.

    Example:
        >>> from jaxgen.paths import rectified
        >>> uniform_time(rectified(), jax.random.key(0), 3).shape
        (3,)
    """
    return path.t_noise + (path.t_data - path.t_noise) * draws.uniform(key, (n,))


def logit_normal(mean: float = 0.0, scale: float = 1.0) -> Callable[[Path, Key, int], Array]:
    """Times whose logit, as a fraction of the way from noise to data, is normal: more of the middle, fewer ends.

    Args:
        mean: of the logit; above 0 leans towards the data.
        scale: standard deviation of the logit.

    Returns:
        A sampler of times ``(path, key, n) -> [n]``, for the argument `time` of `flow_matching`.

    Reference:
        Esser et al. 2024, "Scaling rectified flow transformers for high-resolution image synthesis", eq. 19.

    Example:
        >>> from jaxgen.paths import rectified
        >>> logit_normal(scale=0.5)(rectified(), jax.random.key(0), 3).shape
        (3,)
    """

    def time(path: Path, key: Key, n: int) -> Array:
        fraction = jax.nn.sigmoid(mean + scale * draws.normal(key, (n,)))
        return path.t_noise + (path.t_data - path.t_noise) * fraction

    return time


def low_discrepancy(key: Key, n: int) -> Array:
    """Numbers that cover [0, 1) evenly, each of them uniform: ``(offset + i / n) mod 1`` with one random offset.

    Averages of a smooth function have far less variance than over independent numbers.

    Args:
        key: one key, or keys ``[n]``: then the first of them draws the offset, and a number depends on its place in the
            batch. Inside `jax.jit` over a mesh the batch is the whole one, whatever the number of devices; inside
            `jax.pmap` or `jax.shard_map` each device spreads its own share.
        n: how many.

    Returns:
        Float32 ``[n]``.

    Reference:
        Kingma et al. 2021, "Variational diffusion models", appendix I.1.

    Example:
        >>> import jax
        >>> u = low_discrepancy(jax.random.key(0), 4)
        >>> (jnp.sort(u) * 4).astype(int).tolist()
        [0, 1, 2, 3]
    """
    offset = draws.uniform(key if key.ndim == 0 else key[0], ())
    shifted = offset + jnp.arange(n) / n
    return jnp.where(shifted < 1, shifted, shifted - 1)


def spread_time(path: Path, key: Key, n: int) -> Array:
    """Times uniform over the path and spread evenly over the batch, by `low_discrepancy`.

    Args:
        path: the path.
        key: one key, or keys ``[n]``.
        n: how many.

    Returns:
        Float32 ``[n]``.

    Example:
        >>> import jax
        >>> from jaxgen.paths import edm
        >>> (jnp.sort(spread_time(edm(), jax.random.key(0), 4)) / 20).astype(int).tolist()
        [0, 1, 2, 3]
    """
    return path.t_noise + (path.t_data - path.t_noise) * low_discrepancy(key, n)


def uniform_log_snr(
    low: float = -math.inf, high: float = math.inf, *, spread: bool = False
) -> Callable[[Path, Key, int], Array]:
    """Times at which log SNR is uniform between two bounds.

    Where the bounds are those of the path's own range, the plain mean of noise errors over such times is the likelihood
    weighting of score matching, up to a constant: importance sampling for the weight ``g^2 / sigma^2``.

    Args:
        low: the least log SNR; cut to what the path reaches. One of the two must be finite where the path's is not.
        high: the greatest.
        spread: whether to spread the times evenly over a batch.

    Returns:
        A distribution of times ``(path, key, n) -> [n]``.

    Reference:
        Song et al. 2021, "Maximum likelihood training of score-based diffusion models", section 5.1 (importance
        sampling); Kingma et al. 2021, "Variational diffusion models", section 5.1.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_exploding
        >>> uniform_log_snr()(variance_exploding(), jax.random.key(0), 3).shape
        (3,)
    """

    def time(path: Path, key: Key, n: int) -> Array:
        ends = log_snr(path, jnp.asarray([path.t_noise, path.t_data], jnp.float32))
        first, last = jnp.clip(ends, low, high)
        u = low_discrepancy(key, n) if spread else draws.uniform(key, (n,))
        return time_of_log_snr(path, first + (last - first) * u)

    return time


def noise_levels(n_levels: int) -> Callable[[Path, Key, int], Array]:
    """Times drawn from a list of equally spaced ones, both ends of the path included.

    On `jaxgen.paths.variance_exploding` these are the geometric noise levels of NCSN.

    Args:
        n_levels: how many levels, at least 2.

    Returns:
        A distribution of times ``(path, key, n) -> [n]``.

    Raises:
        ValueError: if there are fewer than 2 levels.

    Reference:
        Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution", section 4.2.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_exploding
        >>> sorted(set(noise_levels(2)(variance_exploding(), jax.random.key(0), 20).tolist()))
        [0.0, 1.0]
    """
    if n_levels < 2:
        raise ValueError(f"{n_levels} noise levels: at least 2 are needed")

    def time(path: Path, key: Key, n: int) -> Array:
        level = jnp.floor(draws.uniform(key, (n,)) * n_levels)
        return path.t_noise + (path.t_data - path.t_noise) * (level / (n_levels - 1))

    return time


def times_up_to(share: float, power: float = 1.0) -> Callable[[Path, Key, int], Array]:
    """Training times at ``share u^power`` of the way from the data to the noise, u uniform in [0, 1).

    Args:
        share: how far from the data to the noise, from 0 to 1.
        power: above 1 for more times near the data.

    Returns:
        ``(path, key, n) -> times [n]``.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> bool((times_up_to(0.25)(rectified(), jax.random.key(0), 8) >= 0.75).all())
        True
    """
    return lambda path, key, n: time_at(path, share * (1 - draws.uniform(key, (n,))) ** power)
