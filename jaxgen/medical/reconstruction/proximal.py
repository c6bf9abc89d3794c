"""DiffPIR: the clean prediction is the prior's answer, and a proximal step brings it to the measurements."""

import jax.numpy as jnp

from jaxgen.imaging.operators import LinearOperator, apply_normal, conjugate_gradient
from jaxgen.medical.reconstruction.residual import residual
from jaxgen.paths import Path
from jaxgen.types import Array, Denoise

LEAST_NOISE = 1e-3


def proximal(operator: LinearOperator, y: Array, x0: Array, weight: Array | float, *, iterations: int = 1) -> Array:
    """The image that fits the measurements near a guess: ``argmin_x |y - A x|^2 + weight |x - x0|^2``.

    It is ``x0 + d`` with ``(A'A + weight) d = A' (y - A x0)``, by conjugate gradients from ``d = 0``. Where ``A A'`` is
    a projection (masks, one coil's k-space of a complex image) one iteration is the closed form,
    ``d = A' (y - A x0) / (1 + weight)``.

    Args:
        operator: A.
        y: the measurements ``[b, ...]``.
        x0: the guess ``[b, *spatial, c]``.
        weight: above 0, unless the problem has one solution without it.
        iterations: of conjugate gradients: 1 for a projection, 2 for one coil's k-space of a real image, 5 to 10 for
            coils and tomography.

    Returns:
        The image, of the shape and dtype of `x0`.

    Reference:
        Zhu et al. 2023, "Denoising diffusion models for plug-and-play image restoration", eq. 12b.

    Example:
        >>> half = LinearOperator(lambda x: x, lambda y: y)
        >>> proximal(half, jnp.array([[4.0]]), jnp.array([[0.0]]), 1.0).tolist()
        [[2.0]]
    """

    def normal(d: Array) -> Array:
        return apply_normal(operator, d).astype(d.dtype) + jnp.asarray(weight, d.dtype) * d

    towards = operator.adjoint(residual(operator, y, x0)).astype(x0.dtype)
    return x0 + conjugate_gradient(normal, towards, iterations=iterations)


def diffpir(
    denoise: Denoise,
    operator: LinearOperator,
    y: Array,
    path: Path,
    *,
    noise: float,
    weight: float = 7.0,
    iterations: int = 1,
    interval: tuple[float, float] | None = None,
) -> Denoise:
    """Bring each clean prediction to the measurements, the closer the noisier x_t still is.

    ``x0_hat <- proximal(x0_hat)`` with ``rho = weight noise^2 alpha^2 / sigma^2``. Sampled with
    `jaxgen.samplers.renewal`.

    Args:
        denoise: the denoiser.
        operator: A.
        y: the measurements ``[b, ...]``.
        path: the path.
        noise: the standard deviation of the noise of y; at least 0.001 is taken.
        weight: lambda of the paper, 1 to 20; larger trusts the network more.
        iterations: of `proximal`.
        interval: two times, in either order, between which to do so, ends included; outside, the denoiser alone. The
            paper leaves the measurements out of the last step: ``(grid[0], grid[-3])``.

    Returns:
        The denoiser.

    Reference:
        Zhu et al. 2023, "Denoising diffusion models for plug-and-play image restoration", algorithm 1.

    Example:
        >>> from jaxgen.paths import edm
        >>> everything = LinearOperator(lambda x: x, lambda y: y)
        >>> near = diffpir(lambda x, t: 0 * x, everything, jnp.array([[4.0]]), edm(), noise=0.5, weight=1.0)
        >>> near(jnp.ones((1, 1)), jnp.array(0.5)).tolist()
        [[2.0]]
    """
    deviation = max(noise, LEAST_NOISE)

    def consistent(x: Array, t: Array) -> Array:
        x0 = denoise(x, t)
        rho = weight * (deviation * path.alpha(t) / jnp.maximum(path.sigma(t), jnp.finfo(jnp.float32).eps)) ** 2
        near = proximal(operator, y, x0, rho, iterations=iterations)
        return near if interval is None else jnp.where((t >= min(interval)) & (t <= max(interval)), near, x0)

    return consistent
