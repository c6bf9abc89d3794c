"""Sampler steps: explicit Runge-Kutta methods on the probability-flow equation, and DDIM.

Every step is made for a path and calls a denoiser, ``denoise(x_t, t) -> x0_hat`` with a scalar t. The equation solved
is ``dx/dt = velocity``, with the velocity that the denoiser implies (Song et al. 2021, eq. 13).

Where sigma is 0 a denoiser no longer tells the velocity. `midpoint`, `euler` and `ddim` never ask there. `heun` and
`runge_kutta4` would: a step that ends where sigma has all but vanished is made with a method that needs no such
evaluation and is one order lower (Euler and Heun's third-order method): made once, it leaves the order as it was.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path, convert
from jaxgen.types import Array, Denoise, Key, NoiseDistribution, Step


class Sample(NamedTuple):
    """The state of a one-step method: the sample alone."""

    x: Array


def start(x: Array, grid: Array) -> Sample:
    """The ``init`` of one-step methods: they look at no other time.

    Example:
        >>> start(jnp.ones(1), jnp.array([0.0, 1.0])).x.tolist()
        [1.0]
    """
    del grid
    return Sample(x)


class _Tableau(NamedTuple):
    """An explicit Runge-Kutta method: stage times, stage weights, final weights."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


_EULER = _Tableau((0,), ((0,),), (1,))
_EULER_PADDED = _Tableau((0, 0), ((0, 0), (0, 0)), (1, 0))
_HEUN = _Tableau((0, 1), ((0, 0), (1, 0)), (0.5, 0.5))
_MIDPOINT = _Tableau((0, 0.5), ((0, 0), (0.5, 0)), (0, 1))
_HEUN3_PADDED = _Tableau(
    (0, 1 / 3, 2 / 3, 0), ((0, 0, 0, 0), (1 / 3, 0, 0, 0), (0, 2 / 3, 0, 0), (0, 0, 0, 0)), (0.25, 0, 0.75, 0)
)
_CLASSIC4 = _Tableau(
    (0, 0.5, 0.5, 1), ((0, 0, 0, 0), (0.5, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 1, 0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
)


def denoiser(predict: Callable[[Array, Array], Array], path: Path, prediction: str) -> Denoise:
    """A denoiser from a network that predicts anything.

    Args:
        predict: ``(x_t, t) -> prediction``.
        path: the path it was trained on.
        prediction: what it predicts, one of `jaxgen.paths.PREDICTIONS`.

    Returns:
        ``denoise(x_t, t) -> x0_hat``.

    Raises:
        ValueError: when it is called, if the prediction is unknown.

    Example:
        >>> from jaxgen.paths import rectified
        >>> float(denoiser(lambda x, t: 0 * x, rectified(), "velocity")(jnp.array(2.0), 0.5))
        2.0
    """
    return lambda x, t: convert(path, x, t, predict(x, t), prediction, "x0")


def from_velocity(velocity: Callable[[Array, Array], Array], path: Path) -> Denoise:
    """A denoiser from a velocity field: ``x0 = (sigma' x_t - sigma u) / (alpha sigma' - sigma alpha')``.

    On `rectified` this is ``x_t + sigma u`` (up to sigma_min): nothing cancels, and a step
    gets back the velocity to rounding.

    Example:
        >>> from jaxgen.paths import rectified
        >>> float(from_velocity(lambda x, t: x, rectified())(jnp.array(2.0), 0.5))
        3.0
    """
    return denoiser(velocity, path, "velocity")


def _runge_kutta(path: Path, method: _Tableau, ending: _Tableau | None = None) -> Step:
    """A step of an explicit method; `ending` replaces it where sigma vanishes at the end of the step."""
    stages = len(method.c)

    def used(tableau: _Tableau) -> np.ndarray:
        return (np.array(tableau.b) != 0) | (np.array(tableau.a) != 0).any(0)

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        del key
        x = state.x

        def slope(y: Array, time: Array) -> Any:
            return convert(path, y, time, denoise(y, time), "x0", "velocity").astype(x.dtype)

        if stages == 1:
            return Sample(x + (s - t).astype(x.dtype) * slope(x, t))

        usual = c, a, b, active = tuple(jnp.asarray(table) for table in (*method, used(method)))
        if ending is not None:
            # A velocity made from x0 loses the digits that sigma has lost: half of them is where to stop asking for it.
            vanishes = path.sigma(s) <= jnp.sqrt(jnp.finfo(x.dtype).eps) * path.sigma(t)
            last = (jnp.asarray(table) for table in (*ending, used(ending)))
            c, a, b, active = (jnp.where(vanishes, *pair) for pair in zip(last, usual, strict=True))
        h = s - t

        def advance(weights: Any, slopes: Any) -> Any:
            # Elementwise, for a matrix product may round to bfloat16 or TF32 on accelerators.
            weights = (h * weights).astype(x.dtype).reshape((stages,) + (1,) * x.ndim)
            return x + jnp.sum(weights * slopes, axis=0)

        def stage(i: Array, slopes: Any) -> Any:
            y, time = advance(a[i], slopes), t + c[i] * h
            k = lax.cond(active[i], slope, lambda y, time: jnp.zeros_like(x), y, time)
            return slopes.at[i].set(k)

        # One traced copy of the network, however many stages: large networks compile slowly.
        slopes = lax.fori_loop(0, stages, stage, jnp.zeros((stages, *x.shape), x.dtype))
        return Sample(advance(b, slopes))

    return Step(start, step)


def euler(path: Path) -> Step:
    """Euler's method, order 1, one evaluation per step: ``x_s = x_t + (s - t) u(x_t, t)``.

    On `rectified` it is the same as `ddim`.

    Example:
        >>> from jaxgen.paths import rectified
        >>> state, t, s = Sample(jnp.zeros(1)), jnp.array(0.0), jnp.array(0.5)
        >>> euler(rectified()).step(lambda x, t: 3.0 + 0 * x, None, state, t, s).x.tolist()
        [1.5]
    """
    return _runge_kutta(path, _EULER)


def heun(path: Path) -> Step:
    """Heun's method (explicit trapezoidal), order 2, two evaluations per step, one in a last step to sigma = 0.

    Reference:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", algorithm 1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> heun(rectified()).init(jnp.zeros(2), jnp.array([0.0, 1.0])).x.tolist()
        [0.0, 0.0]
    """
    return _runge_kutta(path, _HEUN, _EULER_PADDED)


def midpoint(path: Path) -> Step:
    """The explicit midpoint method, order 2, two evaluations per step.

    Reference:
        Hairer, Norsett & Wanner 1993, "Solving ordinary differential equations I", section II.1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> midpoint(rectified()).init(jnp.zeros(2), jnp.array([0.0, 1.0])).x.tolist()
        [0.0, 0.0]
    """
    return _runge_kutta(path, _MIDPOINT)


def runge_kutta4(path: Path) -> Step:
    """The classical Runge-Kutta method, order 4, four evaluations per step, three in a last step to sigma = 0.

    Reference:
        Hairer, Norsett & Wanner 1993, "Solving ordinary differential equations I", section II.1, tables 1.1 and 1.2.

    Example:
        >>> from jaxgen.paths import rectified
        >>> runge_kutta4(rectified()).init(jnp.zeros(2), jnp.array([0.0, 1.0])).x.tolist()
        [0.0, 0.0]
    """
    return _runge_kutta(path, _CLASSIC4, _HEUN3_PADDED)


def remaining_noise(path: Path, t: Array | float, s: Array | float) -> Array:
    """How much of the noise-to-signal ratio ``r = sigma / alpha`` a step from t to s leaves: ``r_s / r_t``.

    Finite where alpha_t or sigma_s is 0. With q this number, the forward chain from s to t adds noise of variance
    ``sigma_t^2 (1 - q^2)``, and given x0 and x_t the state at s has variance ``sigma_s^2 (1 - q^2)``.

    Args:
        path: the path.
        t: a time, where sigma is above 0.
        s: a time nearer to the data.

    Returns:
        A number in [0, 1].

    Example:
        >>> from jaxgen.paths import rectified
        >>> round(float(remaining_noise(rectified(), 0.5, 0.75)), 4), float(remaining_noise(rectified(), 0.0, 0.5))
        (0.3333, 0.0)
    """
    return jnp.asarray(path.sigma(s) * path.alpha(t) / (path.sigma(t) * path.alpha(s)))


def ddim(path: Path, eta: float = 0.0, *, noise: NoiseDistribution = draws.normal) -> Step:
    """DDIM: holds x0 and the noise found at x_t fixed over the step, and renews a part of the noise.

    ``x_s = alpha_s x0 + sqrt(sigma_s^2 - c^2) (x_t - alpha_t x0) / sigma_t + c z``, with
    ``c = eta sigma_s sqrt(1 - (r_s / r_t)^2)`` and ``r = sigma / alpha``.

    Without noise (eta = 0) it is the probability flow, order 1, exact in the schedule. With eta = 1 it draws from the
    posterior of the forward chain, ``q(x_s | x_t, x0)``: `ancestral.ddpm` with the small variance. Every step
    lands on x0 where sigma is 0.

    Args:
        path: the path.
        eta: how much of the noise is new; c is at most sigma_s, so that eta may exceed 1.
        noise: distribution of the new noise, for networks that were trained on another than white noise.

    Reference:
        Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 12 and 16.

    Example:
        >>> from jaxgen.paths import variance_preserving
        >>> state, t, s = Sample(jnp.zeros(1)), jnp.array(1.0), jnp.array(0.0)
        >>> ddim(variance_preserving()).step(lambda x, t: 3.0 + 0 * x, None, state, t, s).x.tolist()
        [3.0]
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x0 = denoise(state.x, t)
        z = (state.x - path.alpha(t) * x0) / path.sigma(t)
        if eta:
            renewed = jnp.minimum(eta**2 * (1 - remaining_noise(path, t, s) ** 2), 1)
            z = jnp.sqrt(1 - renewed) * z + jnp.sqrt(renewed) * noise(key, state.x.shape)
        return Sample((path.alpha(s) * x0 + path.sigma(s) * z).astype(state.x.dtype))

    return Step(start, step)
