"""The terms of autoencoders: divergence of diagonal Gaussians, bounds on the evidence, codebook loss."""

import jax
import jax.numpy as jnp

from jaxgen.losses.likelihood import _float
from jaxgen.types import Array


def _sum(values: Array) -> Array:
    return jnp.sum(values, tuple(range(1, values.ndim)))


def gaussian_divergence(
    mean: Array, log_variance: Array, other_mean: Array | float = 0.0, other_log_variance: Array | float = 0.0
) -> Array:
    """Kullback-Leibler divergence between diagonal Gaussians, dimension by dimension.

    ``KL(N(m, v) | N(n, w)) = (v / w + (m - n)^2 / w - 1 + log w - log v) / 2``; by default to a standard Gaussian.

    Args:
        mean: m ``[b, *code]``.
        log_variance: log v, of the same shape.
        other_mean: n, anything that broadcasts against `mean`.
        other_log_variance: log w, likewise.

    Returns:
        Float32 ``[b, *code]``, nats.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", appendix B.

    Example:
        >>> gaussian_divergence(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2))).tolist()
        [[0.0, 2.0]]
    """
    mean, log_variance = _float(mean), _float(log_variance)
    ratio = log_variance - other_log_variance
    # expm1(r) - r keeps its digits where the distributions are almost the same, which is where training ends up.
    square = (mean - other_mean) ** 2 * jnp.exp(-_float(other_log_variance))
    return 0.5 * (square + jnp.expm1(ratio) - ratio)


def gaussian_kl(
    mean: Array, log_variance: Array, other_mean: Array | float = 0.0, other_log_variance: Array | float = 0.0
) -> Array:
    """Kullback-Leibler divergence between diagonal Gaussians: the sum of `gaussian_divergence` over the code.

    Args:
        mean: ``[b, *code]``.
        log_variance: of the same shape.
        other_mean: of the other Gaussian, anything that broadcasts; a standard one by default.
        other_log_variance: likewise.

    Returns:
        Float32 ``[b]``, nats.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", appendix B.

    Example:
        >>> gaussian_kl(jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2))).tolist()
        [2.5]
    """
    return _sum(gaussian_divergence(mean, log_variance, other_mean, other_log_variance))


def free_bits(divergence: Array, least: float) -> Array:
    """Sum of divergences, each counted as `least` at least: ``sum_j max(least, KL_j)``.

    A dimension pays nothing for its first nats, so it has no reason to fall silent. The floor is put under each
    example's own divergence, where the paper puts it under the mean of a batch: an example does not depend on the rest
    of its batch.

    Args:
        divergence: of each dimension ``[b, *code]``, as of `gaussian_divergence`.
        least: the floor of a dimension, in nats.

    Returns:
        Float32 ``[b]``, nats.

    Reference:
        Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow", appendix C.8, eq. 15.

    Example:
        >>> free_bits(jnp.array([[0.1, 2.0]]), 0.5).tolist()
        [2.5]
    """
    return _sum(jnp.maximum(_float(divergence), least))


def negative_elbo(reconstruction: Array, divergence: Array, beta: float | Array = 1.0) -> Array:
    """The negative evidence lower bound, ``-log p(x | z) + beta KL``; at ``beta = 1`` it is above ``-log p(x)``.

    Args:
        reconstruction: ``-log p(x | z)`` at a z drawn from the posterior, ``[b]`` nats, one of
            `jaxgen.losses.likelihood`.
        divergence: of posterior from prior, ``[b]`` nats, as of `gaussian_kl` or `free_bits`.
        beta: the weight of the divergence.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if the two are not one value per example each.

    Reference:
        Kingma & Welling 2014, "Auto-encoding variational Bayes", eq. 10; Higgins et al. 2017, "beta-VAE", eq. 4.

    Example:
        >>> negative_elbo(jnp.array([10.0]), jnp.array([3.0]), beta=2.0).tolist()
        [16.0]
    """
    if reconstruction.ndim != 1 or reconstruction.shape != divergence.shape:
        raise ValueError(f"one value per example is needed, not {reconstruction.shape} and {divergence.shape}")
    return _float(reconstruction) + beta * _float(divergence)


def importance_weighted_bound(log_weights: Array) -> Array:
    """Lower bound of the log-evidence from k weighted draws: ``log (1/k) sum_i p(x, z_i) / q(z_i | x)``.

    With one draw it is the evidence lower bound; its mean rises with k, to ``log p(x)``.

    Args:
        log_weights: ``log p(x | z_i) + log p(z_i) - log q(z_i | x)`` at draws z_i from q, ``[k, b]`` nats.

    Returns:
        Float32 ``[b]``, nats.

    Reference:
        Burda et al. 2016, "Importance weighted autoencoders", eq. 8.

    Example:
        >>> round(float(importance_weighted_bound(jnp.log(jnp.array([[1.0], [3.0]])))[0]), 4)  # log 2
        0.6931
    """
    log_weights = _float(log_weights)
    return jax.nn.logsumexp(log_weights, axis=0) - jnp.log(log_weights.shape[0])


def straight_through(x: Array, replaced: Array) -> Array:
    """`replaced`, with the gradient of `x`: ``x + stop_gradient(replaced - x)``.

    Args:
        x: ``[b, ...]``.
        replaced: what stands in its place, of the same shape.

    Returns:
        An array of that shape.

    Reference:
        Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons", section 4.

    Example:
        >>> value, slope = jax.value_and_grad(lambda x: straight_through(x, jnp.round(x)))(0.7)
        >>> float(value), float(slope)
        (1.0, 1.0)
    """
    return x + jax.lax.stop_gradient(replaced - x)


def codebook_loss(encoded: Array, codes: Array, *, commitment: float = 0.25) -> Array:
    """Vector quantisation: the codes move to what is encoded, and that is held to the codes.

    ``mean |sg(e) - c|^2 + commitment mean |e - sg(c)|^2`` over positions and channels, sg the stop-gradient.

    Args:
        encoded: e, what the encoder gives ``[b, *spatial, c]``.
        codes: c, the nearest entries of the codebook, of the same shape.
        commitment: the weight of the second term.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if the shapes differ.

    Reference:
        van den Oord et al. 2017, "Neural discrete representation learning", eq. 3, the last two terms; a mean here,
        where the paper has a sum over channels.

    Example:
        >>> codebook_loss(jnp.ones((1, 4)), jnp.zeros((1, 4))).tolist()
        [1.25]
    """
    if encoded.shape != codes.shape:
        raise ValueError(f"encoded {encoded.shape} and its codes {codes.shape} must have one shape")
    encoded, codes = _float(encoded), _float(codes)
    stop = jax.lax.stop_gradient
    error = (stop(encoded) - codes) ** 2 + commitment * (encoded - stop(codes)) ** 2
    return jnp.mean(error, tuple(range(1, error.ndim)))
