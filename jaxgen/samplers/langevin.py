"""Langevin dynamics: reverse diffusion, its corrector, and annealed Langevin sampling.

All are written with ``noise = (x_t - alpha x0) / sigma = -sigma score``, of order 1 even where the score is not.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.samplers.steps import Sample, remaining_noise, start
from jaxgen.types import Array, Denoise, Key, Step


def reverse_diffusion(path: Path) -> Step:
    """The reverse-diffusion predictor: the forward chain's own discretisation, turned round.

    ``x_s = (2 - alpha_t / alpha_s) x_t + g^2 score + g z``, where ``g^2 = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2``
    is the variance that the forward chain adds from s to t. A step to sigma = 0 adds no noise.

    Args:
        path: the path.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", appendix E, eq. 46 and algorithms 2 and 3.

    Example:
        >>> from jaxgen.paths import variance_exploding
        >>> reverse_diffusion(variance_exploding()).init(jnp.zeros(2), jnp.array([1.0, 0.0])).x.tolist()
        [0.0, 0.0]
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x = state.x
        added = 1 - remaining_noise(path, t, s) ** 2  # g^2 / sigma_t^2
        mean = (2 - path.alpha(t) / path.alpha(s)) * x - added * (x - path.alpha(t) * denoise(x, t))
        spread = jnp.where(path.sigma(s) > 0, path.sigma(t) * jnp.sqrt(added), 0)
        return Sample((mean + spread * draws.normal(key, x.shape)).astype(x.dtype))

    return Step(start, step)


def predictor_corrector(predictor: Step, path: Path, snr: float = 0.16, corrections: int = 1) -> Step:
    """Langevin steps at time t that bring the distribution of x_t closer to the path's, then the predictor's step to s.

    A Langevin step is ``x + e score + sqrt(2 e) z`` with ``e = 2 (snr |z| / |score|)^2``, the norms being averages over
    the batch: one example's draws move a little with the rest of the batch. On a variance-preserving chain the paper
    has a further factor ``1 - beta`` in e, within 2 % of 1, left out here.

    Args:
        predictor: a step that asks its denoiser once, at (x_t, t): `reverse_diffusion`, `euler_maruyama`, `ddpm`,
            `ddim`, `euler`.
        path: the path.
        snr: the signal-to-noise ratio r of the paper; larger steps for larger numbers. The paper's are 0.16 and below.
        corrections: the number of Langevin steps at each time; each costs one evaluation.

    Raises:
        ValueError: when it is traced, if the predictor asks for anything but the denoiser at (x_t, t).

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", algorithms 1, 4 and 5; corrector before
        predictor, as in the authors' code.

    Example:
        >>> import jax
        >>> from jaxgen import paths
        >>> from jaxgen.samplers import sample
        >>> step = predictor_corrector(reverse_diffusion(paths.rectified()), paths.rectified())
        >>> x, grid, key = jnp.zeros((2, 3)), jnp.array([0.0, 0.5, 1.0]), jax.random.key(0)
        >>> sample(step, lambda x, t: 3.0 + 0 * x, key, x, grid).shape
        (2, 3)
    """

    def norm(a: Array) -> Array:
        return jnp.mean(jnp.linalg.norm(a.reshape(len(a), -1).astype(jnp.float32), axis=-1))

    def step(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        keys = draws.split(key, 2)

        def correct(i: Array, state: Any, x0: Array) -> Any:
            z = draws.normal(draws.fold_in(keys[0], i), state.x.shape)
            return state._replace(x=langevin_step(path, state.x, x0, z, t, snr, norm))

        return correct_and_predict(predictor, correct, corrections, denoise, keys[1], state, t, s)

    return Step(predictor.init, step)


def langevin_step(
    path: Path, x: Array, x0: Array, z: Array, t: Array, snr: float, norm: Callable[[Array], Array]
) -> Array:
    """One Langevin step at time t, ``x + e score + sqrt(2 e) z`` with ``e = 2 (snr |z| sigma / |noise_hat|)^2``.

    Args:
        path: the path.
        x: the state ``[b, *spatial, c]``.
        x0: what the denoiser says of it.
        z: standard normal numbers of the same shape.
        t: the time.
        snr: the signal-to-noise ratio, see `predictor_corrector`.
        norm: of an array of that shape, a number or one per example that broadcasts against it.

    Returns:
        The new state, of the shape and dtype of x.

    Reference:
        Song et al. 2021, "Score-based generative modeling through SDEs", algorithms 4 and 5.

    Example:
        >>> from jaxgen.paths import edm
        >>> one = jnp.ones((1, 1))
        >>> langevin_step(edm(), one, 0 * one, one, jnp.array(1.0), 0.5, jnp.linalg.norm).tolist()
        [[1.5]]
    """
    sigma = path.sigma(t)
    found = (x - path.alpha(t) * x0) / sigma
    size = snr * norm(z) / norm(found)
    return (x + 2 * size * sigma * (z - size * found)).astype(x.dtype)


def correct_and_predict(
    predictor: Step,
    correct: Callable,
    corrections: int,
    denoise: Denoise,
    key: Key,
    state: Any,
    t: Array,
    s: Array,
    enter: Callable | None = None,
) -> Any:
    """Corrections at time t, then the predictor's step to s, with one evaluation of the denoiser before each.

    Args:
        predictor: a step that asks its denoiser once, at (x_t, t).
        correct: ``(i, state, x0_hat) -> state``, the i-th correction.
        corrections: how many.
        denoise: the denoiser.
        key: for the predictor.
        state: of the predictor.
        t: the time.
        s: the time of the result.
        enter: ``(i, state) -> state``, what is done before each evaluation; None for nothing.

    Returns:
        The state at s.

    Raises:
        ValueError: when it is traced, if the predictor asks for anything but the denoiser at (x_t, t).

    Example:
        >>> from jaxgen.paths import rectified
        >>> path, state = rectified(), Sample(jnp.zeros(1))
        >>> correct = lambda i, state, x0: state._replace(x=state.x + 1)
        >>> t, s = jnp.array(0.0), jnp.array(0.5)
        >>> from jaxgen.samplers import euler
        >>> correct_and_predict(euler(path), correct, 2, lambda x, t: 3 + 0 * x, None, state, t, s).x.tolist()
        [2.5]
    """

    def predict(i: Array, state: Any, x0: Array) -> Any:
        def found_already(x: Array, time: Array) -> Array:
            if x is not state.x or time is not t:
                raise ValueError("a predictor must ask its denoiser once, at (x_t, t): this one asks elsewhere")
            return x0

        return predictor.step(found_already, key, state, t, s)

    def stage(i: Array, state: Any) -> Any:
        state = state if enter is None else enter(i, state)
        return lax.cond(i < corrections, correct, predict, i, state, denoise(state.x, t))

    # One traced copy of the network, however many corrections: large networks compile slowly.
    return lax.fori_loop(0, corrections + 1, stage, state)


def annealed_langevin(path: Path, step_size: float = 0.2, repeats: int = 100) -> Step:
    """Annealed Langevin dynamics: `repeats` Langevin steps at each level of noise, from one level straight to the next.

    At level s, ``y + e/2 score + sqrt(e) z`` with ``y = x / alpha`` and ``e = step_size r_s^2``, ``r = sigma / alpha``.
    A step to sigma = 0 returns what the denoiser makes of the last level, ``alpha_s x0(x_t, t)``.

    Args:
        path: the path, such as `jaxgen.paths.variance_exploding`; alpha must not be 0 on the grid.
        step_size: the step in units of the squared noise: ``epsilon / sigma_L^2`` in the paper, whose experiments have
            0.2. The distribution at each level is wrong by a part that grows with it.
        repeats: the number of Langevin steps a level (T in the paper), each of one evaluation.

    Reference:
        Song & Ermon 2019, "Generative modeling by estimating gradients of the data distribution", algorithm 1; Song &
        Ermon 2020, "Improved techniques for training score-based generative models", for the last denoising.

    Example:
        >>> import jax
        >>> from jaxgen import paths
        >>> from jaxgen.samplers import sample
        >>> step, grid = annealed_langevin(paths.edm(), repeats=3), jnp.array([9.0, 1.0, 0.0])
        >>> sample(step, lambda x, t: 3.0 + 0 * x, jax.random.key(0), jnp.zeros(1), grid).tolist()
        [3.0]
    """

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        dtype, clean = state.x.dtype, path.sigma(s) <= 0
        time = jnp.where(clean, t, s)
        alpha, sigma = path.alpha(time), path.sigma(time)

        def move(i: Array, x: Array) -> Any:
            x0, z = denoise(x, time), draws.normal(draws.fold_in(key, i), x.shape)
            moved = x + 0.5 * step_size * (alpha * x0 - x) + step_size**0.5 * sigma * z
            return jnp.where(clean, path.alpha(s) * x0, moved).astype(dtype)

        def stage(i: Array, x: Array) -> Any:
            return lax.cond((i == 0) | ~clean, move, lambda i, x: x, i, x)

        x = (alpha / path.alpha(t) * state.x).astype(dtype)
        return Sample(lax.fori_loop(0, repeats, stage, x))

    return Step(start, step)
