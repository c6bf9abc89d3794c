"""PNDM: noises combined with the weights of Adams and Bashforth, in steps that are exact for a constant noise."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgen.paths import Path
from jaxgen.samplers.multistep import combine, remember
from jaxgen.types import Array, Denoise, Key, Step

# Weights of the latest noise and of three before it: Adams and Bashforth, orders 1 to 4.
_ADAMS_BASHFORTH = np.array(
    [[1, 0, 0, 0], [3 / 2, -1 / 2, 0, 0], [23 / 12, -16 / 12, 5 / 12, 0], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]
)
# Stages of a step: the time as a share of the step, and the weight of the noise there in the final one.
_HEUN = (np.array([0.0, 1.0]), np.array([1 / 2, 1 / 2]))
_RUNGE_KUTTA = (np.array([0.0, 0.5, 0.5, 1.0]), np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]))


class Noises(NamedTuple):
    """The state of PNDM.

    Attributes:
        x: the sample.
        past: earlier noises ``[3, *x.shape]``, the latest first.
        i: the number of steps made.
    """

    x: Array
    past: Array
    i: Array


def pndm(path: Path, *, runge_kutta: bool = False) -> Step:
    """PNDM: pseudo linear multistep with the weights of Adams and Bashforth, order 4 at most.

    The noises of the last times make one, ``(55 n_t - 59 n_1 + 37 n_2 - 9 n_3) / 24``, and the step is DDIM's with it:
    ``x_s = (alpha_s / alpha_t) x_t + (sigma_s - alpha_s sigma_t / alpha_t) noise``.

    The weights belong to times at equal distances; take a uniform grid. The first step is Heun's, with two evaluations
    (this is also known as PLMS), and orders 2 and 3 follow; or the first three are of Runge and Kutta's method, with
    four each. All other steps take one. The path must have alpha above 0 where it starts.

    Args:
        path: the path.
        runge_kutta: whether the first three steps are pseudo Runge-Kutta steps.

    Reference:
        Liu et al. 2022, "Pseudo numerical methods for diffusion models on manifolds", arXiv 2202.09778, eq. 11 to 13
        and algorithm 2.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import grids, sample
        >>> path = variance_preserving()
        >>> grid, key = grids.uniform(path, 8), jax.random.key(0)
        >>> round(float(sample(pndm(path), lambda x, t: 0 * x + 3, key, jnp.ones(()), grid)), 3)
        3.0
    """
    shares, stage_weights = _RUNGE_KUTTA if runge_kutta else _HEUN
    stages, warm = len(shares), 3 if runge_kutta else 1

    def init(x: Array, grid: Array) -> Noises:
        del grid
        # Differences of noises are small: they need more digits than x may have.
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        return Noises(x, jnp.zeros((3, *x.shape), dtype), jnp.zeros((), jnp.int32))

    def step(denoise: Denoise, key: Key, state: Noises, t: Array, s: Array) -> Noises:
        del key
        x, past, i = state
        dtype = past.dtype

        def transfer(x0: Array, first: Array, noise: Array, end: Array) -> Array:
            # (alpha_s / alpha_t) x_t + c noise, without the digits lost in x / alpha where the noises differ little.
            c = path.sigma(end) - path.alpha(end) / path.alpha(t) * path.sigma(t)
            return (path.alpha(end) * x0 + path.sigma(end) * first + c * (noise - first)).astype(x.dtype)

        def evaluate(y: Array, time: Array) -> tuple[Array, Array]:
            x0 = denoise(y, time).astype(dtype)
            return x0, ((y - path.alpha(time) * x0) / path.sigma(time)).astype(dtype)

        def stage(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x0, noises = carry
            time = t + jnp.asarray(shares, t.dtype)[j] * (s - t)
            # Each stage is reached by the noise of the stage before; the first is where the step starts.
            before = noises[jnp.maximum(j - 1, 0)]
            y = jnp.where(j == 0, x, transfer(x0, noises[0], before, time))
            # An end without noise says nothing of the noise there: the one before stands in.
            wanted = (j == 0) | ((i < warm) & (path.sigma(time) > 0))
            found, noise = lax.cond(wanted, evaluate, lambda y, time: (x0, before), y, time)
            return jnp.where(j == 0, found, x0), noises.at[j].set(noise)

        # One traced copy of the network, however many stages: large networks compile slowly.
        carry = jnp.zeros(x.shape, dtype), jnp.zeros((stages, *x.shape), dtype)
        x0, noises = lax.fori_loop(0, stages, stage, carry)
        weights = jnp.asarray(_ADAMS_BASHFORTH, jnp.promote_types(t.dtype, jnp.float32))[jnp.minimum(i, 3)]
        multistep = weights[0] * noises[0] + combine(weights[1:], past)
        warming = combine(jnp.asarray(stage_weights, weights.dtype), noises)
        noise = jnp.where(i < warm, warming, multistep)
        return Noises(transfer(x0, noises[0], noise, s), remember(noises[0], past), i + 1)

    return Step(init, step)
