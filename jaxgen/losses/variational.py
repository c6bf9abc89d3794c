"""Variational bounds on the negative log-likelihood of diffusion models, in nats an example.

`discrete_bound` is that of a chain of finitely many steps, such as DDPM; `continuous_bound` its limit of infinitely
many, estimated at one random time an example. `jaxgen.metrics.bits_per_dimension` turns either into bits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.losses import likelihood
from jaxgen.losses.matching import flow_matching
from jaxgen.losses.times import low_discrepancy
from jaxgen.paths import Path, log_snr, perturb, time_of_log_snr
from jaxgen.types import Array, Denoise, Key


class Bound(NamedTuple):
    """A bound on ``-log p(x)`` in three parts, each ``[b]`` in nats.

    Attributes:
        prior: what it costs that x at the noise end is not quite the noise that a sampler starts from.
        diffusion: the cost of denoising.
        reconstruction: the cost of x given its cleanest state.
    """

    prior: Array
    diffusion: Array
    reconstruction: Array

    @property
    def total(self) -> Array:
        """The bound, ``[b]``."""
        return self.prior + self.diffusion + self.reconstruction


def _per_example(c: Array, x: Array) -> Array:
    return c.reshape(c.shape + (1,) * (x.ndim - c.ndim))


def _sum(values: Array) -> Array:
    return jnp.sum(values, tuple(range(1, values.ndim)))


def step_bound(
    path: Path,
    x: Array,
    x0_hat: Array,
    t: Array,
    s: Array,
    *,
    fraction: Array | float = 0.0,
    bins: int | None = 256,
    low: float = -1.0,
    high: float = 1.0,
) -> Array:
    """One term of the discrete bound: the reverse step from t to s, given the denoised image at t.

    The divergence of the model's step from the forward chain's posterior; both are normal, with means that differ by
    ``alpha_s (1 - q^2) (x - x0_hat)``, ``q = r_s / r_t`` and ``r = sigma / alpha``. The posterior's variance is
    ``sigma_s^2 (1 - q^2)``, the model's lies between that and ``sigma_t^2 (1 - q^2)``, as in `jaxgen.samplers.ddpm`.
    Where sigma_s is 0 it is the cost of x itself under ``N(x0_hat, (sigma_t / alpha_s)^2)``.

    Args:
        path: the path.
        x: clean data ``[b, *shape]``.
        x0_hat: of the shape of x.
        t: the noisier times, ``[b]`` or a scalar.
        s: the cleaner ones.
        fraction: where the model's log variance lies, 0 for the small and 1 for the large; anything that broadcasts
            against x.
        bins: the number of values that x can take; None for continuous data.
        low: the least of them.
        high: the greatest.

    Returns:
        Float32 ``[b]``, nats.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 5 to 7 and 13; Nichol & Dhariwal 2021, "Improved
        denoising diffusion probabilistic models", eq. 15, for the fraction.

    Example:
        >>> from jaxgen.paths import edm
        >>> step_bound(edm(), jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.array(2.0), jnp.array(1.0)).tolist()
        [0.75]
    """
    x, x0_hat = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (x, x0_hat))
    t, s = (jnp.broadcast_to(time.astype(jnp.promote_types(time.dtype, jnp.float32)), x.shape[:1]) for time in (t, s))
    clean = path.sigma(s) == 0
    safe_s = jnp.where(clean, 0.5 * (s + t), s)  # the divergence is not asked for where it would be infinite
    lost = -jnp.expm1(log_snr(path, t) - log_snr(path, safe_s))
    log_small = 2 * jnp.log(path.sigma(safe_s)) + jnp.log(lost)
    log_large = 2 * jnp.log(path.sigma(t)) + jnp.log(lost)
    log_small, log_large, step = (_per_example(c, x) for c in (log_small, log_large, path.alpha(safe_s) * lost))
    log_variance = fraction * log_large + (1 - fraction) * log_small
    excess = log_small - log_variance
    divergence = 0.5 * (jnp.exp(excess) - excess - 1 + jnp.exp(-log_variance) * (step * (x - x0_hat)) ** 2)

    scale = _per_example(jnp.where(clean, path.sigma(t) / path.alpha(s), 1), x)
    if bins is None:
        decoder = likelihood.gaussian(x0_hat, x, scale)
    else:
        decoder = likelihood.discretised_gaussian(x0_hat, x, scale, bins=bins, low=low, high=high)
    return jnp.where(clean, decoder, _sum(jnp.broadcast_to(divergence, x.shape)))


def _prior(path: Path, x: Array, t: Array) -> Array:
    """The divergence of x_t from N(0, sigma^2), at the noise end."""
    return 0.5 * _sum(x.astype(jnp.promote_types(x.dtype, jnp.float32)) ** 2) * (path.alpha(t) / path.sigma(t)) ** 2


def discrete_bound(
    denoise: Denoise,
    path: Path,
    key: Key,
    x: Array,
    grid: Array,
    *,
    variance: str | Callable[[Array, Array], Array] = "small",
    bins: int | None = 256,
    low: float = -1.0,
    high: float = 1.0,
) -> Bound:
    """The variational bound of ancestral sampling along a grid: ``-log p(x) <= L_T + sum L_t + L_0``.

    Every step is evaluated, at one random state each, in one `lax.scan`. The model is that of `jaxgen.samplers.ddpm`
    with the same path, grid and variance, started from ``sigma(t_noise) * normal``.

    Args:
        denoise: ``(x_t, t) -> x0_hat``, with a scalar t.
        path: the path.
        key: one key, or keys ``[b]``.
        x: data ``[b, *shape]`` of `bins` equally spaced values from `low` to `high`.
        grid: times ``[steps + 1]`` from noise to data; sigma must be 0 at the last one, where the decoder's cost stands
            for the step. For the table of DDPM, `jaxgen.samplers.grids.uniform` with as many steps as entries.
        variance: ``"small"``, ``"large"`` or ``(x_t, t) -> fraction``, as of `jaxgen.samplers.ddpm`.
        bins: the number of values that x can take; None for continuous data (then bounds are on the density).
        low: the least of them.
        high: the greatest.

    Returns:
        A `Bound`; its parts are float32 ``[b]``, nats.

    Raises:
        ValueError: if the variance is an unknown word.

    Reference:
        Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 5 and 13.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> x, grid = jnp.zeros((1, 4)), jnp.linspace(1.0, 0.0, 11)
        >>> bound = discrete_bound(lambda x, t: 0 * x, variance_preserving(), jax.random.key(0), x, grid)
        >>> float(bound.diffusion[0]), bool(bound.reconstruction[0] > 0)  # this denoiser knows that x is 0
        (0.0, True)
    """
    if not callable(variance) and variance not in ("small", "large"):
        raise ValueError(f"unknown variance {variance!r}: choose from small, large, or give a function of (x_t, t)")

    def body(_: None, inputs: tuple[Array, Array, Array]) -> tuple[None, Array]:
        i, t, s = inputs
        x_t = perturb(path, x, draws.normal(draws.fold_in(key, i), x.shape), t).astype(x.dtype)
        fraction = variance(x_t, t) if callable(variance) else float(variance == "large")
        return None, step_bound(path, x, denoise(x_t, t), t, s, fraction=fraction, bins=bins, low=low, high=high)

    steps = (jnp.arange(len(grid) - 1), grid[:-1], grid[1:])
    costs = lax.scan(body, None, steps)[1]
    return Bound(_prior(path, x, grid[0]), jnp.sum(costs[:-1], 0), costs[-1])


def continuous_bound(
    predict: Callable[[Array, Array], Array],
    path: Path,
    key: Key,
    x: Array,
    *,
    prediction: str = "noise",
    ratios: tuple[float, float] = (1e-3, 1e4),
    spread: bool = True,
    bins: int | None = None,
    low: float = -1.0,
    high: float = 1.0,
) -> Bound:
    """The variational bound of infinitely many steps, estimated without bias at one time and noise an example.

    With ``u = log(sigma / alpha)`` uniform between the ends of the path (cut to `ratios`), the diffusion part is
    ``(u_1 - u_0) |noise - noise_hat|^2``, whatever the path. With the exact denoiser the bound of continuous data is
    tight but for the data's structure below the least ratio.

    Args:
        predict: the network, ``(x_t [b, *shape], t [b]) -> [b, *shape]``.
        path: the path.
        key: one key, or keys ``[b]``.
        x: data ``[b, *shape]``.
        prediction: what the network answers, one of `jaxgen.paths.PREDICTIONS`.
        ratios: the least and the greatest ``sigma / alpha``; x given its cleanest state has the least as its spread.
        spread: whether the times cover their range evenly over the batch, by `low_discrepancy`: far less variance of
            the mean, but an example's time then depends on its place in the batch.
        bins: the number of equally spaced values that x can take; None for continuous data, whose density is bounded.
        low: the least of them.
        high: the greatest.

    Returns:
        A `Bound`; its parts are float32 ``[b]``, nats.

    Raises:
        ValueError: if the prediction is unknown.

    Reference:
        Kingma et al. 2021, "Variational diffusion models", eq. 11, 13 and 17, and appendix I.1.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> x, path = jnp.zeros((8, 2)), variance_preserving()
        >>> bound = continuous_bound(lambda x, t: 0 * x, path, jax.random.key(0), x, prediction="x0")
        >>> float(bound.diffusion.max()) < 1e-6  # this denoiser knows that x is 0
        True
    """
    b, d = x.shape[0], x[0].size
    time_key, noise_key, decoder_key = draws.split(key, 3)
    ends = -0.5 * log_snr(path, jnp.asarray([path.t_data, path.t_noise], jnp.float32))
    first, last = jnp.clip(ends, math.log(ratios[0]), math.log(ratios[1]))
    fraction = low_discrepancy(time_key, b) if spread else draws.uniform(time_key, (b,))
    t = time_of_log_snr(path, -2 * (first + (last - first) * fraction))
    error = flow_matching(predict, path, noise_key, x, t=t, prediction=prediction, target="noise")
    prior = 0.5 * jnp.exp(-2 * last) * _sum(x.astype(jnp.promote_types(x.dtype, jnp.float32)) ** 2)
    if bins is None:
        # The expected cost of x under N(x_t / alpha, r^2), whatever x is.
        reconstruction = jnp.full((b,), d * (0.5 * math.log(2 * math.pi * math.e) + first))
    else:
        reconstruction = _nearest_value(x, draws.normal(decoder_key, x.shape), jnp.exp(first), bins, low, high)
    return Bound(prior, (last - first) * d * error, reconstruction)


def averaged_bound(
    predict: Callable[[Array, Array], Array], path: Path, keys: Key, x: Array, repeats: int, **options: Any
) -> Array:
    """A lower bound of ``log p(x)``: minus the mean of several estimates of `continuous_bound`.

    Args:
        predict: the network, ``(x_t [b, *shape], t [b]) -> [b, *shape]``.
        path: the path.
        keys: one key, or keys ``[b]``.
        x: data ``[b, *shape]``.
        repeats: how many times and noises per example.
        **options: of `continuous_bound`.

    Returns:
        Float32 ``[b]``, nats.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> x, path = jnp.zeros((8, 2)), variance_preserving()
        >>> averaged_bound(lambda x, t: 0 * x, path, jax.random.key(0), x, 4, prediction="x0").shape
        (8,)
    """

    def add(i: Array, total: Array) -> Array:
        return total - continuous_bound(predict, path, draws.fold_in(keys, i), x, **options).total

    return lax.fori_loop(0, repeats, add, jnp.zeros(len(x))) / repeats


def _nearest_value(x: Array, noise: Array, ratio: Array, bins: int, low: float, high: float) -> Array:
    """The cost of x given x + ratio * noise, where each value in turn is as likely as its normal density there."""
    seen = x + ratio * noise

    def body(carry: Any, value: Array) -> tuple[Any, None]:
        return jnp.logaddexp(carry, -0.5 * ((seen - value) / ratio) ** 2), None

    start = jnp.full(x.shape, -jnp.inf)
    normaliser, _ = lax.scan(body, start, low + (high - low) * jnp.arange(bins) / (bins - 1))
    return _sum(normaliser + 0.5 * noise**2)
