"""The one loop that every sampler runs in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key, Step


class Sampling(NamedTuple):
    """How a trained network is sampled: four choices that belong together.

    Attributes:
        path: how noise is mixed in.
        step: the sampler's step on this path, such as ``heun(path)``; where a model learns the variance of its steps, a
            function from the learned fraction to a step.
        grid: its times ``[steps + 1]``, from noise to data.
        prediction: what the network predicts, one of `jaxgen.paths.PREDICTIONS`.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids
        >>> Sampling(rectified(), euler(rectified()), grids.uniform(rectified(), 4)).prediction
        'velocity'
    """

    path: Path
    step: Step | Callable[[Callable[[Array, Array], Array]], Step]
    grid: Any
    prediction: str = "velocity"


def sample(step: Step, denoise: Denoise, key: Key, x: Array, grid: Array, *, keep: bool = False) -> Array:
    """Run a sampler step along a grid of times, as one `lax.scan`.

    Wrap the call in `jax.jit` with the parameters of the denoiser as arguments; then nothing returns to Python.

    Args:
        step: the method, such as ``heun(path)``.
        denoise: ``(x_t, t) -> x0_hat``, with a scalar t.
        key: one key, or keys ``[b]``; step i gets ``fold_in(key, i)``.
        x: where to start, ``[b, *spatial, c]``: ``path.sigma(path.t_noise) * noise``.
        grid: times ``[steps + 1]``, from noise to data.
        keep: whether to return the whole trajectory.

    Returns:
        The sample at the last time, of the shape and dtype of x; with `keep`, ``[steps + 1, b, *spatial, c]``, x first.

    Example:
        >>> import jax
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import euler, grids
        >>> path = rectified()
        >>> grid, key = grids.uniform(path, 4), jax.random.key(0)
        >>> sample(euler(path), lambda x, t: jnp.ones_like(x), key, jnp.zeros(2), grid).tolist()
        [1.0, 1.0]
    """

    def body(state: Any, inputs: Any) -> Any:
        i, t, s = inputs
        state = step.step(denoise, draws.fold_in(key, i), state, t, s)
        return state, state.x if keep else None

    state, trajectory = lax.scan(body, step.init(x, grid), (jnp.arange(len(grid) - 1), grid[:-1], grid[1:]))
    return jnp.concatenate([x[None], trajectory]) if keep else state.x


def starting_noise(path: Path, key: Key, shape: tuple[int, ...]) -> Array:
    """Where sampling starts: Gaussian noise at the path's last level; of each example its own if there are n keys.

    Args:
        path: the path.
        key: one key, or keys ``[b]``.
        shape: ``[b, *spatial, c]``.

    Returns:
        An array of this shape.
    """
    return path.sigma(jnp.asarray(path.t_noise, jnp.float32)) * draws.normal(key, shape)


def from_noise(
    path: Path, denoise: Denoise, step: Step, grid: Array, keys: Key, shape: tuple[int, ...], *, keep: bool = False
) -> Array:
    """Sample from noise to data, every example with a key of its own; called inside of a compiled program.

    Args:
        path: the path.
        denoise: the denoiser.
        step: a step of the sampler.
        grid: its times ``[steps + 1]``.
        keys: keys ``[b]``.
        shape: of one example.
        keep: keep the whole way from noise to data.

    Returns:
        ``[b, *shape]``; with `keep` ``[steps + 1, b, *shape]``.
    """
    noise_keys, step_keys = draws.split(keys, 2)
    start = starting_noise(path, noise_keys, (len(keys), *shape))
    return sample(step, denoise, step_keys, start, grid, keep=keep)
