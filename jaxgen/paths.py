"""Gaussian probability paths: two functions of time, from which everything else follows.

A path says how data and noise mix, ``x_t = alpha(t) x0 + sigma(t) noise``, and which end of its time axis is data.
Whatever a network predicts (`PREDICTIONS`) is one of five linear views of the pair (x0, noise) and of x_t:

- ``x0``: the clean data;
- ``noise``: the standard normal noise;
- ``v``: ``alpha noise - sigma x0``, on every path, whether or not ``alpha^2 + sigma^2 = 1``;
- ``score``: ``-noise / sigma``, the gradient of the log-density of x_t given x0;
- ``velocity``: ``alpha' x0 + sigma' noise``, the speed dx_t/dt along the path.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen import schedules
from jaxgen.types import Array, Denoise


class Path(NamedTuple):
    """A Gaussian path ``x_t = alpha(t) x0 + sigma(t) noise``.

    Attributes:
        alpha: the scale of the data, elementwise in t.
        sigma: the standard deviation of the noise, elementwise in t.
        t_data: the time at which x_t is (nearly) data.
        t_noise: the time at which x_t is (nearly) noise: start a sampler at ``sigma(t_noise) * noise``.
    """

    alpha: Callable[[Any], Any]
    sigma: Callable[[Any], Any]
    t_data: float
    t_noise: float


def rectified(sigma_min: float = 0.0) -> Path:
    """The straight path from noise (t=0) to data (t=1): ``alpha = t``, ``sigma = 1 - (1 - sigma_min) t``.

    Args:
        sigma_min: the noise left at the data end; 0 makes that end exact.

    Reference:
        Lipman et al. 2023, "Flow matching for generative modeling", eq. 20 (the optimal transport path); Liu et al.
        2023, "Flow straight and fast", for ``sigma_min = 0``.

    Example:
        >>> path = rectified(sigma_min=0.1)
        >>> path.alpha(0.5), path.sigma(0.5)
        (0.5, 0.55)
    """
    return Path(lambda t: t, lambda t: 1 - (1 - sigma_min) * t, t_data=1.0, t_noise=0.0)


def trigonometric() -> Path:
    """The quarter circle from noise (t=0) to data (t=1): ``alpha = sin(pi t / 2)``, ``sigma = cos(pi t / 2)``.

    Time runs as in flow matching. The variance is preserved: ``alpha^2 + sigma^2 = 1``, and ``velocity = -pi/2 v``.

    Reference:
        Albergo & Vanden-Eijnden 2023, "Building normalizing flows with stochastic interpolants"; Salimans & Ho 2022,
        "Progressive distillation", section 4, for the angle and v.

    Example:
        >>> path = trigonometric()
        >>> float(path.alpha(1.0)), float(path.sigma(1.0))
        (1.0, 0.0)
    """
    # cos(pi t / 2) written as a sine is exactly 0 at t = 1, in every precision.
    return Path(lambda t: jnp.sin(jnp.pi / 2 * t), lambda t: jnp.sin(jnp.pi / 2 * (1 - t)), t_data=1.0, t_noise=0.0)


def variance_preserving(beta_min: float = 0.1, beta_max: float = 20.0) -> Path:
    """The variance-preserving diffusion from data (t=0) to noise (t=1), with a linear noise rate beta(t).

    ``alpha = exp(-B/2)`` and ``sigma = sqrt(1 - exp(-B))`` with ``B = beta_min t + (beta_max - beta_min) t^2 / 2``.

    Args:
        beta_min: the noise rate at t=0.
        beta_max: the noise rate at t=1.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 11 and appendix C.

    Example:
        >>> path = variance_preserving()
        >>> float(path.sigma(0.0)), round(float(path.alpha(1.0)), 4)
        (0.0, 0.0066)
    """

    def exponent(t: Array) -> Array:
        return beta_min * t + 0.5 * (beta_max - beta_min) * t**2

    return Path(
        lambda t: jnp.exp(-0.5 * exponent(t)), lambda t: jnp.sqrt(-jnp.expm1(-exponent(t))), t_data=0.0, t_noise=1.0
    )


def variance_exploding(sigma_min: float = 0.01, sigma_max: float = 50.0) -> Path:
    """The variance-exploding diffusion from data (t=0) to noise (t=1): ``alpha = 1``, sigma geometric in t.

    ``sigma = sigma_min (sigma_max / sigma_min)^t``: the data end keeps noise of sigma_min.

    Args:
        sigma_min: the noise left at t=0, in units of the data; above 0.
        sigma_max: the noise at t=1, in units of the data.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", eq. 9 and appendix C.

    Example:
        >>> path = variance_exploding()
        >>> float(path.alpha(0.3)), round(float(path.sigma(1.0)), 3)
        (1.0, 50.0)
    """
    return Path(
        lambda t: jnp.ones_like(t, dtype=jnp.result_type(t, float)),
        lambda t: sigma_min * jnp.exp(t * jnp.log(sigma_max / sigma_min)),
        t_data=0.0,
        t_noise=1.0,
    )


def cosine(s: float = 0.008) -> Path:
    """The cosine schedule from data (t=0) to noise (t=1): alpha is a cosine of time, exactly 0 at t=1.

    ``alpha = cos(a(t)) / cos(a(0))`` with ``a(t) = pi/2 (t + s) / (1 + s)``, and ``alpha^2 + sigma^2 = 1``.

    Args:
        s: an offset that keeps the noise from vanishing too fast near the data; above 0.

    Reference:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17.

    Example:
        >>> path = cosine()
        >>> float(path.alpha(1.0)), float(path.sigma(0.0)), round(float(path.alpha(0.5)), 4)
        (0.0, 0.0, 0.7027)
    """
    first, speed = np.pi / 2 * s / (1 + s), np.pi / 2 / (1 + s)

    # cos a(t) as a sine and cos^2 a(0) - cos^2 a(t) as a product of sines: each end is 0 without cancellation.
    def alpha(t: Array) -> Array:
        return jnp.sin(speed * (1 - t)) / jnp.sin(speed * (1 - 0 * t))

    def sigma(t: Array) -> Array:
        return jnp.sqrt(jnp.sin(speed * t) * jnp.sin(speed * t + 2 * first)) / np.cos(first)

    return Path(alpha, sigma, t_data=0.0, t_noise=1.0)


def sub_variance_preserving(beta_min: float = 0.1, beta_max: float = 20.0) -> Path:
    """The sub-variance-preserving diffusion from data (t=0) to noise (t=1).

    ``alpha = exp(-B/2)`` as on `variance_preserving`, but ``sigma = 1 - exp(-B)``: less noise at every time.

    Args:
        beta_min: the noise rate at t=0.
        beta_max: the noise rate at t=1.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", section 3.4 and appendix C.

    Example:
        >>> path = sub_variance_preserving()
        >>> float(path.sigma(0.0)), round(float(path.sigma(1.0)), 4)
        (0.0, 1.0)
    """

    def exponent(t: Array) -> Array:
        return beta_min * t + 0.5 * (beta_max - beta_min) * t**2

    return Path(lambda t: jnp.exp(-0.5 * exponent(t)), lambda t: -jnp.expm1(-exponent(t)), t_data=0.0, t_noise=1.0)


def edm(sigma_max: float = 80.0) -> Path:
    """The path whose time is the noise itself, from data (t=0) to noise (t=sigma_max): ``alpha = 1``, ``sigma = t``.

    Args:
        sigma_max: the noise at the noise end, in units of the data.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.

    Example:
        >>> path = edm()
        >>> float(path.alpha(2.5)), path.sigma(2.5), path.t_noise
        (1.0, 2.5, 80.0)
    """
    return Path(
        lambda t: jnp.ones_like(t, dtype=jnp.result_type(t, float)), lambda t: t, t_data=0.0, t_noise=float(sigma_max)
    )


def discrete(betas: Any) -> Path:
    """The path through a table of noise rates, as of DDPM, in continuous time from data (t=0) to noise (t=1).

    Entry i of T sits at ``t = (i + 1) / T``, where ``alpha^2 = prod_{j <= i} (1 - betas[j])``, to rounding; at t=0
    there is no noise. In between, the logarithm of ``r = sigma / alpha`` is linear in t; where that would be infinite,
    r itself is linear (in the first interval), or ``1 / r`` (in the last one of a table that ends without signal).
    Always ``alpha^2 + sigma^2 = 1``.

    A network trained on the table's integers is asked for ``timestep(t, T)``.

    Args:
        betas: the table ``[T]``, T at least 2, of values above 0 and below 1; the last one may be 1.

    Returns:
        The path.

    Raises:
        ValueError: if the table is no such table.

    Reference:
        Ho, Jain & Abbeel 2020, "Denoising diffusion probabilistic models", eq. 4.

    Example:
        >>> from jaxgen.schedules import linear_betas
        >>> path = discrete(linear_betas(1000))
        >>> round(float(path.alpha(1.0)), 5), float(path.sigma(0.0))
        (0.00635, 0.0)
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or len(betas) < 2 or not ((betas > 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
        raise ValueError("betas must be a list of at least 2 numbers above 0 and below 1; the last one may be 1")
    n = len(betas)
    with np.errstate(divide="ignore"):
        log_kept = np.cumsum(np.log1p(-betas))
        log_r = 0.5 * (np.log(-np.expm1(log_kept)) - log_kept)
    empties = bool(np.isinf(log_r[-1]))
    # Interval i lies between entries i - 1 and i: its r is base * exp(slope * (fraction of the interval)).
    base = np.exp(np.concatenate([log_r[:1], log_r[:-1]]))
    slope = np.concatenate([[0.0], np.diff(log_r)])
    if empties:
        slope[-1] = 0.0

    def pair(t: Array | float) -> tuple[Array, Array]:
        t = _time(t)
        position = t * n
        i = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, n - 1)
        fraction = position - i
        noise = jnp.asarray(base, t.dtype)[i] * jnp.exp(fraction * jnp.asarray(slope, t.dtype)[i])
        noise = jnp.where(i == 0, fraction, 1) * noise
        signal = jnp.where(i == n - 1, 1 - fraction, 1) if empties else jnp.ones_like(t)
        norm = jnp.sqrt(signal**2 + noise**2)
        return signal / norm, noise / norm

    return Path(lambda t: pair(t)[0], lambda t: pair(t)[1], t_data=0.0, t_noise=1.0)


def timestep(t: Any, T: int) -> Any:
    """The number that a network trained on a table of T noise rates expects at time t: ``t T - 1``.

    Args:
        t: times in [0, 1], of any shape.
        T: the length of the table.

    Returns:
        Numbers from -1 (clean data) to T - 1, whole at the times of the table.

    Example:
        >>> timestep(0.5, 1000)
        499.0
    """
    return t * T - 1


def _time(t: Array | float) -> Array:
    return jnp.asarray(t, jnp.promote_types(jnp.result_type(t), jnp.float32))


def _expand(coefficient: Array, x: Array) -> Array:
    """Give a coefficient of shape [] or [b] the trailing axes that broadcast it against x [b, *spatial, c]."""
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - 1)) if coefficient.ndim else coefficient


def _off_singular_end(path: Path, t: Array) -> Array:
    """Move t off an end where sigma' is infinite (`variance_preserving` at t=0), by a few units of its last digit."""
    rate = jax.jvp(path.sigma, (t,), (jnp.ones_like(t),))[1]
    inwards = jnp.where(t == path.t_data, path.t_noise, path.t_data) - t
    return jnp.where(jnp.isfinite(rate), t, t + jnp.sign(inwards) * (1e-12 + 4 * jnp.finfo(t.dtype).eps * jnp.abs(t)))


def derivatives(path: Path, t: Array | float) -> tuple[Array, Array]:
    """The rates ``(alpha'(t), sigma'(t))``; may be infinite at an end (sigma' of `variance_preserving` at t=0).

    Args:
        path: the path.
        t: times, of any shape.

    Returns:
        Two arrays of the shape of t.

    Example:
        >>> [float(d) for d in derivatives(rectified(), 0.3)]
        [1.0, -1.0]
    """
    t = _time(t)
    tangent = jnp.ones_like(t)
    return jax.jvp(path.alpha, (t,), (tangent,))[1], jax.jvp(path.sigma, (t,), (tangent,))[1]


def log_snr(path: Path, t: Array | float) -> Array:
    """The logarithm of the signal-to-noise ratio, ``2 (log alpha - log sigma)``; infinite where alpha or sigma is 0.

    Reference:
        Kingma et al. 2021, "Variational diffusion models", section 3.

    Example:
        >>> float(log_snr(rectified(), 0.5))
        0.0
    """
    t = _time(t)
    return 2 * (jnp.log(path.alpha(t)) - jnp.log(path.sigma(t)))


def time_of_log_snr(path: Path, value: Array | float) -> Array:
    """The time at which the path has a given log signal-to-noise ratio: the inverse of `log_snr`.

    It is found by dividing the path's time axis again and again, so that any path will do.

    Args:
        path: a path whose log-SNR rises from noise to data.
        value: log-SNRs, of any shape; infinite ones are allowed.

    Returns:
        Times of the shape of `value`: the nearer end of the path for values that it does not reach.

    Example:
        >>> round(float(time_of_log_snr(rectified(), 0.0)), 6)
        0.5
    """
    value = _time(value)
    noisy, clean = (jnp.full_like(value, t) for t in (path.t_noise, path.t_data))
    parts = 64

    def between(bracket: Any, fraction: Array | float) -> Any:
        # This form keeps every digit near an end at 0.
        return bracket[0] * (1 - fraction) + bracket[1] * fraction

    def divide(_: Any, bracket: Any) -> Any:
        fractions = jnp.arange(1, parts, dtype=value.dtype) / parts
        inner = between([end[..., None] for end in bracket], fractions)
        below = (log_snr(path, inner) < value[..., None]).sum(-1, dtype=value.dtype)
        return between(bracket, below / parts), between(bracket, (below + 1) / parts)

    # Rounds of 6 bits: all of the mantissa, and as many again where the answer is near an end at 0.
    rounds = 1 + 2 * jnp.finfo(value.dtype).nmant // 6
    found = lax.fori_loop(0, rounds, divide, (noisy, clean))[0]
    found = jnp.where(value >= log_snr(path, clean), clean, found)
    return jnp.where(value <= log_snr(path, noisy), noisy, found)


def drift(path: Path, t: Array | float) -> Array:
    """The linear drift ``f(t) = alpha'(t) / alpha(t)`` of the SDE whose marginals are the path's.

    Infinite where alpha is 0.

    Reference:
        Lu et al. 2022, "DPM-Solver", eq. 2.3.

    Example:
        >>> float(drift(rectified(), 0.5))
        2.0
    """
    t = _time(t)
    return derivatives(path, t)[0] / path.alpha(t)


def squared_diffusion(path: Path, t: Array | float) -> Array:
    """The squared diffusion ``g^2(t) = |(sigma^2)' - 2 f sigma^2|``, per unit of time towards the noise.

    It is never negative. With ``d`` the sign of ``t_noise - t_data``, the marginals are those of ``dx = f x dt + g dw``
    run towards the noise, and of the ordinary equation ``dx/dt = f x - d g^2 score / 2``.

    Reference:
        Lu et al. 2022, "DPM-Solver", eq. 2.3; Song et al. 2021, "Score-based generative modeling", eq. 13.

    Example:
        >>> round(float(squared_diffusion(variance_preserving(), 0.5)), 3)  # beta(t)
        10.05
    """
    t = _off_singular_end(path, _time(t))
    sigma, (_, sigma_rate) = path.sigma(t), derivatives(path, t)
    return jnp.abs(2 * sigma * (sigma_rate - drift(path, t) * sigma))


def perturb(path: Path, x: Array, noise: Array, t: Array | float) -> Array:
    """Mix data and noise: ``x_t = alpha(t) x + sigma(t) noise``.

    Args:
        path: the path.
        x: clean data ``[b, *spatial, c]``.
        noise: standard normal noise of the same shape.
        t: a time, or one per example ``[b]``.

    Returns:
        x_t, of the shape of x.

    Example:
        >>> perturb(rectified(), jnp.ones((2, 3)), jnp.zeros((2, 3)), jnp.array([0.25, 1.0]))[:, 0].tolist()
        [0.25, 1.0]
    """
    return view(path, x, noise, t, "x_t")


# The one table of views. Coefficients: a, s = alpha, sigma; da, ds = their rates.
_VIEW = {  # of the pair (x0, noise)
    "x_t": lambda x0, n, a, s, da, ds: a * x0 + s * n,
    "x0": lambda x0, n, a, s, da, ds: x0,
    "noise": lambda x0, n, a, s, da, ds: n,
    "v": lambda x0, n, a, s, da, ds: a * n - s * x0,
    "score": lambda x0, n, a, s, da, ds: -n / s,
    "velocity": lambda x0, n, a, s, da, ds: da * x0 + ds * n,
}
_X0 = {  # from x_t and a prediction p
    "x0": lambda x, p, a, s, da, ds: p,
    "noise": lambda x, p, a, s, da, ds: (x - s * p) / a,
    "v": lambda x, p, a, s, da, ds: (a * x - s * p) / (a * a + s * s),
    "score": lambda x, p, a, s, da, ds: (x + s * s * p) / a,
    "velocity": lambda x, p, a, s, da, ds: (ds * x - s * p) / (a * ds - s * da),
}
_NOISE = {
    "x0": lambda x, p, a, s, da, ds: (x - a * p) / s,
    "noise": lambda x, p, a, s, da, ds: p,
    "v": lambda x, p, a, s, da, ds: (s * x + a * p) / (a * a + s * s),
    "score": lambda x, p, a, s, da, ds: -s * p,
    "velocity": lambda x, p, a, s, da, ds: (a * p - da * x) / (a * ds - s * da),
}
PREDICTIONS = tuple(_X0)


def _coefficients(path: Path, t: Array | float, x: Array, *names: str) -> tuple[Array, ...]:
    for name in names:
        if name not in _VIEW:
            raise ValueError(f"unknown prediction {name!r}: choose from {', '.join(PREDICTIONS)}")
    t = _time(t)
    rates = (jnp.zeros_like(t),) * 2
    if "velocity" in names:
        t = _off_singular_end(path, t)
        rates = derivatives(path, t)
    return tuple(_expand(c, x) for c in (path.alpha(t), path.sigma(t), *rates))


def view(path: Path, x: Array, noise: Array, t: Array | float, name: str) -> Array:
    """One of the `PREDICTIONS`, computed from clean data and noise: what a network should answer at x_t.

    Args:
        path: the path.
        x: clean data ``[b, *spatial, c]``.
        noise: standard normal noise of the same shape.
        t: a time, or one per example ``[b]``.
        name: one of `PREDICTIONS`, or ``"x_t"``.

    Returns:
        An array of the shape of x.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> view(rectified(), jnp.ones((1, 2)), jnp.zeros((1, 2)), 0.5, "velocity").tolist()
        [[1.0, 1.0]]
    """
    return _VIEW[name](x, noise, *_coefficients(path, t, x, name))


def convert(
    path: Path, x_t: Array, t: Array | float, prediction: Array, source: str = "v", target: str = "x0"
) -> Array:
    """Turn one kind of prediction at x_t into another, through the pair (x0, noise).

    Where the source does not determine the target the result is not finite: noise and score say nothing of x0 where
    alpha is 0 (`rectified` and `trigonometric` at t=0), and x0 says nothing of the noise where sigma is 0.

    Args:
        path: the path.
        x_t: the state ``[b, *spatial, c]``.
        t: a time, or one per example ``[b]``.
        prediction: the prediction to convert, of the shape of x_t.
        source: what it is, one of `PREDICTIONS`.
        target: what to turn it into, one of `PREDICTIONS`.

    Returns:
        An array of the shape of x_t; the prediction itself where source and target are the same.

    Raises:
        ValueError: if either name is unknown.

    Reference:
        Salimans & Ho 2022, "Progressive distillation", appendix D, for v; Lipman et al. 2023, "Flow matching for
        generative modeling", theorem 3, for the velocity.

    Example:
        >>> x_t = jnp.full((1, 2), 0.5)
        >>> convert(rectified(), x_t, 0.5, jnp.ones((1, 2)), "velocity", "x0").tolist()
        [[1.0, 1.0]]
    """
    if source == "x_t" or target == "x_t":
        raise ValueError(f"x_t is no prediction: choose from {', '.join(PREDICTIONS)}")
    coefficients = _coefficients(path, t, x_t, source, target)
    if source == target:
        return prediction
    pair = (table[source](x_t, prediction, *coefficients) for table in (_X0, _NOISE))
    return _VIEW[target](*pair, *coefficients)


def change_path(denoise: Denoise, trained: Path, sampled: Path) -> Denoise:
    """Sample on one path with a denoiser that was trained on another.

    Two states of equal signal-to-noise ratio are the same up to a scale, so the denoiser is asked at the time where its
    own path has the ratio, ``x0_hat = denoise(c x_t, t')`` with ``c^2 = (alpha'^2 + sigma'^2) / (alpha^2 + sigma^2)``.

    Where its path does not reach the ratio it is asked at the nearer end: a path with no signal at all at its noise end
    (`rectified`, `cosine`) asks a denoiser of `variance_preserving` at t=1, where a trace of signal is left.

    Args:
        denoise: the denoiser, ``(x_t, t) -> x0_hat`` on `trained`.
        trained: the path that it was trained on.
        sampled: the path to sample on.

    Returns:
        A denoiser on `sampled`.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", appendix B and C;
        Kingma et al. 2021, "Variational diffusion models", section 5.1.

    Example:
        >>> denoise = change_path(lambda x, t: x / path.alpha(t), path := variance_preserving(), edm())
        >>> round(float(denoise(jnp.array([1.5]), 0.7)[0]), 5)
        1.5
    """

    def changed(x: Array, t: Array | float) -> Array:
        t = _time(t)
        own = time_of_log_snr(trained, log_snr(sampled, t))
        sizes = (jnp.hypot(path.alpha(u), path.sigma(u)) for path, u in ((trained, own), (sampled, t)))
        scale = next(sizes) / next(sizes)
        return denoise(x * _expand(scale.astype(x.dtype), x), own)

    return changed


TABLE_STEPS = 1000
"""Of the tables of noise in `PATHS`."""


def _table(betas: Callable[[int], Any]) -> Callable[[], Path]:
    return lambda: discrete(betas(TABLE_STEPS))


PATHS: dict[str, Callable[[], Path]] = {
    "linear": _table(schedules.linear_betas),
    "scaled_linear": _table(schedules.scaled_linear_betas),
    "scaled_linear_brain": _table(functools.partial(schedules.scaled_linear_betas, start=0.0015, end=0.0205)),
    "cosine": _table(schedules.cosine_betas),
    "sigmoid": _table(schedules.sigmoid_betas),
    "vp": variance_preserving,
    "sub_vp": sub_variance_preserving,
    "ve": variance_exploding,
    "rectified": rectified,
}
"""The paths by name: tables of `TABLE_STEPS` noise levels, and continuous ones. A new path is a line here."""


def time_at(path: Path, share: Any) -> Any:
    """The time at a share of the way from the data to the noise.

    Args:
        path: the path.
        share: 0 at the data, 1 at the noise.

    Returns:
        The time.

    Example:
        >>> time_at(rectified(), 0.25)
        0.75
    """
    return path.t_data + share * (path.t_noise - path.t_data)
