"""Few equal steps along a velocity, their number an argument of the compiled program."""

from collections.abc import Callable

import jax
import numpy as np

from jaxgen.types import Array, Key, Net, Params


def equal_steps(
    net: Net, shape: tuple[int, ...], chunk: int, *, mean_flow: bool = False
) -> Callable[[Params, Key, int, int], np.ndarray]:
    """Draw in equal steps ``x += velocity / steps`` from noise at 0 to data at 1.

    A step of MeanFlow and one of Euler's method differ only in what the network is asked.

    Args:
        net: the velocity ``apply(params, x, t)`` or, of MeanFlow, the mean velocity ``apply(params, x, t, s)``.
        shape: of one example.
        chunk: how many are drawn together.
        mean_flow: which of the two.

    Returns:
        ``draw(params, key, n, steps) -> [n, *shape]``; one program serves any number of steps.
    """

    @jax.jit
    def draw(params: Params, key: Key, steps: Array) -> Array:
        def step(i: Array, x: Array) -> Array:
            times = (i / steps, (i + 1) / steps) if mean_flow else (i / steps,)
            return x + net.apply(params, x, *times) / steps

        return jax.lax.fori_loop(0, steps, step, jax.random.normal(key, (chunk, *shape)))

    def drawn(params: Params, key: Key, n: int, steps: int) -> np.ndarray:
        keys = jax.random.split(key, -(-n // chunk))
        return np.concatenate([np.asarray(draw(params, k, steps)) for k in keys])[:n]

    return drawn
