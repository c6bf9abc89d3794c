"""Guidance by the gradient of the measurements' misfit, through the network: DPS and pseudo-inverse guidance.

DPS is published as a shift of the new state, ``x_s <- x_s - scale grad_x |y - A x0_hat(x_t)|``. As a shift of x0_hat it
would have to be divided by what the sampler multiplies x0_hat with, ``alpha_s (1 - (r_s / r_t)^2)`` for the ancestral
one: a number that depends on the sampler and on the time that follows, which no denoiser knows. So `dps` is a
function from steps to steps, which composes with any of them. Guidance whose size does not depend on the step is one
from denoisers to denoisers: `pseudo_inverse_guidance`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.imaging.operators import LinearOperator, apply_normal, conjugate_gradient, inner_product
from jaxgen.medical.reconstruction.residual import residual
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise, Key, Step


def _per_example(value: Array | float, x: Array) -> Array:
    value = jnp.asarray(value, x.dtype)
    return value.reshape(value.shape + (1,) * (x.ndim - 1)) if value.ndim else value


def dps(step: Step, operator: LinearOperator, y: Array, scale: Array | float = 1.0) -> Step:
    """Diffusion posterior sampling: after each step, go down the gradient of the misfit of the clean prediction.

    ``x_s <- x_s - scale grad_x |y - A x0_hat(x_t)|``, the norm not squared and taken of each example by itself. It
    costs one evaluation and its gradient in x; a step that asks the denoiser at (x_t, t) first, as one-evaluation steps
    do, is given that evaluation.

    Args:
        step: any sampler step; published for ``jaxgen.samplers.ddpm(path)`` over 1000 steps.
        operator: A; any function that JAX can differentiate will do.
        y: the measurements ``[b, ...]``.
        scale: the size of the shift; a number, or one per example ``[b]``. The best one depends on the operator, the
            scale of the data and the number of steps: choose it on validation data.

    Returns:
        A step with the state of `step`.

    Reference:
        Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems", algorithm 1.

    Example:
        >>> from jaxgen.paths import rectified
        >>> from jaxgen.samplers import Sample, ddim
        >>> everything = LinearOperator(lambda x: x, lambda y: y)
        >>> step = dps(ddim(rectified()), everything, jnp.array([[3.0, 4.0]]), scale=0.5)
        >>> state, t, s = Sample(jnp.zeros((1, 2))), jnp.array(0.5), jnp.array(1.0)
        >>> [round(float(value), 3) for value in step.step(lambda x, t: x, None, state, t, s).x[0]]
        [0.3, 0.4]
    """

    def misfit(x: Array, denoise: Denoise, t: Array) -> tuple[Array, Array]:
        x0 = denoise(x, t)
        left = residual(operator, y, x0)
        squared = inner_product(left, left)
        # The root has no gradient at 0: nothing is left to follow there.
        return jnp.sum(jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)), x0

    def guided(denoise: Denoise, key: Key, state: Any, t: Array, s: Array) -> Any:
        x = state.x
        slope, x0 = jax.grad(misfit, has_aux=True)(x, denoise, t)

        def found_already(point: Array, time: Array) -> Array:
            return x0 if point is x and time is t else denoise(point, time)

        state = step.step(found_already, key, state, t, s)
        return state._replace(x=state.x - _per_example(scale, x) * slope.astype(x.dtype))

    return Step(step.init, guided)


def pseudo_inverse_guidance(
    denoise: Denoise,
    operator: LinearOperator,
    y: Array,
    path: Path,
    *,
    noise: float = 0.0,
    spread: float = 1.0,
    iterations: int = 1,
) -> Denoise:
    """Follow the gradient of ``log p(y | x_t)``, with a Gaussian of one variance for x0 given x_t.

    ``x0_hat + sigma^2 / alpha J' A' (noise^2 + r^2 A A')^-1 (y - A x0_hat)``, J the derivative of x0_hat in x_t and
    ``r^2 = spread^2 sigma^2 / (sigma^2 + alpha^2 spread^2)``, the variance of x0 given x_t were the data normal and
    white. Then, and only then, it is the exact denoiser of the posterior.

    Args:
        denoise: the denoiser.
        operator: A.
        y: the measurements ``[b, ...]``.
        path: the path.
        noise: the standard deviation of the noise of y.
        spread: the standard deviation of the data about its mean.
        iterations: of conjugate gradients for the inverse; 1 is exact where ``A A'`` is a multiple of a projection.

    Returns:
        The guided denoiser. Where alpha is 0, x_t carries nothing to follow and it does not guide.

    Reference:
        Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", section 3.

    Example:
        >>> from jaxgen.paths import edm
        >>> everything = LinearOperator(lambda x: x, lambda y: y)
        >>> guided = pseudo_inverse_guidance(lambda x, t: x / (1 + t**2), everything, jnp.array([[2.0, 4.0]]), edm())
        >>> guided(jnp.zeros((1, 2)), jnp.array(0.5)).round(3).tolist()
        [[2.0, 4.0]]
    """

    def guided(x: Array, t: Array) -> Array:
        alpha, sigma = jnp.asarray(path.alpha(t)), jnp.asarray(path.sigma(t))
        x0, pull_back = jax.vjp(lambda x: denoise(x, t), x)
        variance = (spread * sigma) ** 2 / (sigma**2 + (alpha * spread) ** 2)

        def normal(u: Array) -> Array:
            return noise**2 * u + variance * apply_normal(operator, u)

        towards = operator.adjoint(residual(operator, y, x0)).astype(x0.dtype)
        slope = sigma**2 * conjugate_gradient(normal, towards, iterations=iterations)
        reach = jnp.where(alpha > 0, 1 / jnp.where(alpha > 0, alpha, 1), 0)
        return x0 + (reach * pull_back(slope.astype(x0.dtype))[0]).astype(x0.dtype)

    return guided
