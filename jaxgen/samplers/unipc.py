"""UniPC: a predictor in ``lambda = log(alpha / sigma)``, and a corrector that costs no evaluation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.samplers.dpm_solver import exponential_moments
from jaxgen.samplers.multistep import combine, earlier, interpolation, levels, remember, select, usable_order
from jaxgen.types import Array, Denoise, Key, Step


class Corrected(NamedTuple):
    """The state of UniPC.

    Attributes:
        x: the predicted sample.
        base: the corrected sample of the step before.
        past: earlier x0 ``[order, *x.shape]``, the latest first.
        i: the number of steps made.
        predictor: weights of the corrected sample, of x0 and of the past, ``[steps, order + 1]``.
        corrector: weights of the corrected sample before, of x0 and of the past, ``[steps, order + 2]``.
    """

    x: Array
    base: Array
    past: Array
    i: Array
    predictor: Array
    corrector: Array


def unipc(
    path: Path, order: int = 2, *, exponential: bool = True, corrector: bool = True, lower_order_final: bool = True
) -> Step:
    """UniPC of order 1, 2 or 3, one evaluation per step, used twice.

    At time t the denoiser's x0 first corrects x_t itself: the step that led there is made again with the polynomial
    through x0 at both its ends and the past. Then the next step is predicted, by the polynomial through x0 and the
    past. With ``h = lambda_s - lambda_t`` both integrate ``alpha_s int_0^h e^(u - h) x0(u) du`` exactly, but for the
    predictor of order 2 and the corrector of order 1: these add ``alpha_s B(h) / 2`` times the difference quotient.

    Args:
        path: the path.
        order: the order of the predictor; the corrector has one more.
        exponential: ``B(h) = 1 - e^-h`` (called bh2 by the authors); if False, ``B(h) = h`` (bh1).
        corrector: whether to correct.
        lower_order_final: let the last steps have falling orders, as the very last always has order 1 if it ends
            without noise.

    Raises:
        ValueError: if the order is not 1, 2 or 3.

    Reference:
        Zhao et al. 2023, "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
        arXiv 2302.04867, algorithms 1 and 2.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import grids, sample
        >>> path = rectified()
        >>> sample(unipc(path), lambda x, t: 0 * x + 3, jax.random.key(0), jnp.ones(1), grids.uniform(path, 4))
        Array([3.], dtype=float32)
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order is {order}: choose 1, 2 or 3")

    def slope(h: Array, moments: list[Array]) -> Array:
        return moments[0] / 2 if exponential else h / 2

    def weigh(grid: Array) -> tuple[Array, Array]:
        alpha, sigma, log_ratio = levels(path, grid)
        usable = usable_order(log_ratio, order, lower_order_final)
        predictors, correctors = [], []
        for p in range(1, order + 1):
            taken = usable == p
            length = log_ratio[1:] - log_ratio[:-1]
            # An infinite step, or one that leads nowhere, is made by order 1 and is not corrected.
            regular = taken & jnp.isfinite(length) & (length != 0)
            h = jnp.where(regular, length, 1)
            old = [jnp.where(regular, (earlier(log_ratio, j) - log_ratio[:-1]) / h, -j) for j in range(p)]
            moments = exponential_moments(h, p + 1)
            predicting = [*moments[:1], slope(h, moments)] if p == 2 else moments[:p]
            correcting = [*moments[:1], slope(h, moments)] if p == 1 else moments
            plain = -jnp.expm1(-jnp.where(taken, length, 1))
            weights = interpolation(old, predicting)
            predictors.append([alpha[1:] * w for w in (weights if p > 1 else [plain])])
            weights = interpolation([jnp.ones_like(h), *old], correcting)
            uncorrected = [jnp.zeros_like(h), plain, *weights[2:]]
            weights = [jnp.where(regular, w, u) for w, u in zip(weights, uncorrected, strict=True)]
            correctors.append([alpha[1:] * w for w in weights])
        scale = (sigma[1:] / sigma[:-1])[:, None]
        predictor = jnp.concatenate([scale, select(usable, predictors, order)], axis=1)
        # The corrector at a step remakes the step before; nothing comes before the first.
        remade = jnp.concatenate([scale, select(usable, correctors, order + 1)], axis=1)[:-1]
        return predictor, jnp.concatenate([jnp.zeros((1, order + 2)).at[0, 0].set(1).astype(remade.dtype), remade])

    # Compiled as one: outside of jit it would be hundreds of small programs.
    weights_of = jax.jit(weigh)

    def init(x: Array, grid: Array) -> Corrected:
        past = jnp.zeros((order, *x.shape), x.dtype)
        return Corrected(x, x, past, jnp.zeros((), jnp.int32), *weights_of(grid))

    def step(denoise: Denoise, key: Key, state: Corrected, t: Array, s: Array) -> Corrected:
        del key, s
        x0, weights = denoise(state.x, t), state.predictor[state.i]
        x = state.x
        if corrector:
            again = state.corrector[state.i]
            x = (again[0] * state.base + again[1] * x0 + combine(again[2:], state.past)).astype(x.dtype)
        end = weights[0] * x + weights[1] * x0 + combine(weights[2:], state.past[: order - 1])
        past = remember(x0, state.past)
        return Corrected(end.astype(x.dtype), x, past, state.i + 1, state.predictor, state.corrector)

    return Step(init, step)
