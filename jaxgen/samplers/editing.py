"""Editing images with a denoiser: inversion, interpolation, SDEdit, and inpainting by replacement and by RePaint."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path, perturb
from jaxgen.samplers.driver import sample
from jaxgen.samplers.steps import Sample, start
from jaxgen.types import Array, Denoise, Key, Step


def invert(path: Path, iterations: int = 0) -> Step:
    """DDIM inversion: from data to the noise that `jaxgen.samplers.ddim` would turn into it, along a grid turned round.

    ``z = sample(invert(path), denoise, key, x, grid[::-1])`` and ``x = sample(ddim(path), denoise, key, z, grid)``. A
    step from t to a noisier s is that of DDIM with time turned, ``x_s = alpha_s x0 + sigma_s (x_t - alpha_t x0) /
    sigma_t`` with ``x0 = denoise(x_t, t)``, of order 1. What DDIM will do from s to t is the same with ``x0 =
    denoise(x_s, s)``; each iteration solves that equation further by putting in the last x_s.

    Where sigma is 0 a denoiser says nothing of the noise: a step that starts there takes ``denoise`` at s, of
    ``alpha_s / alpha_t x_t``.

    Args:
        path: the path.
        iterations: fixed-point iterations a step, each one more evaluation; 3 make a round trip nearly exact.

    Returns:
        A step for a grid from data to noise. It draws nothing.

    Reference:
        Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", appendix F; Pan et al. 2023, "Effective
        real image editing with accelerated iterative diffusion inversion", for the fixed point.

    Example:
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import ddim, grids
        >>> path, key, x = variance_preserving(), jax.random.key(0), jnp.array([[1.5]])
        >>> def denoise(x, t):
        ...     return path.alpha(t) * x  # exact for standard normal data
        >>> grid = grids.uniform(path, 40)
        >>> z = sample(invert(path, 3), denoise, key, x, grid[::-1])
        >>> bool(abs(sample(ddim(path), denoise, key, z, grid) - x)[0, 0] < 1e-3)
        True
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        del key
        x = state.x
        (a_t, n_t), (a_s, n_s) = ((path.alpha(u), path.sigma(u)) for u in (t, s))
        clean = n_t <= jnp.sqrt(jnp.finfo(x.dtype).eps) * n_s
        safe = jnp.where(clean, 1, n_t)

        def evaluate(i: Array, carry: Any) -> Any:
            y, time = carry
            x0 = denoise(y, time)
            # One equation solved for x_s in two ways: holding the noise contracts where there is little of it, holding
            # x0 where there is much.
            by_x0 = a_s * x0 + n_s / safe * (x - a_t * x0)
            by_noise = a_s / a_t * x + (n_s - a_s / a_t * n_t) * (y - a_s * x0) / n_s
            hold_noise = clean | ((i > 0) & (n_s < a_s))
            return jnp.where(hold_noise, by_noise, by_x0).astype(x.dtype), s

        first = jnp.where(clean, a_s / a_t, 1).astype(x.dtype) * x, jnp.where(clean, s, t)
        return Sample(lax.fori_loop(0, 1 + iterations, evaluate, first)[0])

    return Step(start, step)


def lerp(a: Array, b: Array, fraction: Array | float) -> Array:
    """Straight interpolation, ``(1 - fraction) a + fraction b``.

    Args:
        a: ``[b, *spatial, c]``.
        b: of the same shape.
        fraction: 0 gives a, 1 gives b; a number, or one per example.

    Returns:
        An array of the same shape.

    Example:
        >>> lerp(jnp.zeros((1, 2)), jnp.ones((1, 2)), 0.25).tolist()
        [[0.25, 0.25]]
    """
    fraction = jnp.asarray(fraction, a.dtype)
    fraction = fraction.reshape(fraction.shape + (1,) * (a.ndim - 1)) if fraction.ndim else fraction
    return (1 - fraction) * a + fraction * b


def slerp(a: Array, b: Array, fraction: Array | float) -> Array:
    """Interpolation along the circle, ``(sin((1 - f) w) a + sin(f w) b) / sin w``, with w the angle between a and b.

    High-dimensional normal noise lies near a sphere. `slerp` stays near it, where `lerp` falls to 0.71 of its radius
    half-way between independent draws: interpolate the noise of `invert` with `slerp`.

    Args:
        a: ``[b, *spatial, c]``; the angle is taken example by example.
        b: of the same shape.
        fraction: 0 gives a, 1 gives b; a number, or one per example.

    Returns:
        An array of the same shape; `lerp` where a and b have the same or opposite directions, or one is 0.

    Reference:
        Shoemake 1985, "Animating rotation with quaternion curves"; Song, Meng & Ermon 2021, "Denoising diffusion
        implicit models", appendix D.5.

    Example:
        >>> slerp(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]), 0.5).round(3).tolist()[0]
        [0.7070000171661377, 0.7070000171661377]
    """
    axes = tuple(range(1, a.ndim))
    p, q = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (a, b))

    def norm(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(x * x, axes, keepdims=True))

    u, v = (x / jnp.where(norm(x) > 0, norm(x), 1) for x in (p, q))
    angle = 2 * jnp.arctan2(norm(u - v), norm(u + v))  # unlike the arc cosine, exact for small angles
    sine = jnp.where((norm(p) > 0) & (norm(q) > 0), jnp.sin(angle), 0)
    fraction = jnp.asarray(fraction, p.dtype)
    fraction = fraction.reshape(fraction.shape + (1,) * (a.ndim - 1)) if fraction.ndim else fraction
    flat = sine < 1e-6
    sine = jnp.where(flat, 1, sine)
    weights = (jnp.where(flat, f, jnp.sin(f * angle) / sine) for f in (1 - fraction, fraction))
    return (next(weights) * p + next(weights) * q).astype(a.dtype)


def between(way: Callable[..., Array], a: Any, b: Any, fractions: Sequence[float]) -> list[np.ndarray]:
    """Points on the way from a to b.

    Args:
        way: `lerp` or `slerp`.
        a: ``[b, *spatial, c]``.
        b: of the same shape.
        fractions: where they lie, from 0 at a to 1 at b.

    Returns:
        An array of the shape of a for each fraction.

    Example:
        >>> [x.item() for x in between(lerp, jnp.zeros((1, 1)), jnp.ones((1, 1)), (0.0, 0.5))]
        [0.0, 0.5]
    """
    return [np.asarray(way(jnp.asarray(a), jnp.asarray(b), fraction)) for fraction in fractions]


def sdedit(step: Step, path: Path, denoise: Denoise, key: Key, guide: Array, grid: Array, *, repeats: int = 1) -> Array:
    """SDEdit: noise a guide up to the grid's first time and sample from there, keeping the guide's coarse content.

    The later the grid begins, the closer the result to the guide, and the less it is like the data:
    ``grids.uniform(path, steps, start=...)``, some 30 to 60 % of the way to the noise.

    Args:
        step: any sampler step, on the path.
        path: the path.
        denoise: the denoiser.
        key: one key, or keys ``[b]``.
        guide: a sketch, a rough or a degraded image ``[b, *spatial, c]``, in the units of the data.
        grid: times ``[steps + 1]`` that begin between noise and data.
        repeats: how often to do it, each time with the last result for a guide.

    Returns:
        Samples of the shape of the guide. To keep a part of it unchanged, wrap `step` in `replacement`.

    Reference:
        Meng et al. 2022, "SDEdit: guided image synthesis and editing with stochastic differential equations",
        algorithm 1.

    Example:
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import ddim, grids
        >>> path, guide = variance_preserving(), jnp.ones((2, 3))
        >>> grid = grids.uniform(path, 5, start=0.4)
        >>> sdedit(ddim(path), path, lambda x, t: path.alpha(t) * x, jax.random.key(0), guide, grid).shape
        (2, 3)
    """

    def once(i: Array, x: Array) -> Any:
        noise_key, step_key = draws.split(draws.fold_in(key, i), 2)
        noise = draws.normal(noise_key, x.shape).astype(x.dtype)
        return sample(step, denoise, step_key, perturb(path, x, noise, grid[0]).astype(x.dtype), grid)

    return lax.fori_loop(0, repeats, once, guide)


def _paste(path: Path, known: Array, mask: Array, noise: Array, x: Array, s: Array) -> Array:
    """Noise the known part of x to time s; not at all at the data end, even on a path that keeps noise there."""
    noised = jnp.where(s == path.t_data, known, path.alpha(s) * known + path.sigma(s) * noise)
    return (mask * noised + (1 - jnp.asarray(mask, x.dtype)) * x).astype(x.dtype)


def replacement(step: Step, path: Path, known: Array, mask: Array, *, noise: Array | None = None) -> Step:
    """Inpainting by replacement: after each step the known part is set to itself, noised to the time of the state.

    ``x_s <- mask (alpha_s known + sigma_s noise) + (1 - mask) x_s``, and exactly `known` at the path's data end.

    Args:
        step: any sampler step.
        path: its path.
        known: clean data, broadcastable to x ``[b, *spatial, c]``; where the mask is 0 any finite value.
        mask: 1 where known, 0 where not, broadcastable to x.
        noise: the noise of the known part, the same in all steps (as SDEdit has it); None draws anew in each.

    Returns:
        A step with the state of `step`.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", appendix I.2.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import ddim, grids
        >>> path, mask = rectified(), jnp.array([1.0, 0.0])
        >>> step = replacement(ddim(path), path, jnp.array([5.0, 0.0]), mask)
        >>> sample(step, lambda x, t: 0 * x, jax.random.key(0), jnp.ones((1, 2)), grids.uniform(path, 3)).tolist()
        [[5.0, 0.0]]
    """

    def replaced(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        step_key, noise_key = draws.split(key, 2)
        state = step.step(denoise, step_key, state, t, s)
        z = draws.normal(noise_key, state.x.shape) if noise is None else noise
        return state._replace(x=_paste(path, known, mask, z, state.x, s))

    return Step(step.init, replaced)


def time_travel(step: Step, path: Path) -> Step:
    """Follow a grid that goes back up to the noise again and again (`grids.repaint`).

    Where the grid goes towards the noise, from t to s, the state is diffused with no call of the denoiser:
    ``x_s = (alpha_s / alpha_t) x_t + sqrt(sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2) z``. What a denoiser or a step
    is made to keep (known pixels, measurements) is seen by the rest of the image each time that it comes down again.

    Args:
        step: a one-step method, best one that draws noise, such as ``ddim(path, eta=1.0)``.
        path: its path.

    Returns:
        A step for ``grids.repaint(grid, jump, resamples)``.

    Raises:
        ValueError: when it starts, if the step keeps a history, which a jump would make wrong.

    Reference:
        Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models", section 4.2; Wang, Yu
        & Zhang 2023, "Zero-shot image restoration using denoising diffusion null-space model", section 3.3, for the
        name.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import ddim, grids
        >>> path = rectified()
        >>> grid = grids.repaint(grids.uniform(path, 4), jump=2, resamples=2)
        >>> step = time_travel(ddim(path), path)
        >>> sample(step, lambda x, t: 3 + 0 * x, jax.random.key(0), jnp.ones((1, 2)), grid).tolist()
        [[3.0, 3.0]]
    """

    def init(x: Array, grid: Array) -> Any:
        state = step.init(x, grid)
        if len(jax.tree.leaves(state)) != 1:
            raise ValueError("time travel needs a one-step method: this one keeps a history, which a jump makes wrong")
        return state

    def move(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        def up(state: Any) -> Any:
            ratio = path.alpha(s) / path.alpha(t)
            added = jnp.sqrt(jnp.maximum(path.sigma(s) ** 2 - (ratio * path.sigma(t)) ** 2, 0))
            x = ratio * state.x + added * draws.normal(key, state.x.shape)
            return state._replace(x=x.astype(state.x.dtype))

        towards_noise = (s - t) * (path.t_noise - path.t_data) > 0
        return lax.cond(towards_noise, up, lambda state: step.step(denoise, key, state, t, s), state)

    return Step(init, move)


def repaint(step: Step, path: Path, known: Array, mask: Array) -> Step:
    """RePaint: `replacement` with `time_travel`, along a grid that goes back up to the noise (`grids.repaint`).

    Each time the unknown part comes down again it has seen more of the known one.

    Args:
        step: a one-step method, best one that draws noise, such as ``ddim(path, eta=1.0)``.
        path: its path.
        known: clean data, broadcastable to x ``[b, *spatial, c]``; where the mask is 0 any finite value.
        mask: 1 where known, 0 where not, broadcastable to x.

    Returns:
        A step for ``grids.repaint(grid, jump, resamples)``.

    Raises:
        ValueError: when it starts, if the step keeps a history, which a jump would make wrong.

    Reference:
        Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models", algorithm 1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import ddim, grids
        >>> path, mask = rectified(), jnp.array([1.0, 0.0])
        >>> step = repaint(ddim(path), path, jnp.array([5.0, 0.0]), mask)
        >>> grid = grids.repaint(grids.uniform(path, 4), jump=2, resamples=2)
        >>> sample(step, lambda x, t: 0 * x, jax.random.key(0), jnp.ones((1, 2)), grid).tolist()
        [[5.0, 0.0]]
    """
    return time_travel(replacement(step, path, known, mask), path)
