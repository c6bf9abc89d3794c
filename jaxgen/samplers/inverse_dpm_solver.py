"""DPM-Solver++ from data to noise: the flow that `dpm_solver_2m` follows, the other way."""

import jax.numpy as jnp

from jaxgen.paths import Path
from jaxgen.samplers.dpm_solver import exponential_weights
from jaxgen.samplers.multistep import Levels, Multistep, Weights, linear_multistep
from jaxgen.types import Array, Denoise, Key, Step


def inverse_dpm_solver(path: Path, order: int = 2, *, midpoint: bool = True, lower_order_final: bool = False) -> Step:
    """DPM-Solver++, multistep, along a grid from data to noise: the noise that an image came from.

    ``z = sample(inverse_dpm_solver(path), denoise, key, x, grid[::-1])``. It is the formula of
    `jaxgen.samplers.dpm_solver_2m` with ``h = lambda_s - lambda_t`` negative, one evaluation per step.

    The first step has order 1, where little noise is left and the flow bends most: over the whole way the order is at
    most 2, and the third makes the error smaller but not of a higher order.

    Where sigma is 0 a denoiser says nothing of the noise: a step that starts there asks it at s, of
    ``y = alpha_s / alpha_t x_t``, keeps x and takes the noise that it finds, ``x_s = 2 y - alpha_s x0``.

    Args:
        path: the path.
        order: 1 (DDIM inversion), 2 or 3.
        midpoint: in steps of order 2, weigh the slope of x0 by its middle; if False, by the exact integral.
        lower_order_final: let the last steps have lower orders.

    Returns:
        A step for a grid from data to noise. It draws nothing.

    Raises:
        ValueError: if the order is not 1, 2 or 3.

    Reference:
        Lu et al. 2022, "DPM-Solver++", arXiv 2211.01095, algorithm 2; Dhariwal & Nichol 2021, "Diffusion models beat
        GANs on image synthesis", appendix F, for inversion.

    Example:
        >>> import jax
        >>> from jaxgen.paths import variance_preserving
        >>> from jaxgen.samplers import dpm_solver_2m, grids, sample
        >>> path, key, x = variance_preserving(), jax.random.key(0), jnp.array([[1.5]])
        >>> def denoise(x, t):
        ...     return path.alpha(t) * x  # exact for standard normal data
        >>> grid = grids.log_snr(path, 40)
        >>> z = sample(inverse_dpm_solver(path), denoise, key, x, grid[::-1])
        >>> bool(abs(sample(dpm_solver_2m(path), denoise, key, z, grid) - x)[0, 0] < 1e-2)
        True
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order is {order}: choose 1, 2 or 3")

    def weigh(level: Levels) -> Weights:
        weights = exponential_weights(level, order, 0.0, midpoint, lower_order_final, inverse=True)
        alpha, sigma, log_ratio = level
        # A step of order 1 written without lambda, which is infinite where nothing is left of the data.
        single = ~jnp.isfinite(log_ratio[:-1]) | ~jnp.isfinite(log_ratio[1:])
        clean = sigma[:-1] == 0
        kept = sigma[1:] / jnp.where(clean, 1, sigma[:-1])
        x = jnp.where(clean, 2 * alpha[1:] / alpha[:-1], kept)
        x0 = jnp.where(clean, -alpha[1:], alpha[1:] - kept * alpha[:-1])
        outputs = jnp.where(single[:, None], jnp.zeros_like(weights.outputs).at[:, 0].set(x0), weights.outputs)
        return Weights(jnp.where(single, x, weights.x), outputs)

    method = linear_multistep(path, order, weigh)

    def step(denoise: Denoise, key: Key, state: Multistep, t: Array, s: Array) -> Multistep:
        clean = path.sigma(t) == 0
        scale = jnp.where(clean, path.alpha(s) / path.alpha(t), 1).astype(state.x.dtype)

        def found(x: Array, t: Array) -> Array:
            return denoise(scale * x, jnp.where(clean, s, t))

        return method.step(found, key, state, t, s)

    return Step(method.init, step)
