"""Score matching: fitting the gradient of a log-density without its normalising constant, one value per example."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import divergence
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import uniform_time
from jaxgen.paths import Path, squared_diffusion
from jaxgen.types import Array, Key


def denoising_score_matching(
    score: Callable[[Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    *,
    noise: Array | None = None,
    t: Array | None = None,
    time: Callable[[Path, Key, int], Array] = uniform_time,
    weight: Callable[[Array], Array] | None = None,
) -> Array:
    """Denoising score matching along a path: ``w(t) |s(x_t, t) + noise / sigma|^2 / 2``, summed over dimensions.

    Its minimiser is the score of the density of x_t. By default ``w = sigma^2``, under which all levels of noise count
    alike; with ``w = g^2`` (`likelihood_weight`) its mean over uniform times, times the length of the time axis, bounds
    the Kullback-Leibler divergence of the model up to a constant. With the times of `jaxgen.losses.times.noise_levels`
    on `jaxgen.paths.variance_exploding` it is the objective of NCSN.

    Args:
        score: ``(x_t [b, *shape], t [b]) -> [b, *shape]``.
        path: the path.
        key: one key, or keys ``[b]``.
        x: clean data ``[b, *shape]``.
        noise: standard normal noise to use instead of drawing it.
        t: times ``[b]`` (or a scalar) to use instead of drawing them.
        time: distribution of the times.
        weight: ``w(t [b]) -> [b]``; None for ``sigma^2``.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if the score's shape is not that of x.

    Reference:
        Vincent 2011, "A connection between score matching and denoising autoencoders"; Song & Ermon 2019, "Generative
        modeling by estimating gradients of the data distribution", eq. 5 and 6; Song et al. 2021, "Score-based
        generative modeling through SDEs", eq. 7, in continuous time.

    Example:
        >>> import jax
        >>> from jaxgen.paths import edm
        >>> x = noise = jnp.ones((2, 3))
        >>> denoising_score_matching(lambda x, t: 0 * x, edm(), jax.random.key(0), x, noise=noise, t=2.0).tolist()
        [1.5, 1.5]
    """

    def relative(t: Array) -> Array:
        return jnp.ones_like(t) if weight is None else weight(t) / path.sigma(t) ** 2

    # The error is taken as that of the noise, which is of unit size where the score is of size 1 / sigma.
    error = flow_matching(
        score, path, key, x, noise=noise, t=t, time=time, prediction="score", target="noise", weight=relative
    )
    return 0.5 * x[0].size * error


def likelihood_weight(path: Path) -> Callable[[Array], Array]:
    """The likelihood weighting ``w(t) = g^2(t)`` for `denoising_score_matching`.

    Where sigma is 0 at the data end the loss then has infinite variance: stop short of it, or draw the times by
    `jaxgen.losses.times.uniform_log_snr` and leave the weight out, which is the same up to a constant.

    Args:
        path: the path.

    Returns:
        ``w(t)``.

    Reference:
        Song et al. 2021, "Maximum likelihood training of score-based diffusion models", theorem 1.

    Example:
        >>> from jaxgen.paths import edm
        >>> likelihood_weight(edm())(jnp.array(3.0)).tolist()
        6.0
    """
    return lambda t: squared_diffusion(path, t)


def _half_square(s: Array) -> Array:
    s = s.astype(jnp.promote_types(s.dtype, jnp.float32))
    return 0.5 * jnp.sum(s**2, tuple(range(1, s.ndim)))


def implicit_score_matching(score: Callable[[Array], Array], x: Array) -> Array:
    """Implicit score matching: ``|s(x)|^2 / 2 + div s(x)``, the trace exact.

    Its mean is half the mean squared error of the score, less a constant of the data's density. It costs as many
    derivatives as an example has dimensions.

    Args:
        score: ``[b, *shape] -> [b, *shape]``, example by example.
        x: data ``[b, *shape]``.

    Returns:
        Float32 ``[b]``.

    Reference:
        Hyvarinen 2005, "Estimation of non-normalized statistical models by score matching", theorem 1.

    Example:
        >>> implicit_score_matching(lambda x: -x, jnp.array([[1.0, 2.0]])).tolist()
        [0.5]
    """
    s, trace = divergence.exact(score, x)
    return _half_square(s) + trace


def sliced_score_matching(
    score: Callable[[Array], Array],
    key: Key,
    x: Array,
    *,
    projections: int = 1,
    gaussian: bool = False,
    variance_reduction: bool = True,
) -> Array:
    """Sliced score matching: `implicit_score_matching` along random directions v, at a cost free of dimension.

    ``v' (ds/dx) v + (v' s)^2 / 2``, averaged over v; with variance reduction ``|s|^2 / 2``, its mean, takes the place
    of the second term. Unbiased either way.

    Args:
        score: ``[b, *shape] -> [b, *shape]``, example by example.
        key: one key, or keys ``[b]``.
        x: data ``[b, *shape]``.
        projections: directions an example.
        gaussian: standard normal directions instead of random signs.
        variance_reduction: whether to take the second term in expectation.

    Returns:
        Float32 ``[b]``.

    Reference:
        Song, Garg, Shi & Ermon 2019, "Sliced score matching", eq. 7 and 8.

    Example:
        >>> import jax
        >>> sliced_score_matching(lambda x: -x, jax.random.key(0), jnp.array([[1.0, 2.0]])).tolist()
        [0.5]
    """
    v = divergence.draw_probes(key, x.shape, projections, gaussian=gaussian, dtype=x.dtype)
    s, trace = divergence.estimate(score, x, v)
    if variance_reduction:
        return _half_square(s) + trace
    along = jnp.sum((v * s).astype(jnp.promote_types(s.dtype, jnp.float32)), tuple(range(2, v.ndim)))
    return 0.5 * jnp.mean(along**2, 0) + trace
