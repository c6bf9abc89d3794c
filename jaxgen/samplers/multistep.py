"""Linear multistep methods: what they share.

Every such method is one line,
``x_s = A x + w_0 x0 + w_1 past_1 + w_2 past_2 + ... + c noise``, where ``past_j`` is what the denoiser said j steps ago
(its x0, or the noise that follows from it), and differs in the weights alone. The weights come from the exact integral
of the polynomial through the past, so they depend on several times: `Step.init` makes them from the whole grid.

The coordinate of most methods is ``lambda = log(alpha / sigma)``. A polynomial can only pass through points at which it
is finite, and that follow each other towards the data: wherever this is not so the order is lower.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxgen import draws
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key, Step


class Weights(NamedTuple):
    """The weights of all steps, in float32 or wider.

    Attributes:
        x: of the state, ``[steps]``.
        outputs: of x0, then of the past from the latest to the oldest, ``[steps, order]``.
        noise: of a fresh standard normal draw, ``[steps]``, or None where there is none.
        first: whether a step starts a block, ``[steps]``: `x` weighs the state at the start of the block. None where
            every step does.
    """

    x: Array
    outputs: Array
    noise: Array | None = None
    first: Array | None = None


class Multistep(NamedTuple):
    """The state of a multistep method.

    Attributes:
        x: the sample.
        past: earlier outputs ``[order - 1, *x.shape]``, the latest first.
        i: the number of steps made.
        weights: the weights of all steps.
        base: the sample at the start of a block, or None.
    """

    x: Array
    past: Array
    i: Array
    weights: Weights
    base: Array | None = None


class Levels(NamedTuple):
    """alpha, sigma and lambda = log(alpha / sigma) on a grid, ``[steps + 1]`` each."""

    alpha: Array
    sigma: Array
    log_ratio: Array


def levels(path: Path, grid: Array) -> Levels:
    """The signal and noise levels on a grid, in float32 or wider.

    Example:
        >>> from jaxgen.paths import rectified
        >>> levels(rectified(), jnp.array([0.0, 0.5, 1.0])).log_ratio.tolist()
        [-inf, 0.0, inf]
    """
    grid = jnp.asarray(grid, jnp.promote_types(jnp.result_type(grid), jnp.float32))
    alpha, sigma = (jnp.broadcast_to(f(grid), grid.shape) for f in (path.alpha, path.sigma))
    return Levels(alpha, sigma, jnp.log(alpha) - jnp.log(sigma))


def usable_order(log_ratio: Array, order: int, lower_order_final: bool = False, again: bool = False) -> Array:
    """The order that each step can have, ``[steps]``.

    As many points as follow each other, finite and ever closer to the data, up to the start of the step; 1 where the
    step ends without noise, or leads nowhere; with `lower_order_final`, no more than the steps that are left. With
    `again`, steps are made again from an earlier start, and one between equal levels still leads somewhere.

    Example:
        >>> usable_order(jnp.array([-jnp.inf, -1.0, 0.0, 1.0, 2.0, jnp.inf]), 3).tolist()
        [1, 1, 2, 3, 1]
        >>> usable_order(jnp.arange(6.0), 3, lower_order_final=True).tolist()
        [1, 2, 3, 2, 1]
        >>> equal = jnp.array([0.0, 1.0, 2.0, 2.0])
        >>> usable_order(equal, 3).tolist(), usable_order(equal, 3, again=True).tolist()
        ([1, 2, 1], [1, 2, 3])
    """
    steps = len(log_ratio) - 1
    i = jnp.arange(steps)
    follows = jnp.isfinite(log_ratio[:-2]) & (log_ratio[1:-1] > log_ratio[:-2])
    broken = jnp.concatenate([jnp.ones(min(steps, 1), bool), ~follows])
    run = i - lax.cummax(jnp.where(broken, i, 0)) + 1
    limit = jnp.minimum(order, steps - i) if lower_order_final else order
    ahead = log_ratio[1:] >= log_ratio[:-1] if again else log_ratio[1:] > log_ratio[:-1]
    advances = jnp.isfinite(log_ratio[1:]) & ahead
    return jnp.where(advances, jnp.minimum(run, limit), 1)


def phi(k: int, z: Array) -> Array:
    """The k-th function of exponential integrators, ``phi_k(z) = sum_n z^n / (n + k)!``.

    ``int_0^1 exp(z (1 - v)) v^k dv = k! phi_{k+1}(z)``.

    Reference:
        Hochbruck & Ostermann 2010, "Exponential integrators", eq. 2.10 and 2.11.

    Example:
        >>> round(float(phi(1, jnp.array(1.0))), 4)  # e - 1
        1.7183
    """
    small = jnp.abs(z) < 1
    near, far = jnp.where(small, z, 0), jnp.where(small, 1, z)
    # The recursion loses all digits near 0, where the series has none to lose.
    series = jnp.full_like(z, 1 / math.factorial(18 + k))
    for n in reversed(range(18)):
        series = series * near + 1 / math.factorial(n + k)
    closed = jnp.exp(far)
    for n in range(k):
        closed = (closed - 1 / math.factorial(n)) / far
    return jnp.where(small, series, closed)


def interpolation(nodes: Sequence[Array], moments: Sequence[Array]) -> list[Array]:
    """The weights that integrate the polynomial through the values at some nodes exactly.

    Args:
        nodes: the distinct places of the values, arrays of one shape.
        moments: the integrals of ``v^m`` against the weight function, for m below the number of nodes.

    Returns:
        One weight a node, of the shape of the nodes: ``sum_m moments[m] c_jm`` with c_j the Lagrange polynomial j.

    Example:
        >>> rule = interpolation([jnp.array(0.0), jnp.array(0.5), jnp.array(1.0)], [1.0, 1 / 2, 1 / 3])
        >>> [round(float(w), 4) for w in rule]  # Simpson
        [0.1667, 0.6667, 0.1667]
    """
    weights = []
    for j, node in enumerate(nodes):
        polynomial = [jnp.ones_like(node)]
        for i, other in enumerate(nodes):
            if i != j:
                shifted, scaled = [0 * node, *polynomial], [*(other * c for c in polynomial), 0 * node]
                polynomial = [(a - b) / (node - other) for a, b in zip(shifted, scaled, strict=True)]
        weights.append(sum((c * m for c, m in zip(polynomial, moments, strict=False)), jnp.zeros_like(node)))
    return weights


def earlier(values: Array, j: int) -> Array:
    """Values at the start of each step, ``[steps]``, j steps ago (the first ones repeat).

    Example:
        >>> earlier(jnp.array([1.0, 2.0, 3.0]), 1).tolist()
        [1.0, 1.0]
    """
    return values[jnp.maximum(jnp.arange(len(values) - 1) - j, 0)]


def select(order: Array, by_order: Sequence[Sequence[Array]], width: int) -> Array:
    """Pick each step's row among the weights of order 1, 2, ...: ``[steps, width]``, with zeros to fill.

    Example:
        >>> rows = [[jnp.ones(2)], [jnp.full(2, 3.0), jnp.full(2, -2.0)]]
        >>> select(jnp.array([1, 2]), rows, 3).tolist()
        [[1.0, 0.0, 0.0], [3.0, -2.0, 0.0]]
    """
    rows = []
    for row in by_order:
        stacked = jnp.stack(jnp.broadcast_arrays(*row), axis=-1)
        rows.append(jnp.pad(stacked, ((0, 0), (0, width - stacked.shape[-1]))))
    return jnp.take_along_axis(jnp.stack(rows), (order - 1)[None, :, None], axis=0)[0]


def combine(weights: Array, arrays: Array) -> Array:
    """``sum_j weights[j] arrays[j]``, elementwise, for a matrix product may round to bfloat16 or TF32 on accelerators.

    Example:
        >>> combine(jnp.array([1.0, 2.0]), jnp.ones((2, 3))).tolist()
        [3.0, 3.0, 3.0]
    """
    return jnp.sum(weights.reshape(weights.shape + (1,) * (arrays.ndim - 1)) * arrays, axis=0)


def remember(new: Array, past: Array) -> Array:
    """Put the newest output in front of the past and drop the oldest.

    Example:
        >>> remember(jnp.array(3.0), jnp.array([2.0, 1.0])).tolist()
        [3.0, 2.0]
    """
    return jnp.concatenate([new[None].astype(past.dtype), past])[: len(past)]


def from_noises(level: Levels, order: Array, by_order: Sequence[Sequence[Array]]) -> Weights:
    """Weights of a method that sums noises in the coordinate x / alpha.

    ``x_s / alpha_s = x_t / alpha_t + w_0 noise + w_1 past_1 + ...``.

    With ``noise = (x_t - alpha_t x0) / sigma_t``, and since all weights make ``r_s - r_t`` together (a constant noise
    is carried exactly), this is ``x_s = A x_t + (alpha_s - alpha_t A) x0 + alpha_s (w_1 past_1 + ...)`` with
    ``A = (sigma_s - alpha_s (w_1 + ...)) / sigma_t``: `ddim` where there is no past, finite at alpha = 0, and without
    the digits lost in x / alpha.
    """
    alpha_t, alpha_s, sigma_t, sigma_s = level.alpha[:-1], level.alpha[1:], level.sigma[:-1], level.sigma[1:]
    past = alpha_s[:, None] * select(order, by_order, len(by_order))[:, 1:]
    x = (sigma_s - jnp.sum(past, axis=1)) / sigma_t
    return Weights(x, jnp.concatenate([(alpha_s - alpha_t * x)[:, None], past], axis=1))


def linear_multistep(path: Path, order: int, weigh: Callable[[Levels], Weights], *, noises: bool = False) -> Step:
    """A step from its weights.

    Args:
        path: the path.
        order: the number of outputs in use, at least 1: the newest and ``order - 1`` of the past.
        weigh: the weights of all steps from the levels on the grid.
        noises: whether the past holds noises in place of x0.

    Returns:
        The step; its state is `Multistep`.
    """
    if order < 1:
        raise ValueError(f"order is {order}: at least 1 is needed")

    # Compiled as one: outside of jit it would be hundreds of small programs.
    weights_of = jax.jit(lambda grid: weigh(levels(path, grid)))

    def init(x: Array, grid: Array) -> Multistep:
        weights = weights_of(grid)
        base = None if weights.first is None else x
        # Differences of noises are small: they need more digits than x may have.
        dtype = jnp.promote_types(x.dtype, jnp.float32) if noises else x.dtype
        return Multistep(x, jnp.zeros((order - 1, *x.shape), dtype), jnp.zeros((), jnp.int32), weights, base)

    def step(denoise: Denoise, key: Key, state: Multistep, t: Array, s: Array) -> Multistep:
        del s
        x, i, weights = state.x, state.i, state.weights
        x0 = denoise(x, t)
        base = x if weights.first is None or state.base is None else jnp.where(weights.first[i], x, state.base)
        end = weights.x[i] * base + weights.outputs[i, 0] * x0 + combine(weights.outputs[i, 1:], state.past)
        if weights.noise is not None:
            end = end + weights.noise[i] * draws.normal(key, x.shape)
        new = (x - path.alpha(t) * x0) / path.sigma(t) if noises else x0
        kept = None if weights.first is None else base
        return Multistep(end.astype(x.dtype), remember(new, state.past), i + 1, weights, kept)

    return Step(init, step)
