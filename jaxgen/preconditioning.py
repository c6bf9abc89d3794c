"""EDM's preconditioning: a network that sees inputs and answers targets of unit size at every level of noise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.paths import Path, time_of_log_snr
from jaxgen.types import Array, Key, Net, Params


class Preconditioning(NamedTuple):
    """The coefficients of ``x0_hat = skip x_t + out F(c_in x_t, noise)`` at some times.

    Attributes:
        skip: weight of x_t itself.
        out: scale of the network's answer.
        c_in: scale of the network's input.
        noise: the network's time, ``log(sigma / alpha) / 4``, kept within what ``1e-6 .. 1e6`` gives.
    """

    skip: Array
    out: Array
    c_in: Array
    noise: Array


def coefficients(path: Path, t: Array | float, sigma_data: float = 0.5) -> Preconditioning:
    """EDM's coefficients on any path.

    With ``n^2 = sigma^2 + alpha^2 sigma_data^2``, the variance of x_t: ``skip = alpha sigma_data^2 / n^2``,
    ``out = sigma sigma_data / n`` and ``c_in = 1 / n``. On `jaxgen.paths.edm` these are the paper's; elsewhere they are
    the paper's for ``x_t / alpha``, and finite where alpha or sigma is 0.

    Args:
        path: the path.
        t: times, of any shape.
        sigma_data: the standard deviation of the data.

    Returns:
        Float32 coefficients of the shape of t.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.

    Example:
        >>> from jaxgen.paths import edm
        >>> [round(float(c), 4) for c in coefficients(edm(), 1.0)]
        [0.2, 0.4472, 0.8944, 0.0]
    """
    t = jnp.asarray(t, jnp.promote_types(jnp.result_type(t), jnp.float32))
    alpha, sigma = path.alpha(t), path.sigma(t)
    variance = sigma**2 + (alpha * sigma_data) ** 2
    noise = 0.25 * (jnp.log(jnp.clip(sigma, 1e-6)) - jnp.log(jnp.clip(alpha, 1e-6)))
    return Preconditioning(
        alpha * sigma_data**2 / variance, sigma * sigma_data / jnp.sqrt(variance), 1 / jnp.sqrt(variance), noise
    )


def precondition(net: Net, path: Path, sigma_data: float = 0.5) -> Net:
    """A network that predicts x0, made of one that sees and answers numbers of unit size.

    Train it with ``prediction="x0"``, the weight `jaxgen.losses.weights.edm` and the times of `log_normal_noise`.

    Args:
        net: the raw network F; ``apply(params, x, t, ...)``, whose time becomes ``log(sigma / alpha) / 4``.
        path: the path.
        sigma_data: the standard deviation of the data.

    Returns:
        A `Net` of the same inputs and the same parameters.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", eq. 7 and table 1.

    Example:
        >>> from jaxgen.paths import edm
        >>> raw = Net(lambda key, x, t: {}, lambda params, x, t, key=None: 0 * x)
        >>> precondition(raw, edm(), 1.0).apply({}, jnp.ones((1, 2)), jnp.array([1.0])).tolist()
        [[0.5, 0.5]]
    """

    def init(key: Key, x: Array, t: Array, *args: Any, **kwargs: Any) -> Params:
        return net.init(key, x, t, *args, **kwargs)

    def apply(params: Params, x: Array, t: Array, *args: Any, **kwargs: Any) -> Array:
        skip, out, c_in, noise = (
            c.reshape(c.shape + (1,) * (x.ndim - 1)) if c.ndim else c for c in coefficients(path, t, sigma_data)
        )
        answer = net.apply(params, (c_in * x).astype(x.dtype), jnp.reshape(noise, jnp.shape(t)), *args, **kwargs)
        return skip * x + out * answer

    return Net(init, apply)


def log_normal_noise(mean: float = -1.2, scale: float = 1.2) -> Callable[[Path, Key, int], Array]:
    """Times whose noise-to-signal ratio is log-normal: ``log(sigma / alpha)`` has this mean and standard deviation.

    Ratios that the path does not reach become its nearer end.

    Args:
        mean: of the logarithm of the ratio.
        scale: its standard deviation.

    Returns:
        A distribution of times ``(path, key, n) -> [n]``, for the argument `time` of a loss.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1: P_mean and
        P_std.

    Example:
        >>> import jax
        >>> from jaxgen.paths import edm
        >>> log_normal_noise()(edm(), jax.random.key(0), 3).shape
        (3,)
    """

    def time(path: Path, key: Key, n: int) -> Array:
        return time_of_log_snr(path, -2 * (mean + scale * draws.normal(key, (n,))))

    return time
