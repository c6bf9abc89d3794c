"""DDNM: what was measured is put into the clean prediction, and the network fills in the rest (the null space of A)."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxgen import draws
from jaxgen.imaging.operators import LinearOperator
from jaxgen.medical.reconstruction.residual import residual
from jaxgen.paths import Path
from jaxgen.samplers import Sample, start
from jaxgen.types import Array, Denoise, Key, Step

PseudoInverse = Callable[[Array], Array]


def ddnm(denoise: Denoise, operator: LinearOperator, y: Array, pseudo_inverse: PseudoInverse | None = None) -> Denoise:
    """Replace the part of the clean prediction that is measured: ``x0_hat <- x0_hat - A^+ (A x0_hat - y)``.

    A sampler whose last step lands on x0_hat (DDIM, ancestral, DPM-Solver++; Runge-Kutta methods on
    `jaxgen.paths.rectified`) gives an image with ``A x = y``, so far as A^+ is exact. One that draws all noise anew
    (`jaxgen.medical.renewal`) is the least biased, and its samples vary too little. A grid that goes
    back up again and again (`jaxgen.samplers.grids.repaint`), with `jaxgen.samplers.time_travel`, lets the rest of the
    image fit what is measured better, at a price.

    Args:
        denoise: the denoiser.
        operator: A.
        y: the measurements ``[b, ...]``, without noise to speak of: it would be copied into the image.
        pseudo_inverse: A^+; None for the adjoint, which it is where ``A A'`` is a projection: masks, and one coil's
            k-space of a complex image. Of a real image (one channel) k-space needs
            ``pseudo_inverse(operator, iterations=2)``; coils and tomography some more.

    Returns:
        The denoiser.

    Reference:
        Wang, Yu & Zhang 2023, "Zero-shot image restoration using denoising diffusion null-space model", eq. 13.

    Example:
        >>> first = LinearOperator(lambda x: x[:, :1], lambda y: jnp.pad(y, ((0, 0), (0, 1))))
        >>> ddnm(lambda x, t: x, first, jnp.array([[5.0]]))(jnp.ones((1, 2)), 0.5).tolist()
        [[5.0, 1.0]]
    """
    invert = operator.adjoint if pseudo_inverse is None else pseudo_inverse

    def consistent(x: Array, t: Array) -> Array:
        x0 = denoise(x, t)
        return x0 + invert(residual(operator, y, x0)).astype(x0.dtype)

    return consistent


def ddnm_plus(
    path: Path,
    operator: LinearOperator,
    y: Array,
    *,
    noise: float = 0.0,
    eta: float = 0.85,
    pseudo_inverse: PseudoInverse | None = None,
) -> Step:
    """DDNM's sampler as published, and DDNM+ for noisy measurements: the noise of y takes the place of drawn noise.

    ``x_s = alpha_s (x0 - l A^+ (A x0 - y)) + sigma_s (n - (1 - k) A^+ A n)``, with
    ``n = sqrt(1 - eta^2) noise_hat + eta z``; both of the plain `denoise`. The measurement brings noise of standard
    deviation ``l alpha_s noise`` with it. While that is below sigma_s, ``l = 1``, and as much less is drawn:
    ``k^2 = 1 - (l alpha_s noise / sigma_s)^2``. Below, only ``l = sigma_s / (alpha_s noise)`` of it is taken, and
    nothing is drawn.

    Without noise it differs from `ddnm` under `ddim` in this: the noise that is kept is that of the network, not that
    of the corrected prediction.

    Args:
        path: the path.
        operator: A, whose singular values are all 1 or 0.
        y: the measurements ``[b, ...]``.
        noise: the standard deviation of the noise of y, of each of its real numbers; 0 for DDNM.
        eta: from 0 to 1, how much of the noise is drawn anew; 0.85 in the paper.
        pseudo_inverse: A^+, as in `ddnm`.

    Returns:
        A step; it takes the plain denoiser.

    Reference:
        Wang, Yu & Zhang 2023, "Zero-shot image restoration using denoising diffusion null-space model", sections 3.2
        and 3.3.

    Example:
        >>> from jaxgen.paths import rectified
        >>> first = LinearOperator(lambda x: x[:, :1], lambda y: jnp.pad(y, ((0, 0), (0, 1))))
        >>> step, x = ddnm_plus(rectified(), first, jnp.array([[5.0]]), eta=0.0), Sample(jnp.ones((1, 2)))
        >>> step.step(lambda x, t: 0 * x, None, x, jnp.array(0.5), jnp.array(1.0)).x.tolist()
        [[5.0, 0.0]]
    """
    invert = operator.adjoint if pseudo_inverse is None else pseudo_inverse

    def step(denoise: Denoise, key: Key, state: Sample, t: Array, s: Array) -> Sample:
        x0 = denoise(state.x, t)
        n = jnp.sqrt(1 - eta**2) * (state.x - path.alpha(t) * x0) / path.sigma(t)
        if eta:
            n = n + eta * draws.normal(key, state.x.shape)
        left, kept = jnp.float32(1), jnp.float32(1)
        correction = invert(residual(operator, y, x0))
        if noise:
            brought = jnp.maximum(path.alpha(s) * noise, jnp.finfo(jnp.float32).tiny)
            left = jnp.minimum(path.sigma(s) / brought, 1)
            kept = jnp.sqrt(jnp.maximum(path.sigma(s) ** 2 - (left * brought) ** 2, 0))
            measured = invert(operator.forward(n))
            n = path.sigma(s) * n - (path.sigma(s) - kept) * measured
        else:
            n = path.sigma(s) * n
        return Sample((path.alpha(s) * (x0 + left * correction) + n).astype(state.x.dtype))

    return Step(start, step)
