"""Guidance: functions from denoisers to denoisers.

Each takes ``denoise(x_t, t) -> x0_hat`` and returns another such function, so they compose with each other, with
`jaxgen.paths.change_path` and with every sampler, and no sampler knows of any of them. All act on ``x0_hat``. Noise,
score, v and velocity are affine in it, with coefficients of time alone: a guided ``x0_hat`` is a guided one of those.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.paths import Path
from jaxgen.types import Array, Denoise


def _as(x: Array, value: Any) -> Array:
    """A number, or one per example ``[b]``, in the type of x and with axes that broadcast against x."""
    value = jnp.asarray(value, x.dtype)
    return value.reshape(value.shape + (1,) * (x.ndim - 1)) if value.ndim else value


def _within(t: Array, interval: tuple[float, float] | None) -> Array | bool:
    return True if interval is None else (t >= min(interval)) & (t <= max(interval))


def _push(strong: Array, weak: Array, scale: Array | float, rescale: float) -> Array:
    """``weak + scale (strong - weak)``, written so that a scale of 1 gives `strong` to the bit."""
    pushed = strong + _as(strong, scale - 1) * (strong - weak)
    if rescale == 0:
        return pushed
    axes = tuple(range(1, strong.ndim))
    spreads = (jnp.std(x.astype(jnp.float32), axes, keepdims=True) for x in (strong, pushed))
    matched = pushed * (next(spreads) / next(spreads)).astype(pushed.dtype)
    return rescale * matched + (1 - rescale) * pushed


def classifier_free(
    denoise: Denoise,
    denoise_unconditional: Denoise,
    scale: Array | float,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> Denoise:
    """Push a denoiser away from a less informed one: ``x0_hat = u + scale (c - u)``.

    With c conditional and u unconditional this is classifier-free guidance. With u a weaker network (smaller, or
    trained less) under the same condition it is autoguidance: the same formula, and the same function.

    Args:
        denoise: c, the informed denoiser.
        denoise_unconditional: u, the less informed one.
        scale: 1 is no guidance; a number, or one per example ``[b]``. (The original paper's weight is ``scale - 1``.)
        rescale: from 0 to 1, how much of the standard deviation that c has in each example is given back, against
            overexposure: ``x0_hat <- rescale x0_hat std(c) / std(x0_hat) + (1 - rescale) x0_hat``.
        interval: two times, in either order, between which to guide, ends included; outside, c alone is evaluated. For
            an interval of noise levels see `jaxgen.paths.time_of_log_snr`.

    Returns:
        The guided denoiser. It evaluates both, one after the other; see `classifier_free_batched`.

    Reference:
        Ho & Salimans 2022, "Classifier-free diffusion guidance", eq. 6; Karras et al. 2024, "Guiding a diffusion model
        with a bad version of itself", section 3, for the weaker network; Lin et al. 2024, "Common diffusion noise
        schedules and sample steps are flawed", section 3.4, for `rescale`; Kynkaanniemi et al. 2024, "Applying guidance
        in a limited interval improves sample and distribution quality in diffusion models", for `interval`.

    Example:
        >>> guided = classifier_free(lambda x, t: x + 1, lambda x, t: x, 3.0, interval=(0.2, 0.8))
        >>> [float(guided(jnp.zeros((1, 1)), jnp.array(t))[0, 0]) for t in (0.5, 0.9)]
        [3.0, 1.0]
    """

    def guided(x: Array, t: Array) -> Array:
        strong = denoise(x, t)
        if interval is None:
            return _push(strong, denoise_unconditional(x, t), scale, rescale)
        return lax.cond(
            _within(t, interval),
            lambda strong: _push(strong, denoise_unconditional(x, t).astype(strong.dtype), scale, rescale),
            lambda strong: strong,
            strong,
        )

    return guided


autoguidance = classifier_free


def classifier_free_batched(
    denoise: Callable[[Array, Array, Any], Array],
    condition: Any,
    unconditional: Any,
    scale: Array | float,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] | None = None,
) -> Denoise:
    """`classifier_free` for one network that takes its condition as an argument, in one call on a batch twice as large.

    One copy of the network in the program, and on accelerators faster than two calls; twice the memory.

    Args:
        denoise: ``(x_t [2b, *spatial, c], t, condition) -> x0_hat``.
        condition: an array ``[b, ...]``, or a tree of such.
        unconditional: what stands for no condition, of the same shapes.
        scale: as in `classifier_free`.
        rescale: as in `classifier_free`.
        interval: as in `classifier_free`; outside, both are evaluated all the same.

    Returns:
        The guided denoiser, for x of ``[b, *spatial, c]``.

    Reference:
        Ho & Salimans 2022, "Classifier-free diffusion guidance", eq. 6.

    Example:
        >>> def denoise(x, t, label):
        ...     return x + label[:, None]
        >>> guided = classifier_free_batched(denoise, jnp.ones(2), jnp.zeros(2), 3.0)
        >>> guided(jnp.zeros((2, 1)), 0.5).tolist()
        [[3.0], [3.0]]
    """
    both = jax.tree.map(lambda c, u: jnp.concatenate([c, u]), condition, unconditional)

    def guided(x: Array, t: Array) -> Array:
        strong, weak = jnp.split(denoise(jnp.concatenate([x, x]), t, both), 2)
        return jnp.where(_within(t, interval), _push(strong, weak, scale, rescale), strong)

    return guided


def classifier(
    denoise: Denoise,
    log_prob: Callable[[Array, Array], Array],
    path: Path,
    scale: Array | float = 1.0,
    *,
    interval: tuple[float, float] | None = None,
    covariance: Callable[[Array], Array] | None = None,
) -> Denoise:
    """Follow the gradient of a classifier of noisy states: ``x0_hat + scale sigma^2 / alpha C grad log p(y | x_t)``.

    C is the covariance of the noise, the identity for white noise: then this is the same as
    ``noise_hat - scale sigma grad log p`` and ``score + scale grad log p``. With the exact denoiser and classifier, a
    scale of 1 is the exact conditional denoiser.

    Args:
        denoise: the denoiser, which may be conditional itself.
        log_prob: ``(x_t, t) -> [b]``, log-probabilities in nats of what is wanted given the noisy x_t, each of its own
            example; differentiable in x_t.
        path: the path of both.
        scale: 0 is no guidance; a number, or one per example ``[b]``.
        interval: two times, in either order, between which to guide, ends included; outside, the classifier is not
            asked. Near the noise end ``sigma^2 / alpha`` magnifies what a trained classifier gets wrong about an x_t
            that says next to nothing.
        covariance: multiplies by C, ``[b, *spatial, c] -> [b, *spatial, c]``, such as
            `jaxgen.medical.anomaly.coarse_covariance`; None for white noise.

    Returns:
        The guided denoiser. Where alpha is 0 (the noise end of `jaxgen.paths.rectified`) x_t carries nothing to follow,
        and it does not guide.

    Raises:
        ValueError: when it is called, if log_prob does not return one value per example.

    Reference:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", algorithm 2 and eq. 14.

    Example:
        >>> from jaxgen.paths import edm
        >>> guided = classifier(lambda x, t: x, lambda x, t: 3 * x.sum(-1), edm(), 2.0)
        >>> guided(jnp.ones((1, 2)), 0.5).tolist()
        [[2.5, 2.5]]
    """

    def guided(x: Array, t: Array) -> Array:
        def total(x: Array) -> Array:
            values = log_prob(x, t)
            if values.shape != x.shape[:1]:
                raise ValueError(f"log_prob gave shape {values.shape} for x of shape {x.shape}: one value per example")
            return values.sum()

        def push(x0: Array) -> Array:
            alpha, sigma = jnp.asarray(path.alpha(t)), jnp.asarray(path.sigma(t))
            reach = jnp.where(alpha > 0, sigma**2 / jnp.where(alpha > 0, alpha, 1), 0)
            gradient = jax.grad(total)(x)
            toward = gradient if covariance is None else covariance(gradient)
            return x0 + _as(x0, scale) * (reach * toward).astype(x0.dtype)

        x0 = denoise(x, t)
        return push(x0) if interval is None else lax.cond(_within(t, interval), push, lambda x0: x0, x0)

    return guided


def inpaint(denoise: Denoise, known: Array, mask: Array) -> Denoise:
    """Put what is known into the clean prediction: ``x0_hat <- mask known + (1 - mask) x0_hat``.

    A sampler whose last step lands on the clean prediction (DDIM, ancestral, DPM-Solver++; Runge-Kutta methods on
    `jaxgen.paths.rectified`) gives back `known` under the mask. The rest is drawn to fit it only so far as the denoiser
    sees the known part at each noise level; `jaxgen.samplers.repaint` does better, at a price.

    Args:
        denoise: the denoiser.
        known: clean data, broadcastable to x ``[b, *spatial, c]``; where the mask is 0 any finite value.
        mask: 1 where known, 0 where not, broadcastable to x.

    Returns:
        The denoiser.

    Reference:
        Wang, Yu & Zhang 2023, "Zero-shot image restoration using denoising diffusion null-space model", eq. 13, with a
        mask for the operator.

    Example:
        >>> inpaint(lambda x, t: x, jnp.array([[5.0, 0.0]]), jnp.array([[1.0, 0.0]]))(jnp.ones((1, 2)), 0.5).tolist()
        [[5.0, 1.0]]
    """

    def filled(x: Array, t: Array) -> Array:
        x0 = denoise(x, t)
        return (mask * known + (1 - jnp.asarray(mask, x0.dtype)) * x0).astype(x0.dtype)

    return filled
