"""How a denoising loss weighs its times: functions ``w(t [b]) -> [b]`` made for a path and a space of the error.

At one x_t the squared errors in all prediction spaces are the same number up to a factor of time, so each scheme is one
weight of the noise error, ``W(t)``, and says the same in every other space (`in_space`):

=================  ==============================  =============================================
scheme             weight of the noise error       in words
=================  ==============================  =============================================
`simple`           (1 in the space of the error)   whatever the network predicts, unweighted
`snr`              1                               DDPM's simple objective; SNR times the x0 error
`min_snr`          min(SNR, gamma) / SNR           min(SNR, gamma) times the x0 error
`p2`               (k + SNR)^-gamma                less of the times where noise is invisible
`edm`              (r^2 + s^2) / s^2               unit variance of a preconditioned network's target
`sigmoid`          sigmoid(bias - log SNR) rate    smooth in log SNR, whatever the path
`elbo`             rate / 2                        the continuous-time variational bound
=================  ==============================  =============================================

with SNR = alpha^2 / sigma^2, r = sigma / alpha, s the data's standard deviation and rate the size of d log SNR / dt.
They are meant for times drawn uniformly over the path, but for `edm`, which has a distribution of its own. Where a
weight is infinite or undefined at the very end of a path, it is 0 there.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen import paths
from jaxgen.paths import Path
from jaxgen.types import Array

Weight = Callable[[Array], Array]


def _from_noise(path: Path, t: Array, space: str) -> Array:
    """What a weight of the noise error is multiplied with to say the same of the error in another space."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    if space == "noise":
        return jnp.ones_like(t)
    if space == "x0":
        return (alpha / sigma) ** 2
    if space == "v":
        return (alpha / (alpha**2 + sigma**2)) ** 2
    if space == "score":
        return sigma**2
    if space == "velocity":
        alpha_rate, sigma_rate = paths.derivatives(path, t)
        return (alpha / (alpha * sigma_rate - sigma * alpha_rate)) ** 2
    raise ValueError(f"unknown prediction {space!r}: choose from {', '.join(paths.PREDICTIONS)}")


def in_space(path: Path, weight: Weight, space: str) -> Weight:
    """The weight of the error in `space` that says what `weight` says of the noise error.

    ``|noise error|^2 = (alpha / sigma)^2 |x0 error|^2``, and so on: the factors follow from `jaxgen.paths.convert`.

    Args:
        path: the path.
        weight: ``W(t)``, of the noise error.
        space: where the loss takes its error, the `target` of the loss; one of `jaxgen.paths.PREDICTIONS`.

    Returns:
        ``w(t)``, float32, 0 where it would not be finite.

    Raises:
        ValueError: when it is called, if the space is unknown.

    Reference:
        Kingma & Gao 2023, "Understanding diffusion objectives as the ELBO with simple data augmentation", appendix D.1.

    Example:
        >>> path = paths.variance_exploding()
        >>> w = in_space(path, jnp.ones_like, "x0")  # the noise loss is 1 / sigma^2 times the x0 loss
        >>> round(float(w(jnp.array(0.5)) * path.sigma(0.5) ** 2), 5)
        1.0
    """

    def converted(t: Array) -> Array:
        t = jnp.asarray(t, jnp.promote_types(jnp.result_type(t), jnp.float32))
        value = weight(t) * _from_noise(path, t, space)
        return jnp.where(jnp.isfinite(value), value, 0)

    return converted


def _snr(path: Path, t: Array) -> Array:
    return (path.alpha(t) / path.sigma(t)) ** 2


def _rate(path: Path, t: Array) -> Array:
    """The size of d log SNR / dt, ``2 |alpha' / alpha - sigma' / sigma|``."""
    alpha_rate, sigma_rate = paths.derivatives(path, t)
    return 2 * jnp.abs(alpha_rate / path.alpha(t) - sigma_rate / path.sigma(t))


def simple(path: Path, space: str) -> Weight:
    """1 at all times, in whatever space the error is taken; the same as no weight.

    Reference:
        Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", eq. 14, in the space of the noise.

    Example:
        >>> simple(paths.rectified(), "velocity")(jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """
    del path, space
    return lambda t: jnp.ones_like(t, dtype=jnp.promote_types(jnp.result_type(t), jnp.float32))


def snr(path: Path, space: str) -> Weight:
    """DDPM's simple objective, from any space: 1 for the noise error, SNR for the x0 error.

    Args:
        path: the path.
        space: where the loss takes its error.

    Reference:
        Salimans & Ho 2022, "Progressive distillation", section 4.

    Example:
        >>> snr(paths.rectified(), "x0")(jnp.array([0.5, 0.75])).tolist()
        [1.0, 9.0]
    """
    return in_space(path, jnp.ones_like, space)


def min_snr(path: Path, space: str, gamma: float = 5.0) -> Weight:
    """Min-SNR-gamma: ``min(SNR, gamma)`` for the x0 error, ``min(SNR, gamma) / SNR`` for the noise error.

    On a variance-preserving path the v error gets ``min(SNR, gamma) / (SNR + 1)``.

    Args:
        path: the path.
        space: where the loss takes its error.
        gamma: the largest weight of the x0 error.

    Reference:
        Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy", section 3.4.

    Example:
        >>> min_snr(paths.rectified(), "x0")(jnp.array([0.5, 0.75])).tolist()
        [1.0, 5.0]
    """
    return in_space(path, lambda t: jnp.minimum(1.0, gamma * (path.sigma(t) / path.alpha(t)) ** 2), space)


def p2(path: Path, space: str, k: float = 1.0, gamma: float = 1.0) -> Weight:
    """Perception prioritised: ``1 / (k + SNR)^gamma`` for the noise error.

    Args:
        path: the path.
        space: where the loss takes its error.
        k: bounds the weight where there is no signal.
        gamma: how strongly small noise is left out; 0 is the simple objective.

    Reference:
        Choi et al. 2022, "Perception prioritized training of diffusion models", eq. 8.

    Example:
        >>> p2(paths.rectified(), "noise")(jnp.array(0.5)).tolist()
        0.5
    """
    return in_space(path, lambda t: (k + _snr(path, t)) ** -gamma, space)


def edm(path: Path, space: str, sigma_data: float = 0.5) -> Weight:
    """EDM's: ``(r^2 + sigma_data^2) / (r sigma_data)^2`` for the x0 error, with ``r = sigma / alpha``.

    It goes with the noise levels of `jaxgen.preconditioning.log_normal_noise`; there the loss of an untrained
    preconditioned network is 1 at every level.

    Args:
        path: the path.
        space: where the loss takes its error; a preconditioned network predicts x0.
        sigma_data: the standard deviation of the data.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.

    Example:
        >>> edm(paths.edm(), "x0")(jnp.array(0.5)).tolist()
        8.0
    """
    return in_space(path, lambda t: 1 + (path.sigma(t) / (path.alpha(t) * sigma_data)) ** 2, space)


def sigmoid(path: Path, space: str, bias: float = 0.0) -> Weight:
    """``sigmoid(bias - log SNR) |d log SNR / dt|`` for the noise error: the same emphasis on every path.

    Args:
        path: the path.
        space: where the loss takes its error.
        bias: the log-SNR above which (nearer to the data) the weight dies away; below 0 leans to the noise.

    Reference:
        Kingma & Gao 2023, "Understanding diffusion objectives as the ELBO with simple data augmentation", section 5;
        Hoogeboom et al. 2024, "Simpler diffusion (SiD2)", section 3.

    Example:
        >>> sigmoid(paths.rectified(), "noise")(jnp.array(0.5)).tolist()  # SNR 1, at a rate of 8
        4.0
    """
    return in_space(path, lambda t: jax.nn.sigmoid(bias - paths.log_snr(path, t)) * _rate(path, t), space)


def elbo(path: Path, space: str) -> Weight:
    """``|d log SNR / dt| / 2`` for the noise error, summed over dimensions: the variational bound in continuous time.

    It grows without bound at the data end of a path that ends there without noise.

    Args:
        path: the path.
        space: where the loss takes its error.

    Reference:
        Kingma et al. 2021, "Variational diffusion models", eq. 17; Song et al. 2021, "Maximum likelihood training of
        score-based diffusion models", theorem 1, where it is called likelihood weighting (g^2 / 2 for the score).

    Example:
        >>> elbo(paths.rectified(), "noise")(jnp.array(0.5)).tolist()
        4.0
    """
    return in_space(path, lambda t: 0.5 * _rate(path, t), space)


WEIGHTS: dict[str, Callable[[Path, str], Weight] | None] = {
    "simple": None,
    "snr": snr,
    "min_snr": min_snr,
    "p2": p2,
    "sigmoid": sigmoid,
}
"""The weights by name, for times drawn uniformly; None leaves the error as it is."""
