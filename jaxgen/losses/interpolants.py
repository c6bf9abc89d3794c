"""Stochastic interpolants: bridges between two data sets, and the losses that learn to cross them.

A Gaussian path (`jaxgen.paths`) joins data and noise. An interpolant joins a start and an end that may both be data,
``x_t = a(t) start + b(t) end + gamma(t) z``, with time from 0 to 1 and fresh normal noise z on the way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen import draws
from jaxgen.types import Array, Key


class Interpolant(NamedTuple):
    """A bridge ``x_t = a(t) start + b(t) end + gamma(t) z``.

    Attributes:
        start: a, 1 at t=0 and 0 at t=1, elementwise in t.
        end: b, 0 at t=0 and 1 at t=1.
        noise: gamma, 0 at both ends and positive between; None for a bridge without noise.
    """

    start: Callable[[Any], Any]
    end: Callable[[Any], Any]
    noise: Callable[[Any], Any] | None = None


def linear(noise: Callable[[Any], Any] | None = None) -> Interpolant:
    """Straight lines from start to end: ``a = 1 - t``, ``b = t``.

    Args:
        noise: gamma; None for none, which is rectified flow between two data sets.

    Reference:
        Liu, Gong & Liu 2023, "Flow straight and fast"; Albergo, Boffi & Vanden-Eijnden 2023, "Stochastic
        interpolants: a unifying framework for flows and diffusions", arXiv 2303.08797, section 4.

    Example:
        >>> bridge = linear()
        >>> bridge.start(0.25), bridge.end(0.25)
        (0.75, 0.25)
    """
    return Interpolant(lambda t: 1 - t, lambda t: t, noise)


def brownian(sigma: float) -> Interpolant:
    """Brownian bridges: straight lines with noise ``gamma = sigma sqrt(t (1 - t))``, of infinite rate at the ends.

    Between the pairs of an entropic plan of regularisation ``2 sigma^2`` (`jaxgen.couplings.entropic`) it is the
    Schrodinger bridge of a Brownian motion of diffusion sigma.

    Args:
        sigma: the diffusion, in units of the data; above 0.

    Reference:
        Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport",
        section 3.2 (SB-CFM).

    Example:
        >>> float(brownian(2.0).noise(0.5))
        1.0
    """
    return linear(lambda t: sigma * jnp.sqrt(t * (1 - t)))


def bump(sigma: float) -> Interpolant:
    """Straight lines with noise ``gamma = sigma sin^2(pi t)``, of finite rate at both ends.

    Args:
        sigma: the noise half way, in units of the data; above 0.

    Reference:
        Albergo, Boffi & Vanden-Eijnden 2023, "Stochastic interpolants: a unifying framework for flows and diffusions",
        arXiv 2303.08797.

    Example:
        >>> round(float(bump(2.0).noise(0.5)), 4)
        2.0
    """
    return linear(lambda t: sigma * jnp.sin(jnp.pi * t) ** 2)


def _rate(function: Callable[[Any], Any], t: Array) -> Array:
    return jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


def _expand(c: Array, x: Array) -> Array:
    return c.reshape(c.shape + (1,) * (x.ndim - 1)) if c.ndim else c


def interpolate(bridge: Interpolant, start: Array, end: Array, z: Array, t: Array) -> Array:
    """The state x_t of a bridge.

    Args:
        bridge: the interpolant.
        start: ``[b, *shape]``.
        end: of the same shape.
        z: standard normal noise of the same shape, unused by a bridge without noise.
        t: times ``[b]`` or a scalar.

    Returns:
        x_t, of the shape of start.

    Example:
        >>> x = interpolate(linear(), jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.array([0.25]))
        >>> x.tolist()
        [[0.25, 0.25]]
    """
    t = _expand(jnp.asarray(t), start)
    mean = bridge.start(t) * start + bridge.end(t) * end
    return mean if bridge.noise is None else mean + bridge.noise(t) * z


def drift(bridge: Interpolant, velocity: Array, z_hat: Array | None, t: Array, diffusion: Array | float = 0.0) -> Array:
    """The drift ``velocity + (gamma' - diffusion / gamma) z_hat`` of ``dx = drift dt + sqrt(2 diffusion) dw``.

    With the exact answers, ``velocity = E[a' start + b' end | x_t]`` and ``z_hat = E[z | x_t]``, its solutions have the
    distribution of the bridge at every time, whatever the diffusion. Without diffusion it is the probability flow.

    Args:
        bridge: the interpolant.
        velocity: ``[b, *shape]``.
        z_hat: of the same shape; None for a bridge without noise.
        t: times ``[b]`` or a scalar, within (0, 1) where the rate of gamma is infinite at the ends.
        diffusion: at those times; 0 for a bridge without noise.

    Returns:
        Of the shape of velocity.

    Reference:
        Albergo, Boffi & Vanden-Eijnden 2023, "Stochastic interpolants: a unifying framework for flows and diffusions",
        arXiv 2303.08797, section 2.

    Example:
        >>> value = drift(bump(1.0), jnp.ones((1, 2)), jnp.ones((1, 2)), jnp.array(0.5), 0.25)
        >>> [round(float(v), 4) for v in value[0]]
        [0.75, 0.75]
    """
    if bridge.noise is None or z_hat is None:
        return velocity
    t = jnp.asarray(t)
    return velocity + _expand(_rate(bridge.noise, t) - diffusion / bridge.noise(t), velocity) * z_hat


def bridge_matching(
    predict: Callable[[Array, Array], tuple[Array, Array | None]],
    bridge: Interpolant,
    key: Key,
    start: Array,
    end: Array,
    *,
    z: Array | None = None,
    t: Array | None = None,
) -> Array:
    """The squared errors of what crosses a bridge: ``mean |velocity - (a' start + b' end)|^2 + mean |z_hat - z|^2``.

    The noise's part of the velocity, ``gamma' z``, is not regressed: its rate may be infinite. `drift` adds it. The
    second term is there only where the bridge has noise. The means are over all axes but the first.

    Args:
        predict: ``(x_t [b, *shape], t [b]) -> (velocity, z_hat)``, both ``[b, *shape]``; z_hat is None, or left aside,
            for a bridge without noise.
        bridge: the interpolant.
        key: one key, or keys ``[b]``: then each example draws from its own key alone.
        start: ``[b, *shape]``.
        end: of the same shape, row i paired with row i of start.
        z: standard normal noise to use instead of drawing it.
        t: times ``[b]`` in [0, 1] to use instead of drawing them evenly.

    Returns:
        Float32 ``[b]``.

    Raises:
        ValueError: if the shapes differ, or z_hat is missing.

    Reference:
        Albergo, Boffi & Vanden-Eijnden 2023, "Stochastic interpolants: a unifying framework for flows and diffusions",
        arXiv 2303.08797, section 2; Albergo & Vanden-Eijnden 2023, "Building normalizing flows with stochastic
        interpolants", for bridges without noise.

    Example:
        >>> start, end = jnp.zeros((2, 3)), jnp.ones((2, 3))
        >>> bridge_matching(lambda x, t: (0 * x, None), linear(), jax.random.key(0), start, end).tolist()
        [1.0, 1.0]
    """
    if start.shape != end.shape:
        raise ValueError(f"starts of shape {start.shape} and ends of shape {end.shape}")
    time_key, noise_key = draws.split(key, 2)
    t = draws.uniform(time_key, start.shape[:1]) if t is None else jnp.broadcast_to(jnp.asarray(t), start.shape[:1])
    if z is None:
        z = draws.normal(noise_key, start.shape)
    velocity, z_hat = predict(interpolate(bridge, start, end, z, t), t)

    def error(answer: Array, truth: Array) -> Array:
        answer = answer.astype(jnp.promote_types(answer.dtype, jnp.float32))
        return jnp.mean((answer - truth) ** 2, axis=tuple(range(1, truth.ndim)))

    rates = [_expand(_rate(function, t), start) for function in (bridge.start, bridge.end)]
    value = error(velocity, rates[0] * start + rates[1] * end)
    if bridge.noise is None:
        return value
    if z_hat is None:
        raise ValueError("this bridge has noise: predict must answer it as well")
    return value + error(z_hat, z)
